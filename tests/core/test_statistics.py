"""Intervals hold as often as they say, and tests say what their intervals say."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom, binomtest, norm

from paretune.core import statistics as s

COUNTS = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 400))


def coverage(ends, truth):
    return np.mean([low <= truth <= high for low, high in ends])


# --- shares ----------------------------------------------------------------------


@pytest.mark.parametrize("count", [100, 400, 1_000])
def test_wilson_holds_any_accuracy_in_92_to_98_of_100_sets(count):
    right = np.arange(count + 1)
    low, high = np.array([s.wilson(r, count) for r in right]).T
    for share in np.linspace(0.5, 0.99, 99):
        holds = (low <= share + 1e-12) & (share - 1e-12 <= high)
        assert 0.92 <= binom.pmf(right, count, share)[holds].sum() <= 0.98


@given(
    st.integers(1, 5_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
)
def test_wilson_is_symmetric_and_holds_the_share(counts):
    right, count = counts
    low, high = s.wilson(right, count)
    assert 0 <= low <= right / count <= high <= 1
    assert s.wilson(count - right, count) == pytest.approx((1 - high, 1 - low))
    exact = binomtest(right, count).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-9)


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_mid_p_value(won, lost):
    few, many = min(won, lost), won + lost
    tail = binom.cdf(few, many, 0.5) - 0.5 * binom.pmf(few, many, 0.5)
    expected = 1.0 if won == lost else min(1.0, 2 * tail)
    assert s.mcnemar(won, lost) == pytest.approx(expected)
    assert s.mcnemar(won, lost) == s.mcnemar(lost, won)


def test_the_score_statistic_takes_the_likeliest_nuisance():
    for won, lost, same, against in ((9, 3, 88, 0.02), (4, 7, 30, -0.1), (5, 0, 45, 0)):

        def unlikely(q, a=won, b=lost, c=same, d=against):
            rest = max(1 - 2 * q - d, 1e-300)
            return -(a * math.log(q + d) + b * math.log(q) + c * math.log(rest))

        low, high = max(0.0, -against) + 1e-9, (1 - against) / 2 - 1e-9
        best = minimize_scalar(
            unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-9}
        ).x
        count = won + lost + same
        variance = count * (2 * best + against - against**2)
        expected = (won - lost - count * against) / math.sqrt(variance)
        found = s.share_score(won, lost, count, against)
        assert found == pytest.approx(expected, abs=1e-3)


@settings(deadline=None)
@given(COUNTS, st.sampled_from([1.645, s.Z, 2.8]))
def test_a_paired_share_and_its_test_agree(counts, z):
    won, lost, same = counts
    count = won + lost + same
    found = s.share_difference(won, lost, count, z)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (found.sign != 0) == (found.p <= 2 * norm.sf(z))
    turned = s.share_difference(lost, won, count, z)
    ends = turned.value, turned.low, turned.high, turned.sign
    expected = -found.value, -found.high, -found.low, -found.sign
    assert ends == pytest.approx(expected, abs=1e-9)


def test_the_paired_interval_is_never_narrower_at_0_than_the_test():
    """It is widened there only: Tango's own interval ends where his statistic does."""
    for won, lost in itertools.product(range(0, 40, 3), repeat=2):
        low, high = s.share_interval(won, lost, 200)
        if s.mcnemar(won, lost) <= 0.05:
            assert low > 0 or high < 0
        for end in (low, high):
            assert abs(s.share_score(won, lost, 200, end)) == pytest.approx(
                s.Z, abs=0.01
            )


@pytest.mark.parametrize(
    ("count", "more", "less"), [(150, 0.08, 0.05), (600, 0.03, 0.02)]
)
def test_a_paired_interval_holds_the_difference(count, more, less):
    covered = called = whole = 0.0
    right = np.arange(count + 1)
    for won in right[binom.pmf(right, count, more) > 1e-7]:
        rest = np.arange(count - won + 1)
        chance = binom.pmf(rest, count - won, less / (1 - more))
        for lost in rest[chance > 1e-7]:
            weight = chance[lost] * binom.pmf(won, count, more)
            found = s.share_difference(int(won), int(lost), count)
            covered += weight * (found.low <= more - less <= found.high)
            called += weight * (found.sign < 0)
            whole += weight
    assert 0.93 <= covered / whole <= 0.98
    assert called / whole <= 0.025


