"""A training that is paused and gone on with gives the bits of one that wasn't."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from paretune.core.errors import StoreError
from paretune.core.technique import Fidelity, Run
from paretune.infrastructure.formats import _training
from paretune.infrastructure.formats._checkpoint import Checkpoint, Generators
from paretune.infrastructure.formats._modes import Mode, fastest
from paretune.infrastructure.formats.torch import seed
from paretune.learning.data_augmentation import DataAugmentation
from paretune.learning.distillation import Distillation
from paretune.learning.fine_tuning import FineTuning
from tests.toys import TOYS, ConvNet, PairNet, TextNet


class Dropping(ConvNet):
    """With dropout, and augmentation that draws from all three generators."""

    def model(self):
        model = super().model()
        return nn.Sequential(*model[:-1], nn.Dropout(0.3), model[-1]).eval()

    def augment(self, inputs, targets):
        noise = np.random.normal(scale=0.1, size=inputs.shape).astype(np.float32)
        turned = inputs.flip(-1) if torch.rand(()) < 0.5 else inputs
        return turned + torch.from_numpy(noise), targets


def bits(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(v, other[k]) for k, v in one.items()
    )


def in_pieces(step, task, shares, folder, run=None):
    """The model of a step that is paused at these shares and then ends."""
    begin, paused = None, []
    for share in (*shares, 1.0):
        leave = folder / f"{share}"
        fidelity = Fidelity(share, begin, leave)
        seed(int(share * 1e6))  # whatever was drawn in between must not matter
        given = Run(run or task, seed=3, fidelity=fidelity)
        paused.append(step.on_torch(task.model(), given))
        begin = leave
    return paused[-1], paused[:-1]


def check(step, task, shares, folder, run=None):
    whole = step.on_torch(task.model(), Run(run or task, seed=3))
    pieced, rungs = in_pieces(step, task, shares, folder, run)
    assert same(bits(whole), bits(pieced))
    assert all(not m.training for m in rungs)
    assert not any(same(bits(m), bits(whole)) for m in rungs)


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "constant"])
@pytest.mark.parametrize("average", ["none", "ema", "swa"])
def test_every_schedule_and_average_of_fine_tuning(schedule, average, tmp_path):
    step = FineTuning(epochs=4, schedule=schedule, average=average)
    check(step, Dropping(), (1 / 3,), tmp_path)


@pytest.mark.parametrize("name", TOYS)
def test_every_toy_with_a_pause_within_an_epoch_and_one_between_two(name, tmp_path):
    check(FineTuning(epochs=3), TOYS[name](), (0.2, 1 / 3, 0.9), tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"sharpness": 0.05},
        {"patience": 1},
        {"patience": 3, "average": "ema"},
        {"label_smoothing": 0.1, "batch_size": 64},
        {"start": "fresh"},
    ],
)
def test_other_settings_of_fine_tuning(settings, tmp_path):
    check(FineTuning(epochs=5, **settings), Dropping(), (1 / 4, 1 / 2), tmp_path)


@pytest.mark.parametrize("hidden", ["none", "hints", "attention", "relation"])
def test_distillation_and_what_it_trains_beside_the_student(hidden, tmp_path):
    check(Distillation(epochs=3, hidden=hidden), Dropping(), (1 / 3,), tmp_path)


def test_augmentation_by_a_step_draws_the_same_numbers(tmp_path):
    task = ConvNet()
    varied = DataAugmentation(blend="mixup").sets(Run(task, seed=3)).task
    check(FineTuning(epochs=3), task, (1 / 3, 1 / 2), tmp_path, varied)


def test_bfloat16_where_it_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "paretune.infrastructure.formats._modes._has_bf16", lambda: True
    )
    task, found = ConvNet(), []
    fastest(task.model(), lambda mode, model: found.append(mode))
    assert found == [Mode(bf16=True, channels_last=True)]
    check(FineTuning(epochs=3), task, (1 / 3,), tmp_path)
    check(Distillation(epochs=3), TextNet(), (1 / 3,), tmp_path)


def test_zeros_stay_zero_through_a_pause(tmp_path):
    class Sparse(ConvNet):
        def model(self):
            model = super().model()
            with torch.no_grad():
                weight = model[4].weight
                weight[weight.abs() < weight.abs().median()] = 0
            return model

    task = Sparse()
    check(FineTuning(epochs=3), task, (0.4,), tmp_path)
    pieced, _ = in_pieces(FineTuning(epochs=3), task, (0.4,), tmp_path / "again")
    assert bool((pieced[4].weight[task.model()[4].weight == 0] == 0).all())


def test_an_unlabelled_split_alternates_on(tmp_path):
    class More(ConvNet):
        unlabelled = True
        counts = {**ConvNet.counts, "unlabelled": 96}

        def split(self, name):
            inputs, targets = super().split(name)
            return (inputs, None) if name == "unlabelled" else (inputs, targets)

    check(Distillation(epochs=3, unlabelled=True), More(), (0.3, 0.5), tmp_path)


def test_a_training_that_stops_early_leaves_nothing_and_is_the_whole_one(tmp_path):
    task = ConvNet()
    step = FineTuning(epochs=40, patience=1, learning_rate=0.1)
    whole = step.on_torch(task.model(), Run(task))
    fidelity = Fidelity(0.9, None, tmp_path / "left")
    early = step.on_torch(task.model(), Run(task, fidelity=fidelity))
    assert same(bits(whole), bits(early))
    assert not (tmp_path / "left").exists()


def test_two_rungs_in_the_same_step_are_judged_alike(tmp_path):
    _, (first, second) = in_pieces(
        FineTuning(epochs=2), ConvNet(), (0.25, 0.2501), tmp_path
    )
    assert not first.training
    assert not second.training
    places = [Checkpoint.read(tmp_path / s).place for s in ("0.25", "0.2501")]
    assert places[0] == places[1]


def test_fine_tuning_and_distillation_can_be_paused():
    paused = [t.resumes for t in (FineTuning, Distillation, DataAugmentation)]
    assert paused == [True, True, False]


@given(st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_generators_survive_json(number, draws):
    seed(number)
    np.random.normal(size=draws)  # an odd number leaves one in reserve
    kept = json.loads(json.dumps(Generators.now().to_json()))
    drawn = [(np.random.normal(), float(torch.rand(()))) for _ in range(3)]
    seed(0)
    Generators.from_json(kept).restore()
    assert drawn == [(np.random.normal(), float(torch.rand(()))) for _ in range(3)]


@pytest.mark.parametrize("file", ["training.safetensors", "training.json"])
def test_a_damaged_checkpoint_is_refused(file, tmp_path):
    in_pieces(FineTuning(epochs=2), PairNet(), (0.5,), tmp_path)
    (tmp_path / "0.5" / file).write_bytes(b"{")
    with pytest.raises(StoreError, match="corrupt"):
        Checkpoint.read(tmp_path / "0.5")


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    in_pieces(FineTuning(epochs=2), PairNet(), (0.5,), tmp_path)
    run = Run(ConvNet(), fidelity=Fidelity(1.0, tmp_path / "0.5"))
    with pytest.raises(StoreError, match="other tensors"):
        FineTuning(epochs=2).on_torch(ConvNet().model(), run)


def test_a_rung_is_nearer_to_the_end_the_later_it_is(tmp_path):
    task = ConvNet()
    step, shares = FineTuning(epochs=6, learning_rate=5e-3), (0.1, 0.4, 0.8)
    whole, rungs = in_pieces(step, task, shares, tmp_path)
    end = nn.utils.parameters_to_vector(whole.parameters()).detach()
    apart = [
        float((nn.utils.parameters_to_vector(m.parameters()).detach() - end).norm())
        for m in rungs
    ]
    assert all(a > b for a, b in pairwise(apart))


def test_the_pause_is_told_and_leaves_the_given_model_alone(tmp_path):
    task, told = PairNet(), []
    model = task.model()
    before = bits(model)
    run = Run(
        task,
        fidelity=Fidelity(0.5, None, tmp_path / "left"),
        progress=lambda what, share: told.append(share),
    )
    trained = _training.fit(
        model,
        lambda f, x, y: task.loss(f(x), y),
        run,
        epochs=8,
        learning_rate=1e-3,
    )
    assert same(before, bits(model))
    assert max(told) == 0.5
    assert not trained.training
    assert Checkpoint.read(tmp_path / "left").place.step == 32
