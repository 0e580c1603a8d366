"""Which labels are known, what a training sees, and what follows from the figures."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.measurement import Measurement
from paretune.engine.labels.curve import Point, Spread, estimate, needed, spread
from paretune.engine.labels.few import LEAST, Few, Pool, labelled, pool_of
from paretune.engine.labels.plan import METHODS, Cell, cells, steps_of
from tests.toys import ConvNet, PairNet

NO_SPREAD = Spread(0.0, 0)


def pool(counts):
    classes = np.repeat(np.arange(len(counts)), counts)
    return Pool(np.arange(len(classes)), classes, len(classes), 32)


@given(
    counts=st.lists(st.integers(5, 200), min_size=2, max_size=6),
    shares=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)),
    seed=st.integers(0, 9),
)
@settings(deadline=None)
def test_each_class_has_its_share_and_less_is_a_part_of_more(counts, shares, seed):
    made = pool(counts)
    fewer, more = (labelled(made, s, seed) for s in sorted(shares))
    assert set(fewer) <= set(more)
    for number, count in enumerate(counts):
        found = int((made.targets[more] == number).sum())
        assert found == min(count, max(LEAST, round(max(shares) * count)))
    assert len(labelled(made, 1.0, seed)) == sum(counts)


def test_without_classes_rows_are_drawn_from_all():
    made = pool_of(PairNet())
    assert made.classes is None and made.count == 256
    assert len(labelled(made, 0.1, 0)) == 26


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_every_training_is_about_as_long_and_sees_only_its_labels(share):
    task = ConvNet()
    made = pool_of(task)
    rows = labelled(made, share, 0)
    few = Few(task, made, rows, 60, own=False)
    seen = [x for _ in range(few.epochs) for x, _ in few.batches("train")]
    assert 0.7 * 60 <= len(seen) <= 1.4 * 60
    known = {made.inputs[r].tobytes() for r in rows}
    assert {x.tobytes() for batch in seen for x in batch} == known
    assert few.labels == len(rows)


def test_what_has_no_label_is_the_rest_of_train():
    task = ConvNet()
    made = pool_of(task)
    rows = labelled(made, 0.1, 0)
    few = Few(task, made, rows, 60, own=True)
    known = {made.inputs[r].tobytes() for r in rows}
    batches = list(few.batches("unlabelled"))
    assert few.unlabelled and len(batches) == len(list(few.batches("train")))
    assert all(targets is None for _, targets in batches)
    assert known.isdisjoint(x.tobytes() for batch, _ in batches for x in batch)
    everything = Few(task, made, np.arange(made.count), 60, own=True)
    assert not everything.unlabelled


def test_nothing_comes_before_what_it_needs():
    plan = cells([0.1, 1.0], 2)
    assert len(plan) == len(set(plan)) == 2 * (1 + 2 * len(METHODS))
    for place, cell in enumerate(plan):
        assert all(plan.index(other) < place for other in cell.needs)
        assert Cell.from_json(cell.to_json()) == cell


def test_more_time_means_more_steps_between_two_ends():
    found = [steps_of(5, 3, s, 2, 0.03, 80) for s in (1, 600, 1200, 1e9)]
    assert found == sorted(found)
    assert found[2] == pytest.approx(2 * found[1], abs=2)
    assert found[3] == 20 * 80


def scored(value, seed=0, count=1000):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(np.arange(count) < value * count).astype(float)
    return Measurement("accuracy", "1", "higher", tuple(scores), "samples")


def test_an_interval_covers_other_seeds_and_other_samples():
    """Of 300 studies with a known truth, about 95 % of the intervals hold it."""
    rng = np.random.default_rng(0)
    truth, hits = 0.8, 0
    for _ in range(300):
        rows = truth + 0.02 * rng.normal(size=(3, 3))
        noise = 0.01 * rng.normal()
        found = estimate(
            rows[0].mean() + noise, noise + 0.01 * rng.normal(size=500), spread(rows)
        )
        hits += found.low <= truth <= found.high
    assert 0.91 <= hits / 300 <= 0.985


def test_labels_are_interpolated_over_their_logarithm():
    curve = [Point(n, [scored(v)]) for n, v in ((10, 0.5), (100, 0.7), (1000, 0.9))]
    found = needed(curve, [NO_SPREAD] * 3, 0.8, "higher")
    assert found.labels == pytest.approx(math.sqrt(100 * 1000), rel=1e-6)
    assert found.low < found.labels < found.high
    assert not found.at_most


def test_a_dip_is_no_reason_to_want_fewer_labels():
    values = ((10, 0.5), (100, 0.8), (200, 0.76), (1000, 0.9))
    curve = [Point(n, [scored(v)]) for n, v in values]
    found = needed(curve, [NO_SPREAD] * 4, 0.79, "higher")
    assert 200 <= found.labels < 1000


def test_ends_of_what_was_tried_are_said():
    curve = [Point(n, [scored(v)]) for n, v in ((10, 0.5), (100, 0.7))]
    over = needed(curve, [NO_SPREAD] * 2, 0.95, "higher")
    assert over.labels is None and math.isinf(over.high)
    under = needed(curve, [NO_SPREAD] * 2, 0.3, "higher")
    assert under.at_most and under.labels == pytest.approx(10)


def test_lower_may_be_better():
    def error(value):
        return Measurement("error", "1", "lower", scored(value).values, "samples")

    curve = [Point(n, [error(v)]) for n, v in ((10, 0.5), (1000, 0.1))]
    found = needed(curve, [NO_SPREAD] * 2, 0.3, "lower")
    assert found.labels == pytest.approx(100, rel=1e-6)