# --- means -----------------------------------------------------------------------


def test_the_interval_of_a_skewed_mean_holds_it():
    rng = np.random.default_rng(3)
    ends = [s.mean_interval(rng.exponential(size=60)) for _ in range(300)]
    assert 0.91 <= coverage(ends, 1.0) <= 0.98


def test_bca_leans_to_where_the_tail_is():
    scores = np.random.default_rng(0).exponential(size=40)
    replicates = s.resampled_means(scores)
    plain = np.quantile(replicates, (0.025, 0.975))
    low, high = s.bca(scores.mean(), replicates, s.skewed(scores))
    assert low > plain[0]
    assert high > plain[1]


def test_bca_agrees_with_scipys():
    from scipy.stats import bootstrap

    scores = np.random.default_rng(1).lognormal(size=80)
    ours = s.mean_interval(scores)
    theirs = bootstrap(
        (scores,), np.mean, n_resamples=9_999, rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)


@pytest.mark.parametrize("scores", [np.full(9, 0.3), np.array([0.3])])
def test_scores_that_are_all_equal_have_no_width(scores):
    assert s.mean_interval(scores) == pytest.approx((0.3, 0.3))


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(2, 80),
    st.floats(-0.5, 0.5),
    st.sampled_from([s.Z, 2.6]),
)
def test_a_paired_mean_and_its_test_agree(seed, count, shift, z):
    rng = np.random.default_rng(seed)
    first = rng.normal(size=count)
    second = first + shift + rng.exponential(0.3, size=count) - 0.3
    found = s.paired_difference(first, second, z)
    assert found.low <= found.value <= found.high
    assert (found.sign != 0) == (found.p <= 2 * norm.sf(z))
    assert s.paired_difference(first, first, z).sign == 0


@pytest.mark.parametrize("binary", [True, False])
def test_resamples_lose_nothing_to_single_precision(binary):
    from paretune.core._resampling import _drawn

    scores = 1e4 + np.random.default_rng(0).random(300)
    if binary:
        scores = (scores < 1e4 + 0.9).astype(float)
    slow = np.concatenate([scores[rows].mean(axis=1) for _, rows in _drawn(300)])
    lost = 0 if binary else 1e-7
    np.testing.assert_allclose(s.resampled_means(scores), slow, rtol=0, atol=lost)


def test_many_samples_are_drawn_in_groups_and_stay_paired():
    rng = np.random.default_rng(0)
    right = np.sort(rng.random(25_000) < 0.9).astype(float)
    other = np.where(rng.random(25_000) < 0.02, 1 - right, right)
    drawn = s.resampled_means(right)
    assert drawn.mean() == pytest.approx(right.mean(), abs=1e-4)
    assert drawn.std() == pytest.approx(right.std() / math.sqrt(25_000), rel=0.1)
    apart = (drawn - s.resampled_means(other)).std()
    expected = (right - other).std() / math.sqrt(25_000)
    assert apart == pytest.approx(expected, rel=0.1)


def test_paired_scores_tell_apart_what_two_intervals_can_not():
    rng = np.random.default_rng(5)
    hard = rng.exponential(size=200)
    first, second = hard + rng.normal(0, 0.1, (2, 200)) + [[0.0], [0.05]]
    assert s.paired_difference(first, second).sign == -1
    ends = s.mean_interval(first), s.mean_interval(second)
    assert ends[1][0] < ends[0][1]


def test_an_unpaired_difference_is_held():
    rng = np.random.default_rng(6)
    covered = 0
    for _ in range(400):
        right = rng.binomial(300, 0.9), rng.binomial(500, 0.86)
        one, two = s.wilson(right[0], 300), s.wilson(right[1], 500)
        low, high = s.unpaired_difference(right[0] / 300, one, right[1] / 500, two)
        covered += low <= 0.04 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_what_is_said_to_be_detectable_is_found_four_times_in_five():
    rng = np.random.default_rng(7)
    size = s.detectable_difference(math.sqrt(0.06), 800)
    found = 0
    for _ in range(500):
        won, lost, _ = rng.multinomial(800, [0.03 + size / 2, 0.03 - size / 2, 0.94])
        found += s.share_difference(int(won), int(lost), 800).sign > 0
    assert 0.74 <= found / 500 <= 0.88


