"""Batches are varied as a policy says, and the steps after it see them."""

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paretune.catalog import recipe
from paretune.core.candidate import Candidate
from paretune.core.errors import UnsupportedError
from paretune.core.recipe import Recipe
from paretune.core.technique import Run
from paretune.infrastructure.formats._mixed import Mixed
from paretune.learning._augment import images, mixing, signals, texts
from paretune.learning._augment.policy import Policy
from paretune.learning._augment.task import Augmented
from paretune.learning.data_augmentation import DataAugmentation
from paretune.learning.distillation import Distillation
from paretune.learning.fine_tuning import FineTuning
from paretune.tasks.fashion import Fashion
from tests.toys import ConvNet, PairNet, SignalNet, TextNet

EVERYTHING = Policy(
    shift=0.2,
    flip=0.5,
    operations=3,
    strength=1.0,
    erase=0.5,
    crop=0.5,
    colour=0.5,
    jitter=0.2,
    scaling=0.2,
    warp=0.5,
    slicing=0.5,
    permutation=4,
    rotation=0.3,
    drop=0.3,
    swap=0.3,
)
NEAR = torch.arange(50).flip(0)[:, None].expand(50, 5)
shares = st.floats(0, 1)


@given(
    sides=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    shift=st.floats(0, 0.5),
    flip=st.floats(0, 0.5),
    fill=st.sampled_from(["edge", "reflect", "zero"]),
    operations=st.integers(0, 4),
    strength=shares,
    erase=shares,
    crop=st.floats(0, 0.9),
    colour=shares,
    steady=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_images_keep_shape_and_stay_finite_and_the_given_ones_stay(sides, **policy):
    torch.manual_seed(0)
    given_ = torch.randn(5, 3, *sides)
    kept = given_.clone()
    varied = images.vary(given_, Policy("image", **policy))
    assert varied.shape == given_.shape and varied.dtype == given_.dtype
    assert torch.isfinite(varied).all()
    assert torch.equal(given_, kept)


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 40)),
    jitter=shares,
    scaling=shares,
    warp=shares,
    slicing=st.floats(0, 0.8),
    permutation=st.integers(0, 8),
    rotation=shares,
)
@settings(max_examples=60, deadline=None)
def test_signals_keep_shape_and_stay_finite(shape, **policy):
    count, triples, length = shape
    torch.manual_seed(0)
    given_ = torch.randn(count, 3 * triples, length)
    kept = given_.clone()
    varied = signals.vary(given_, Policy("signal", **policy))
    assert varied.shape == given_.shape and torch.isfinite(varied).all()
    assert torch.equal(given_, kept)


@given(drop=shares, swap=shares, synonyms=shares, padding=st.integers(0, 10))
@settings(max_examples=60, deadline=None)
def test_special_tokens_stay_where_they_are(drop, swap, synonyms, padding):
    torch.manual_seed(0)
    tokens = torch.randint(0, 50, (16, 12))
    policy = Policy("text", drop=drop, swap=swap, synonyms=synonyms, padding=padding)
    varied = texts.vary(tokens, policy, NEAR)
    special = tokens <= padding
    assert torch.equal(varied[special], tokens[special])
    assert varied.dtype == tokens.dtype


@pytest.mark.parametrize("fill", ["edge", "reflect", "zero"])
def test_a_shift_moves_by_whole_pixels(fill):
    torch.manual_seed(0)
    rows = torch.arange(8.0).repeat(64, 1, 8, 1)
    varied = images.vary(rows, Policy("image", shift=0.25, fill=fill))
    assert torch.equal(varied, varied.round())
    moves = varied[:, 0, :, 3].max(1).values - 3  # a column that no edge reaches
    assert set(moves.tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}


def test_a_flip_mirrors_and_nothing_else():
    torch.manual_seed(0)
    given_ = torch.randn(64, 1, 5, 5)
    varied = images.vary(given_, Policy("image", flip=0.5))
    mirrored = [torch.equal(v, g.flip(-1)) for v, g in zip(varied, given_, strict=True)]
    same = [torch.equal(v, g) for v, g in zip(varied, given_, strict=True)]
    assert all(m or s for m, s in zip(mirrored, same, strict=True))
    assert 16 < sum(mirrored) < 48


