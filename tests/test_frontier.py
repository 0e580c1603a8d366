"""The frontier: what must hold whatever the figures, and how often it is right."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.budget import Budget
from paretune.core.measurement import Measurement
from paretune.core.statistics import mcnemar
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.target import Target
from paretune.core.trial import Trial
from paretune.frontier import (
    SOLID,
    Frontier,
    compare,
    difference,
    differences,
    dominates,
    frontier,
    intervals,
    paired,
)

ACCURACY = Objective("accuracy", "higher")
SIZE = Objective("size", "lower")
LATENCY = Objective("latency_p50", "lower")
MEMORY = Objective("peak_memory", "lower")


def size(value):
    return Measurement("size", "byte", "lower", (float(value),), "exact")


def latency(value, spread=0.01, launches=6, seed=0, paired=True, base=1.0):
    noise = np.random.default_rng(seed).normal(0, spread, launches)
    values = tuple(value * np.exp(noise))
    ratios = tuple(v / base for v in values) if paired else ()
    return Measurement("latency_p50", "s", "lower", values, "launches", ratios)


def accuracy(scores):
    scores = tuple(map(float, scores))
    return Measurement("accuracy", "1", "higher", scores, "samples", split="validation")


def memory(low, high):
    values = (low * 2.0**30, high * 2.0**30)  # far above what peaks differ by anyway
    return Measurement("peak_memory", "byte", "lower", values, "peak")


def trial(number, *measurements, artifact=None, state="ok"):
    by_name = {m.metric: m for m in measurements}
    return Trial(number, (), state, by_name, artifact=artifact)


def study(trials, objectives=(ACCURACY, SIZE), budget="", noise=0.0):
    return Study(
        name="s",
        task="t",
        metrics={"accuracy": "higher"},
        target=Target(),
        strategy="sweep",
        objectives=tuple(objectives),
        budget=Budget.parse(budget, ["accuracy"]),
        trials=tuple(trials),
        noise=noise,
    )


def exact(number, **figures):
    """A trial whose figures have no error at all."""
    better = {"accuracy": "higher"}
    return trial(
        number,
        *(
            Measurement(k, "1", better.get(k, "lower"), (float(v),), "exact")
            for k, v in figures.items()
        ),
    )


# --- compare ---------------------------------------------------------------------


def test_exact_figures_are_compared_as_they_are():
    x, y = trial(1, size(100)), trial(2, size(101))
    assert compare(x, y, SIZE) == 1
    assert compare(y, x, SIZE) == -1
    assert compare(x, x, SIZE) == 0


def test_a_missing_figure_is_worse_than_any():
    assert compare(trial(1, size(9)), trial(2), SIZE) == 1
    assert compare(trial(1), trial(2), SIZE) == 0


def test_times_are_told_apart_only_beyond_their_spread_and_the_noise_floor():
    x, y = trial(1, latency(1.00, seed=1)), trial(2, latency(1.05, seed=2))
    assert compare(x, y, LATENCY) == 1
    assert compare(x, y, LATENCY, noise=0.10) == 0
    rough = trial(3, latency(1.05, spread=0.2, seed=3))
    assert compare(x, rough, LATENCY) == 0


def test_times_use_the_ratios_rather_than_a_host_that_drifted():
    slow_day = trial(1, latency(1.3, seed=1, base=1.3))
    quick_day = trial(2, latency(1.1, seed=2, base=1.0))
    assert compare(slow_day, quick_day, LATENCY) == 1
    apart = (
        trial(n, latency(v, seed=n, paired=False)) for n, v in ((1, 1.3), (2, 1.1))
    )
    assert compare(*apart, LATENCY) == -1


def test_the_baselines_ratio_to_itself_is_one():
    baseline = trial(0, latency(1.0, paired=False))
    assert compare(trial(1, latency(0.9, seed=1)), baseline, LATENCY) == 1
    assert compare(trial(1, latency(1.0, seed=1)), baseline, LATENCY) == 0


def test_one_launch_is_never_enough():
    x, y = trial(1, latency(1.0, launches=1)), trial(2, latency(9.0, launches=1))
    assert compare(x, y, LATENCY) == 0


def test_quality_is_compared_sample_by_sample():
    rng = np.random.default_rng(0)
    scores = rng.random(1000) < 0.9
    a_bit_worse = scores.copy()
    a_bit_worse[np.flatnonzero(scores)[:12]] = False
    x, y = trial(1, accuracy(scores)), trial(2, accuracy(a_bit_worse))
    apart = x.measurements["accuracy"].interval, y.measurements["accuracy"].interval
    assert apart[0].overlaps(apart[1])
    assert compare(x, y, ACCURACY) == 1
    other = trial(3, accuracy(rng.random(1000) < 0.888))
    assert compare(x, other, ACCURACY) == 0


ERROR = Objective("error", "lower")


def error(scores, kind="samples", split="validation"):
    scores = tuple(map(float, scores))
    return Measurement("error", "1", "lower", scores, kind, split=split)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 40))
def test_scores_of_0_and_1_are_compared_by_mcnemar(lost, won, same):
    one = np.repeat([True, False, True], [lost, won, same])
    two = np.repeat([False, True, True], [lost, won, same])
    found = compare(trial(1, accuracy(one)), trial(2, accuracy(two)), ACCURACY)
    expected = np.sign(lost - won) if mcnemar(lost, won) <= 0.05 else 0
    assert found == expected == difference(accuracy(one), accuracy(two)).sign


@pytest.mark.parametrize("kind", ["samples", "resamples"])
def test_other_scores_are_compared_by_the_paired_bootstrap(kind):
    rng = np.random.default_rng(0)
    hard = rng.exponential(size=400)
    scores = [hard + rng.normal(0, 0.05, 400) for _ in range(2)]
    a, b, worse = (error(s, kind) for s in (*scores, scores[0] + 0.05))
    if kind == "resamples":  # the figure first, then its resamples
        a, b, worse = (
            error([s.mean(), *measured.replicates], kind)
            for s, measured in (
                (scores[0], error(scores[0])),
                (scores[1], error(scores[1])),
                (scores[0] + 0.05, error(scores[0] + 0.05)),
            )
        )
    assert a.interval.overlaps(worse.interval)
    assert compare(trial(1, a), trial(2, worse), ERROR) == 1
    assert compare(trial(1, worse), trial(2, a), ERROR) == -1
    assert compare(trial(1, a), trial(2, b), ERROR) == 0


def test_only_what_has_the_same_samples_is_paired():
    one = accuracy([1, 0] * 30)
    assert paired(one, one)
    assert not paired(one, accuracy([1, 0] * 29))
    assert not paired(one, replace(one, split="test"))
    assert not paired(error([0.1] * 30, "resamples"), error([0.2] * 30, "resamples"))


def test_of_many_at_once_fewer_are_told_apart():
    rng = np.random.default_rng(0)
    base = rng.random(2000) < 0.9
    some = accuracy(flipped(base, 24, 10))
    many = [accuracy(flipped(base, n, n)) for n in range(8, 28)]
    assert difference(some, accuracy(base)).sign == -1
    found = differences([some, *many], accuracy(base))
    assert found[0].sign == 0
    assert found[0].p > difference(some, accuracy(base)).p
    for m, joint in zip([some, *many], intervals([some, *many]), strict=True):
        assert joint.low < m.interval.low < m.interval.high < joint.high
    assert intervals([some]) == [some.interval]


def test_peaks_that_overlap_are_ties():
    x, y, z = (trial(i, memory(*m)) for i, m in enumerate(((5, 7), (6, 8), (8, 9))))
    assert compare(x, y, MEMORY) == 0
    assert compare(x, z, MEMORY) == 1


# --- the frontier ----------------------------------------------------------------


def test_no_trials_no_frontier():
    found = frontier(study([]))
    assert found == Frontier(study([]), (), ())
    assert found.knee() is None
    assert math.isnan(found.hypervolume)
    assert found.probability == {}


def test_a_failed_trial_takes_no_part():
    ok = exact(0, accuracy=0.9, size=100)
    broken = trial(1, size(1), state="failed:oom")
    found = frontier(study([ok, broken]))
    assert found.members == (ok,)
    assert found.dominated == ()


def test_of_copies_only_the_first_stays():
    figures = accuracy([1, 0] * 50), size(10)
    trials = [trial(n, *figures, artifact="same") for n in (2, 0, 1)]
    found = frontier(study(trials))
    assert [t.number for t in found.members] == [0]
    assert [t.number for t in found.dominated] == [1, 2]


def test_of_copies_either_side_of_a_limit_the_one_within_stays():
    rows = ((0, 9.0), (1, 1.1), (2, 0.9))
    trials = [trial(n, latency(v, seed=n), artifact=str(n > 0)) for n, v in rows]
    held = study(trials, (LATENCY,), budget="latency_p50<=1s")
    assert [t.number for t in frontier(held).within()] == [2]


def test_ties_on_every_axis_both_stay():
    figures = accuracy([1, 0] * 50), size(10)
    trials = [trial(n, *figures, artifact=str(n)) for n in range(2)]
    assert len(frontier(study(trials)).members) == 2


def flipped(right, lost, won):
    """Other answers to a few samples: so many lost, and so many won."""
    other = right.copy()
    other[np.flatnonzero(right)[:lost]] = False
    other[np.flatnonzero(~right)[:won]] = True
    return other


def test_an_equal_in_quality_goes_to_the_smaller():
    rng = np.random.default_rng(1)
    one = rng.random(3000) < 0.9
    two = flipped(one, 8, 8)
    big, small = trial(0, accuracy(one), size(99)), trial(1, accuracy(two), size(9))
    assert frontier(study([big, small])).members == (small,)


def test_too_few_samples_do_not_make_two_models_equal():
    rng = np.random.default_rng(1)
    one, two = rng.random((2, 500)) < 0.9
    big, small = trial(0, accuracy(one), size(99)), trial(1, accuracy(two), size(9))
    assert compare(big, small, study([]).objectives[0]) == 0
    assert len(frontier(study([big, small])).members) == 2


def test_the_budget_never_loses_its_best_point_to_one_that_breaks_it():
    rng = np.random.default_rng(1)
    scores = rng.random(3000) < 0.9
    lucky, unlucky = scores.copy(), flipped(scores, 10, 6)
    trials = [
        trial(0, accuracy(scores), size(100)),
        trial(1, accuracy(lucky), size(50)),
        trial(2, accuracy(unlucky), size(40)),
    ]
    inside = study(trials, budget="accuracy>=baseline-0.1pt")
    assert not inside.meets(trials[2])
    found = frontier(inside)
    assert {t.number for t in found.members} == {1, 2}
    assert [t.number for t in found.within()] == [1]
    assert found.knee() == trials[1]
    assert {t.number for t in frontier(study(trials)).members} == {2}


def test_members_come_best_first():
    trials = [
        exact(0, accuracy=0.8, size=10),
        exact(1, accuracy=0.9, size=30),
        exact(2, accuracy=0.85, size=20),
    ]
    found = frontier(study(trials))
    assert [t.number for t in found.members] == [1, 2, 0]


def test_within_takes_another_budget():
    trials = [exact(0, accuracy=0.9, size=100), exact(1, accuracy=0.8, size=10)]
    found = frontier(study(trials))
    tight = Budget.parse("size<=50B", ["accuracy"])
    assert found.within(tight) == (trials[1],)


def circle():
    """a is quicker than b, b takes less memory than c, c starts sooner than a."""
    rough = {"spread": 0.3}
    wide = memory(1, 100)

    def start(value, number, spread=0.01):
        timed = latency(value, seed=number, spread=spread)
        return replace(timed, metric="cold_start", ratios=())

    return [
        trial(1, latency(1.0, seed=1), wide, start(9.0, 4)),
        trial(2, latency(2.0, seed=2), memory(1, 2), start(3.0, 5, spread=3.0)),
        trial(3, latency(1.4, seed=3, **rough), memory(50, 60), start(1.0, 6)),
    ]


def test_verdicts_in_a_circle_leave_somebody():
    trials = circle()
    held = study(trials, (LATENCY, MEMORY, Objective("cold_start", "lower")))
    a, b, c = trials
    assert dominates(a, b, held)
    assert dominates(b, c, held)
    assert dominates(c, a, held)
    assert frontier(held).members


# --- properties ------------------------------------------------------------------

AXES = (ACCURACY, SIZE, LATENCY, MEMORY)


@st.composite
def noisy_trials(draw, least=1, most=7):
    count = draw(st.integers(least, most))
    found = []
    for number in range(count):
        seed = draw(st.integers(0, 5))
        scores = np.random.default_rng(seed).random(40) < draw(
            st.sampled_from([0.3, 0.6, 0.9])
        )
        low = draw(st.integers(1, 9))
        found.append(
            trial(
                number,
                accuracy(scores),
                size(draw(st.integers(1, 3))),
                latency(
                    draw(st.sampled_from([1.0, 1.02, 1.1, 2.0])),
                    draw(st.sampled_from([0.0, 0.02, 0.3])),
                    draw(st.integers(1, 4)),
                    seed,
                    draw(st.booleans()),
                ),
                memory(low, low + draw(st.integers(0, 9))),
                artifact=draw(st.sampled_from([None, None, "a", "b"])),
            )
        )
    return found


BUDGETS = st.sampled_from(
    ["", "size<=2B", "accuracy>=baseline-5pt, latency_p50<=1.05s"]
)


@settings(max_examples=150, deadline=None)
@given(noisy_trials(), BUDGETS, st.sampled_from([0.0, 0.05]), st.randoms())
def test_whatever_the_figures(trials, budget, noise, random):
    held = study(trials, AXES, budget, noise)
    found = frontier(held)
    assert found.members
    assert sorted(t.number for t in found.members + found.dominated) == [
        t.number for t in trials
    ]
    for x in found.dominated:
        is_copy = any(
            t.artifact == x.artifact
            and (held.meets(t), -t.number) > (held.meets(x), -x.number)
            for t in trials
            if t.artifact
        )
        assert is_copy or any(dominates(y, x, held) for y in trials)
    if any(held.meets(t) for t in trials):
        assert found.within()
    shuffled = list(trials)
    random.shuffle(shuffled)
    again = frontier(study(shuffled, AXES, budget, noise))
    assert again.members == found.members
    assert again.dominated == found.dominated


@settings(max_examples=100, deadline=None)
@given(noisy_trials(least=2), st.sampled_from([0.0, 0.05]))
def test_another_trial_never_brings_back_what_is_certainly_worse(trials, noise):
    """Certainly worse: certainly on one axis, and in its plain figures on all."""
    *before, extra = [t for t in trials if t.artifact is None] or trials[:1]
    held = study(before, AXES, "", noise)
    after = frontier(study([*before, extra], AXES, "", noise))
    for y, x in itertools.permutations(before, 2):
        plainly = all(
            y.values[o.metric] >= x.values[o.metric]
            if o.better == "higher"
            else y.values[o.metric] <= x.values[o.metric]
            for o in AXES
        )
        if plainly and dominates(y, x, held):
            assert x not in after.members


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(1, 6)] * 3), min_size=1, max_size=12, unique=True)
)
def test_exact_figures_give_the_plain_pareto_front(points):
    import moocore

    axes = (ACCURACY, SIZE, MEMORY)
    names = [o.metric for o in axes]
    trials = [
        exact(i, **dict(zip(names, p, strict=True))) for i, p in enumerate(points)
    ]
    plain = moocore.is_nondominated(
        np.array(points, float), maximise=[True, False, False], keep_weakly=True
    )
    found = frontier(study(trials, axes))
    assert {t.number for t in found.members} == set(np.flatnonzero(plain).tolist())
    assert set(found.probability.values()) <= {0.0, 1.0}
    assert {n for n, p in found.probability.items() if p} == {
        t.number for t in found.members
    }


# --- hypervolume -----------------------------------------------------------------


def brute(boxes):
    """The volume of a union of boxes from the origin, cell by cell."""
    cuts = [np.unique(np.append(boxes[:, i], 0.0)) for i in range(boxes.shape[1])]
    total = 0.0
    for cell in itertools.product(*(range(len(c) - 1) for c in cuts)):
        corner = np.array([c[i + 1] for c, i in zip(cuts, cell, strict=True)])
        if (boxes >= corner).all(axis=1).any():
            total += math.prod(c[i + 1] - c[i] for c, i in zip(cuts, cell, strict=True))
    return total


@pytest.mark.parametrize("axes", [2, 3, 4])
def test_hypervolume_equals_a_count_of_cells(axes):
    """TRUST's M10: 1,000 random fronts, and another point never lowers it."""
    objectives = (ACCURACY, SIZE, LATENCY, MEMORY)[:axes]
    names = [o.metric for o in objectives]
    rng = np.random.default_rng(axes)
    for _ in range(334):
        count = int(rng.integers(2, 7))
        quality = rng.uniform(0.75, 0.95, (count, 1))
        costs = np.exp(rng.uniform(-3, 0.5, (count, axes - 1)))
        quality[0], costs[0] = 0.9, 1.0
        figures = np.hstack([quality, costs])
        trials = [
            exact(i, **dict(zip(names, row, strict=True)))
            for i, row in enumerate(figures)
        ]
        held = study(trials, objectives, "accuracy>=baseline-10pt")
        gains = np.hstack([(quality - 0.8) / 0.1, np.log(1.1 / costs) / np.log(1.1)])
        expected = brute(np.maximum(gains, 0.0))
        volume = frontier(held).hypervolume
        assert volume == pytest.approx(expected, rel=1e-9)
        fewer = frontier(study(trials[:-1], objectives, "accuracy>=baseline-10pt"))
        assert fewer.hypervolume <= volume + 1e-9