# --- many at once ----------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_holm_is_the_closed_test(p):
    """Rejected if every intersection that it is in is rejected by Bonferroni."""
    every = range(len(p))
    groups = [g for n in every for g in itertools.combinations(every, n + 1)]
    for i, found in enumerate(s.holm(p)):
        worst = max(len(g) * min(p[j] for j in g) for g in groups if i in g)
        assert found == pytest.approx(min(1.0, worst))


def test_a_family_of_copies_is_no_family():
    row = np.random.default_rng(0).normal(size=(1, 2_000))
    assert s.joint_z(np.repeat(row, 9, axis=0)) == pytest.approx(s.Z, abs=0.15)
    assert s.joint_z(np.zeros((4, 100))) == s.Z


def test_a_family_of_strangers_costs_what_bonferroni_says():
    drawn = np.random.default_rng(0).normal(size=(8, 20_000))
    bonferroni = norm.isf(0.025 / 8)
    assert bonferroni - 0.06 <= s.joint_z(drawn) <= bonferroni


def models(rng, accuracies, samples):
    hard = rng.normal(size=samples)
    own = rng.normal(size=(len(accuracies), samples))
    limits = norm.ppf(accuracies)[:, None]
    return (np.sqrt(0.9) * hard + np.sqrt(0.1) * own < limits).astype(float)


def test_intervals_of_a_family_hold_all_at_once():
    rng = np.random.default_rng(8)
    truth = np.array([0.9, 0.9, 0.88, 0.85, 0.9, 0.87])
    means = differences = alone = 0
    for _ in range(200):
        scores = models(rng, truth, 400)
        ends = np.array(s.simultaneous_means(scores))
        means += ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).all()
        apart = s.simultaneous_differences(scores[1:], scores[0])
        differences += all(
            d.low <= t - truth[0] <= d.high
            for d, t in zip(apart, truth[1:], strict=True)
        )
        singly = [s.paired_difference(one, scores[0]) for one in scores[1:]]
        alone += all(
            d.low <= t - truth[0] <= d.high
            for d, t in zip(singly, truth[1:], strict=True)
        )
    assert means / 200 >= 0.92
    assert differences / 200 >= 0.92
    assert alone < differences


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.booleans())
def test_verdicts_of_a_family_are_holms_and_agree_with_its_intervals(
    seed, many, binary
):
    rng = np.random.default_rng(seed)
    accuracies = rng.choice([0.8, 0.9, 0.97], many + 1)
    base, *scores = models(rng, accuracies, 120)
    if not binary:
        noise = rng.random(120)
        base, scores = base * noise, [one * noise for one in scores]
    found = s.simultaneous_differences(scores, base)
    raw = [s.paired_difference(one, base).p for one in scores]
    assert [d.p for d in found] == pytest.approx(s.holm(raw))
    for d in found:
        assert d.low <= d.value <= d.high
        assert (d.sign != 0) == (d.p <= 0.05)


def test_a_family_of_one_is_compared_as_one():
    base, one = models(np.random.default_rng(9), np.array([0.9, 0.85]), 500)
    assert s.simultaneous_differences([one], base) == [s.paired_difference(one, base)]
    assert s.simultaneous_differences([], base) == []


@pytest.mark.parametrize("count", [3, 5, 12, 29])
def test_few_samples_are_not_told_apart_too_often(count):
    rng = np.random.default_rng(count)
    told = [
        s.paired_difference(rng.normal(size=count), rng.normal(size=count)).sign != 0
        for _ in range(400)
    ]
    assert np.mean(told) <= 0.09  # 0.05 expected


def test_one_sample_tells_nothing():
    assert s.paired_difference(np.array([0.3]), np.array([0.4])).sign == 0