def test_a_crop_enlarges_what_it_keeps():
    torch.manual_seed(0)
    ramp = torch.arange(32.0).repeat(64, 1, 32, 1)
    varied = images.vary(ramp, Policy("image", crop=0.75))
    steps = varied.diff(dim=3)[..., 4:-4].mean((1, 2, 3))
    # A quarter of the area is half of a side: shown twice as large, never smaller.
    assert 0.5 <= steps.min() < 0.6 and 0.9 < steps.max() <= 1.001


def test_colours_change_and_some_images_turn_grey():
    torch.manual_seed(0)
    given_ = torch.randn(200, 3, 4, 4)
    varied = images.vary(given_, Policy("image", colour=0.5))
    grey = (varied - varied[:, :1]).abs().amax((1, 2, 3)) == 0
    assert 30 < int(grey.sum()) < 70
    rest = varied[~grey], given_[~grey]
    apart = [v.mean((2, 3)) - v.mean((1, 2, 3))[:, None] for v in rest]
    assert float((apart[0] - apart[1]).abs().mean()) > 0.05


def test_no_operation_leaves_the_image_as_it_is():
    given_ = torch.randn(4, 1, 6, 9)
    policy = Policy("image", operations=2, strength=0.0)
    assert torch.equal(images.vary(given_, policy), given_)


def test_a_permutation_only_reorders():
    torch.manual_seed(0)
    given_ = torch.arange(21.0).repeat(50, 1, 1)
    varied = signals.vary(given_, Policy("signal", permutation=4))
    assert torch.equal(varied.sort().values, given_)
    moved = (varied != given_).any(-1).sum()
    assert 10 < int(moved) < 40


def test_warped_time_never_runs_backwards():
    torch.manual_seed(0)
    given_ = torch.arange(64.0).repeat(20, 1, 1)
    varied = signals.vary(given_, Policy("signal", warp=1.0, slicing=0.5))
    assert (varied.diff() >= -1e-4).all()
    assert varied.min() >= 0 and varied.max() <= 63


def test_turned_axes_keep_their_length():
    torch.manual_seed(0)
    given_ = torch.randn(9, 6, 11)
    varied = signals.vary(given_, Policy("signal", rotation=1.0))
    for triple in (slice(0, 3), slice(3, 6)):
        assert torch.allclose(
            varied[:, triple].norm(dim=1), given_[:, triple].norm(dim=1), atol=1e-5
        )


def test_synonyms_are_the_nearest_by_angle():
    model = nn.Embedding(6, 2)
    angles = torch.tensor([0.0, 0.1, 0.2, 3.0, 3.1, 1.6])
    model.weight.data = torch.stack([angles.cos(), angles.sin()], 1)
    near = texts.neighbours(model, padding=0)
    assert near[3, 0] == 4 and near[1, 0] == 2
    assert not (near == 0).any()
    assert all(row not in near[row] for row in range(6))


@pytest.mark.parametrize("how", ["mixup", "cutmix", "both"])
@pytest.mark.parametrize("shape", [(8, 3, 6, 6), (8, 3, 20)])
def test_a_blend_is_of_two_samples_in_the_share_that_it_says(how, shape):
    torch.manual_seed(0)
    for _ in range(10):
        targets = torch.arange(8)
        ones = targets.float().view(-1, *[1] * (len(shape) - 1)).expand(shape)
        blended, mixed = mixing.mix(ones, targets, how, 1.0)
        expected = mixed.share * mixed.first + (1 - mixed.share) * mixed.second
        assert torch.allclose(blended.flatten(1).mean(1), expected, atol=1e-4)


def test_the_loss_of_a_blend_is_that_of_both_targets_in_their_shares():
    task = ConvNet()
    augmented = Augmented(task, Policy(), False, "mixup", 1.0)
    outputs, first = torch.randn(8, 3), torch.randint(0, 3, (8,))
    second = first.flip(0)
    found = augmented.loss(outputs, Mixed(first, second, 0.3))
    expected = 0.3 * task.loss(outputs, first) + 0.7 * task.loss(outputs, second)
    assert torch.allclose(found, expected)
    assert torch.equal(augmented.loss(outputs, first), task.loss(outputs, first))