def test_the_baseline_alone_has_hypervolume_one():
    alone = study([exact(0, accuracy=0.9, size=100)])
    assert frontier(alone).hypervolume == pytest.approx(1.0)
    assert frontier(alone).reference == pytest.approx({"accuracy": 0.81, "size": 110})
    limited = study(alone.trials, budget="accuracy>=baseline-1pt")
    assert frontier(limited).reference["accuracy"] == pytest.approx(0.89)
    strict = study(alone.trials, budget="accuracy>=baseline+1pt")
    assert frontier(strict).reference["accuracy"] == pytest.approx(0.81)


def test_no_baseline_no_hypervolume():
    assert math.isnan(frontier(study([exact(3, accuracy=0.9, size=9)])).hypervolume)


def test_the_knee_is_the_best_bargain_not_an_extreme():
    trials = [
        exact(0, accuracy=0.90, size=100),
        exact(1, accuracy=0.899, size=95),
        exact(2, accuracy=0.89, size=20),
        exact(3, accuracy=0.82, size=15),
    ]
    assert frontier(study(trials)).knee() == trials[2]


# --- noise -----------------------------------------------------------------------


def synthetic(rng):
    """A study with a known true front, and points that are worse beyond the noise."""
    samples, members = 1_000, 6
    truth = [(0.93 - 0.04 * i, 1000 * 0.6**i, 1.0 * 0.8**i) for i in range(members)]
    worse = [(a - 0.06, s * 1.3, t * 1.1) for a, s, t in truth[:5]]
    difficulty = rng.random(samples)
    base = truth[0][2]
    trials = []
    for number, (share, bytes_, seconds) in enumerate(truth + worse):
        scores = difficulty + rng.normal(0, 0.02, samples) < share
        trials.append(
            trial(
                number,
                accuracy(scores),
                size(round(bytes_)),
                latency(seconds, 0.012, 6, int(rng.integers(1 << 31)), base=base),
            )
        )
    return study(trials, (ACCURACY, SIZE, LATENCY), noise=0.02), members


