"""Which labels are known, what a training sees, and what follows from the figures."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.measurement import Measurement
from paretune.core.target import Target
from paretune.engine.labels.curve import (
    Point,
    Spread,
    alike,
    estimate,
    needed,
    spread,
    together,
)
from paretune.engine.labels.few import LEAST, Few, Pool, labelled, pool_of, varies
from paretune.engine.labels.plan import METHODS, PRETRAINING, Cell, cells, steps_of
from paretune.engine.labels.work import Trainer
from paretune.infrastructure.formats import torch as torch_format
from tests.toys import ConvNet, PairNet, TextNet, blobs

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


class More(ConvNet):
    """With inputs that nobody labelled."""

    unlabelled = True

    def split(self, name):
        if name != "unlabelled":
            return super().split(name)
        return blobs(50, 9, self.shape)[0], None


def test_what_the_task_has_without_labels_comes_along():
    task = More()
    made = pool_of(task)
    own = {x.tobytes() for x in task.split("unlabelled")[0]}
    rest = {made.inputs[r].tobytes() for r in range(made.count)}
    assert (made.count, made.more, len(made.targets)) == (256, 50, 256)
    for share in (0.1, 1.0):
        rows = labelled(made, share, 0)
        few = Few(task, made, rows, 600, own=True)
        assert few.unlabelled and rows.max() < made.count
        seen = {x.tobytes() for batch, _ in few.batches("unlabelled") for x in batch}
        assert seen & own and bool(seen & rest) == (share < 1)


def test_whether_a_task_varies_its_own_batches():
    class Flipped(ConvNet):
        def augment(self, inputs, targets):
            return inputs.flip(-1), targets

    class Relabelled(ConvNet):
        def augment(self, inputs, targets):
            return inputs, 2 - targets

    found = [varies(t, pool_of(t)) for t in (ConvNet(), Flipped(), Relabelled())]
    assert found == [False, True, True]


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


SHARES, NEW = (0.01, 0.05, 0.1, 0.25, 1.0), ("a", "b", "c")


def study(rng, common, methods=NEW, base=True):
    """By share, values by seed whose errors have a part `common` in common.

    The truth is 0; they spread less where there are more labels.
    """
    found = []
    for size in np.geomspace(0.02, 0.003, len(SHARES)):
        both, plain = rng.normal(size=(2, 3))
        found.append(
            {
                m: size
                * (
                    math.sqrt(1 - common) * rng.normal(size=3)
                    + math.sqrt(common) * both
                    - base * plain
                )
                for m in methods
            }
        )
    return found


@pytest.mark.parametrize("common", [0.0, 0.5, 1.0])
def test_intervals_cover_other_seeds_and_other_samples(common):
    """Of figures with a known truth, at least about 95 % of the intervals hold it."""
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(150):
        rows = study(rng, common, base=False)
        same = alike(rows)
        for methods in rows:
            seeds = spread([*methods.values()], same)
            for values in methods.values():
                noise = 0.003 * rng.normal()
                drawn = noise + 0.003 * rng.normal(size=500)
                found = estimate(values.mean() + noise, drawn, seeds)
                hits.append(found.low <= 0 <= found.high)
    assert 0.94 <= np.mean(hits) <= 0.995


@pytest.mark.parametrize("common", [0.0, 1.0])
def test_of_many_gains_that_are_none_hardly_ever_one_is_told(common):
    """Methods share seeds, labels and plain training: they are no independent proof."""
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(200):
        rows = study(rng, common)
        same = alike(rows)
        gains = [
            estimate(float(v.mean()), np.zeros(2), spread([*methods.values()], same))
            for methods in rows
            for v in methods.values()
        ]
        wrong += any(g.sign for g in together(gains))
    assert wrong / 200 <= 0.06


def test_seeds_count_once_where_methods_go_up_and_down_together():
    up, down = np.array([0.1, 0.2, 0.3]), np.array([0.2, 0.1, 0.2])
    assert alike([{"a": up, "b": up + 1}]) == pytest.approx(1)
    assert alike([{"a": up}]) == 1 and spread([up]).freedom == 2
    assert spread([up, up], alike([{"a": up, "b": up}])).freedom == pytest.approx(2)
    assert 2 < spread([up, down], alike([{"a": up, "b": down}])).freedom < 4


@given(st.floats(-0.1, 0.1), st.floats(0, 0.02), st.floats(0, 0.02), st.integers(0, 9))
@settings(deadline=None)
def test_what_p_says_its_interval_says(value, error, over_seeds, freedom):
    seeds = Spread(over_seeds if freedom else 0.0, freedom)
    found = estimate(value, np.array([-error, error]), seeds)
    assert found.low <= found.value <= found.high and 0 < found.p <= 1
    if abs(found.p - 0.05) > 1e-6:
        assert (found.p < 0.05) == bool(found.sign)


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


class Shuffled(TextNet):
    """The same task, with other embeddings in its own model."""

    def model(self):
        model = super().model()
        with torch.no_grad():
            model.embed.weight.copy_(model.embed.weight.roll(7, 0))
        return model


@pytest.mark.parametrize("method", ["augmentation", PRETRAINING])
def test_what_all_labels_taught_the_tasks_own_model_plays_no_part(method, tmp_path):
    cell = Cell(method, 0.0 if method == PRETRAINING else 0.1, 0)
    made = []
    for task in (TextNet(), Shuffled()):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        nothing = (lambda *_: None,) * 2
        Trainer(task, Target(), folder, 12, *nothing).train(cell, {})
        made.append(torch_format.load(folder / cell.key, task).model.state_dict())
    one, other = made
    assert all(torch.equal(one[key], other[key]) for key in one)