@pytest.mark.parametrize("toy", [ConvNet, SignalNet, TextNet])
def test_the_same_seed_gives_the_same_batch(toy):
    task = toy()
    blend = "cutmix"
    augmented = Augmented(task, EVERYTHING, True, blend, 1.0)
    batch = [torch.from_numpy(a) for a in next(iter(task.batches("train")))]
    made = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        made.append(augmented.augment(*batch)[0])
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_it_is_the_task_in_everything_else():
    task = PairNet()
    augmented = Augmented(task, Policy(), True, "none", 1.0)
    assert augmented.name == task.name and augmented.metrics == task.metrics
    assert augmented.metric == "r2" and augmented.reference is None
    assert augmented.shape == task.shape
    outputs = {"value": np.zeros((2, 1)), "label": np.eye(3)[:2]}
    targets = {"value": np.ones((2, 1)), "label": np.arange(2)}
    given_, expected = (t.quality(outputs, targets) for t in (augmented, task))
    assert given_["r2"] == expected["r2"]


def test_what_has_no_labels_is_varied_and_not_blended():
    augmented = Augmented(ConvNet(), EVERYTHING, False, "mixup", 1.0)
    inputs, targets = augmented.augment(torch.randn(4, 1, 8, 8), None)
    assert targets is None and inputs.shape == (4, 1, 8, 8)


@pytest.mark.parametrize(
    ("toy", "parameters", "part"),
    [
        (PairNet, {}, "images|height"),
        (ConvNet, {"kind": "signal"}, "length"),
        (TextNet, {"blend": "mixup"}, "cutmix"),
        (TextNet, {"padding": 100}, "synonyms"),
    ],
)
def test_what_it_cannot_do_is_said_in_a_sentence(toy, parameters, part):
    task = toy()
    with pytest.raises(UnsupportedError, match=part) as error:
        DataAugmentation(**parameters).on_torch(task.model(), Run(task))
    assert error.value.message.endswith(".")


class Other(ConvNet):
    """With targets of another shape, and with more inputs."""

    def __init__(self, targets=None, **more):
        self.targets, self.more = targets, more

    def split(self, name):
        inputs, labels = super().split(name)
        if self.targets is not None:
            shape, dtype = self.targets
            labels = np.zeros((len(inputs), *shape), dtype)
        if self.more:
            inputs = {"image": inputs} | {
                key: np.ones((len(inputs), *shape), dtype)
                for key, (shape, dtype) in self.more.items()
            }
        return inputs, labels


@pytest.mark.parametrize(
    "targets",
    [
        ((8, 8), np.int64),  # a class for each pixel
        ((4, 4), np.int64),  # and at half the resolution
        ((5,), np.int64),
        ((5, 4), np.float32),  # boxes
        ((4, 4), np.bool_),
    ],
)
def test_targets_that_tell_of_places_are_refused(targets):
    task = Other(targets)
    with pytest.raises(UnsupportedError, match="each of the") as error:
        DataAugmentation().on_torch(task.model(), Run(task))
    assert error.value.message.endswith(".")


@pytest.mark.parametrize(
    "targets",
    [((), np.int64), ((1,), np.int64), ((5,), np.float32), ((5,), np.bool_)],
)
def test_targets_that_tell_of_the_whole_sample_are_not(targets):
    task = Other(targets)
    model = task.model()
    made = DataAugmentation().on_torch(model, Run(task))
    weights = zip(made.parameters(), model.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in weights)


@pytest.mark.parametrize(
    ("more", "parameters", "part"),
    [
        ({"second": ((1, 8, 8), np.float32)}, {}, "'image'.*'second'"),
        ({"tokens": ((6,), np.int64)}, {}, "'image'.*'tokens'"),
        (
            {"second": ((1, 8, 8), np.float32)},
            {"kind": "image"},
            "'image'.*'second'",
        ),
        ({"meta": ((2,), np.float32)}, {"blend": "cutmix"}, "'mixup' or 'none'"),
        ({"meta": ((2,), np.float32)}, {"blend": "both"}, "'mixup' or 'none'"),
        ({"meta": ((), np.int64)}, {"blend": "mixup"}, "choose 'none'"),
    ],
)
def test_fields_that_would_be_torn_apart_are_refused(more, parameters, part):
    task = Other(**more)
    with pytest.raises(UnsupportedError, match=part) as error:
        DataAugmentation(**parameters).on_torch(task.model(), Run(task))
    assert error.value.message.endswith(".")