def test_how_often_the_frontier_is_right():
    """TRUST's M11, on fewer fronts: true points kept, certainly worse ones dropped."""
    rng = np.random.default_rng(11)
    kept = lost = wrong = right = 0
    for _ in range(25):
        held, members = synthetic(rng)
        numbers = {t.number for t in frontier(held).members}
        kept += sum(n in numbers for n in range(members))
        lost += sum(n not in numbers for n in range(members))
        wrong += sum(n >= members for n in numbers)
        right += len(held.trials) - members
    assert kept / (kept + lost) >= 0.99
    assert wrong / right <= 0.01


def test_probability_says_what_is_solid():
    held, members = synthetic(np.random.default_rng(0))
    probability = frontier(held).probability
    assert all(probability[n] >= SOLID for n in range(members))
    assert all(probability[n] <= 0.05 for n in range(members, len(held.trials)))


def test_two_that_cannot_be_told_apart_share_the_probability():
    rng = np.random.default_rng(3)
    scores = rng.random(1000) < 0.9
    trials = [
        trial(n, accuracy(scores), latency(v, 0.02, 6, n, base=5.0))
        for n, v in ((1, 1.0), (2, 1.002))
    ]
    trials.insert(0, trial(0, accuracy(scores), latency(5.0, paired=False)))
    shares = frontier(study(trials, (ACCURACY, LATENCY))).probability
    assert shares[1] + shares[2] == pytest.approx(1.0)
    assert 0.05 < shares[1] < 0.95
    assert shares[0] == 0.0


def test_the_hypervolumes_interval_holds_it():
    held, _ = synthetic(np.random.default_rng(2))
    found = frontier(held)
    interval = found.hypervolume_interval
    assert interval.low < found.hypervolume < interval.high