def test_beside_what_is_varied_there_may_be_other_fields():
    task = Other(tokens=((6,), np.int64), meta=((2,), np.float32))
    step = DataAugmentation(kind="image", own=False)
    step.on_torch(task.model(), Run(task))
    inputs, labels = next(iter(task.batches("train")))
    given_ = {k: torch.from_numpy(v) for k, v in inputs.items()}
    torch.manual_seed(0)
    varied, _ = step.sets(Run(task)).task.augment(given_, torch.from_numpy(labels))
    same = {k for k in given_ if torch.equal(varied[k], given_[k])}
    assert same == {"tokens", "meta"}


def test_mixup_blends_every_field_in_the_same_share():
    torch.manual_seed(0)
    number = torch.arange(8.0)
    fields = {"image": number.view(-1, 1, 1, 1).expand(8, 1, 4, 4), "meta": number}
    blended, mixed = mixing.mix(fields, number, "mixup", 1.0)
    expected = mixed.share * mixed.first + (1 - mixed.share) * mixed.second
    assert torch.allclose(blended["meta"], expected, atol=1e-5)
    assert torch.allclose(blended["image"].flatten(1).mean(1), expected, atol=1e-5)


def test_it_trains_nothing_and_decides_no_size():
    step = DataAugmentation()
    assert not step.trains and step.structural() is None
    assert not recipe([step.to_json()]).structure().steps


def test_rotation_wants_three_channels_each():
    class Four(SignalNet):
        shape = (4, 32)

    task = Four()
    with pytest.raises(UnsupportedError, match="three channels"):
        DataAugmentation(rotation=0.2).on_torch(nn.Identity(), Run(task))


@pytest.mark.parametrize("blend", ["mixup", "both"])
@pytest.mark.parametrize("last", [FineTuning, Distillation])
def test_a_recipe_trains_on_what_it_set(blend, last):
    task = ConvNet()
    made = recipe(
        [
            DataAugmentation(blend=blend).to_json(),
            last(epochs=1, learning_rate=1e-3).to_json(),
        ]
    )
    alone = Recipe((last(epochs=1, learning_rate=1e-3),))
    start = Candidate(task.model(), "torch")

    def convert(candidate, formats, run):
        return candidate

    with_it, again = (
        made.apply(start, Run(task, 3), convert).model.state_dict() for _ in range(2)
    )
    without = alone.apply(start, Run(task, 3), convert).model.state_dict()
    assert all(torch.equal(with_it[k], again[k]) for k in with_it)
    assert any(not torch.equal(with_it[k], without[k]) for k in with_it)


class Small(Fashion):
    """A few hundred labels: what a model learns by heart."""

    def split(self, name):
        inputs, labels = super().split(name)
        return (inputs[:300], labels[:300]) if name == "train" else (inputs, labels)


def test_on_real_images_less_is_learned_by_heart():
    task = Small()
    images_, labels = (torch.from_numpy(a[:300]) for a in Fashion().split("train"))
    unseen, truths = (torch.from_numpy(a[:1000]) for a in Fashion().split("validation"))
    gaps = []
    for policy in ({"operations": 0, "shift": 0.0, "erase": 0.0}, {"blend": "cutmix"}):
        run = DataAugmentation(own=False, **policy).sets(Run(task))
        step = FineTuning(epochs=8, learning_rate=2e-3, start="fresh", batch_size=32)
        model = step.on_torch(tiny(), run)
        with torch.no_grad():
            losses = [
                float(nn.functional.cross_entropy(model(x), y))
                for x, y in ((images_, labels), (unseen, truths))
            ]
        gaps.append(losses[1] - losses[0])
    assert gaps[1] < gaps[0]


def tiny():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 49, 10),
    ).eval()


def test_a_batch_takes_milliseconds():
    batch = torch.randn(128, 3, 32, 32)
    images.vary(batch, EVERYTHING)
    spent = []
    for _ in range(5):
        begin = time.process_time()
        images.vary(batch, EVERYTHING)
        spent.append(time.process_time() - begin)
    assert min(spent) < 0.25  # about 0.015 on an idle core
