"""Zeros that come while the model trains, and that stay when it is trained further."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

from paretune import catalog
from paretune.compression._sparsity import masks
from paretune.compression._sparsity.gradual import Gradually, cubic
from paretune.compression._sparsity.one_shot import Goal
from paretune.compression._sparsity.weights import find
from paretune.compression.gradual_pruning import GradualPruning
from paretune.compression.magnitude_pruning import MagnitudePruning
from paretune.core.candidate import Candidate
from paretune.core.recipe import Recipe
from paretune.core.technique import Run
from paretune.infrastructure.formats.torch import zeros
from paretune.learning.distillation import Distillation
from paretune.learning.fine_tuning import FineTuning
from paretune.tasks.fashion import Fashion
from tests.compression import models
from tests.toys import ConvNet, TextNet


class Few(Fashion):
    """Some of the images."""

    def split(self, name):
        count = 1536 if name == "train" else 512
        images, labels = super().split(name)
        return images[:count], labels[:count]


def accuracy(task, model):
    right = []
    with torch.no_grad():
        for given, labels in task.batches("validation"):
            right.append(model(torch.from_numpy(given)).argmax(-1).numpy() == labels)
    return float(np.concatenate(right).mean())


def shares(model):
    return [float((w.tensor == 0).float().mean()) for w in find(model)]


@functools.cache
def trained():
    task = TextNet()
    step = FineTuning(epochs=6, learning_rate=5e-3)
    return step.on_torch(task.model(), Run(task))


def test_the_share_rises_fast_and_then_slowly():
    times = np.linspace(-0.1, 1.2, 40)
    values = np.array([cubic(t) for t in times])
    assert (np.diff(values) >= 0).all()
    assert cubic(-1.0) == 0 and cubic(2.0) == 1
    assert cubic(0.2) > 0.45


@pytest.mark.parametrize("criterion", ["magnitude", "movement"])
@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_all_zeros_are_there_at_the_end(criterion, scope):
    task = ConvNet()
    step = GradualPruning(sparsity=0.7, scope=scope, criterion=criterion, epochs=2)
    sparse = step.on_torch(task.model(), Run(task))
    weights = find(sparse)
    total = sum(w.tensor.numel() for w in weights)
    found = [int((w.tensor == 0).sum()) for w in weights]
    if scope == "uniform":
        assert found == [round(0.7 * w.tensor.numel()) for w in weights]
    assert abs(sum(found) - round(0.7 * total)) <= len(weights)
    assert all(p.grad is None for p in sparse.parameters())


@pytest.mark.parametrize("criterion", ["magnitude", "movement"])
def test_a_pattern_holds_in_every_group(criterion):
    task = models.task(models.Grouped)
    step = GradualPruning(pattern="2:4", criterion=criterion, epochs=1)
    for weight in find(step.on_torch(task.model(), Run(task))):
        matrix = weight.matrix(weight.tensor.detach())
        for start in range(0, matrix.shape[-1], weight.inputs):
            for part in matrix[..., start : start + weight.inputs].split(4, -1):
                assert int((part != 0).sum(-1).max()) <= 2


def walk(pruner, model, steps, gradient):
    """The share of zeros after each step of a training that only pushes."""
    seen = []
    for step in range(1, steps + 1):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.grad = gradient(parameter)
                parameter -= 0.01 * parameter.grad
        pruner(model, step, steps)
        seen.append(shares(model)[0])
    return seen


def test_zeros_become_more_and_stay_where_they_are():
    model = nn.Linear(20, 10, bias=False)
    pruner = Gradually(Goal(0.9, "unstructured", "uniform"), "magnitude", 0.5, "")
    seen = walk(pruner, model, 40, torch.randn_like)
    assert (np.diff(seen) >= 0).all()
    assert seen[0] == 0 and seen[19] == seen[-1] == pytest.approx(0.9)
    assert len(set(seen)) > 10


def test_movement_drops_what_is_pushed_to_zero_however_large_it_is():
    model = nn.Linear(8, 4, bias=False)
    with torch.no_grad():
        model.weight[:, :4] = 5.0
        model.weight[:, 4:] = 0.1
    push = torch.cat([torch.ones(4, 4), -torch.ones(4, 4)], 1)
    large = Gradually(Goal(0.5, "unstructured", "uniform"), "movement", 0.5, "")
    walk(large, model, 20, lambda _: push)
    assert (model.weight[:, :4] == 0).all() and (model.weight[:, 4:] > 0.1).all()


def test_movement_brings_back_what_was_dropped_too_early():
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    pruner = Gradually(Goal(0.5, "unstructured", "uniform"), "movement", 0.9, "")
    told = iter([[1.0, 1.0, -1.0, -1.0]] * 20 + [[-9.0, -9.0, 9.0, 9.0]] * 20)
    seen = []
    for step in range(1, 41):
        model.weight.grad = torch.tensor([next(told)])
        pruner(model, step, 40)
        seen.append((model.weight == 0).tolist()[0])
    assert [True, True, False, False] in seen
    assert seen[-1] == [False, False, True, True]
    assert model.weight.tolist() == [[1.0, 2.0, 0.0, 0.0]]


def test_it_mends_what_pruning_at_once_costs_on_real_images():
    task = Few()
    model, run = task.model(), Run(task)
    at_once = MagnitudePruning(sparsity=0.9).on_torch(model, run)
    gradual = GradualPruning(sparsity=0.9, epochs=2).on_torch(model, run)
    assert zeros(Candidate(gradual, "torch")) == pytest.approx(0.9, abs=1e-3)
    assert accuracy(task, gradual) > accuracy(task, at_once) + 0.1
    assert accuracy(task, gradual) > 0.85


def test_movement_works_for_a_transformer():
    task, model = TextNet(), trained()
    step = GradualPruning(
        sparsity=0.8, criterion="movement", epochs=6, learning_rate=5e-3
    )
    sparse = step.on_torch(model, Run(task))
    assert sum(shares(sparse)) / len(shares(sparse)) > 0.6
    assert accuracy(task, sparse) > accuracy(task, model) - 0.05


@pytest.mark.parametrize("tune", [FineTuning(epochs=1), Distillation(epochs=1)])
@pytest.mark.parametrize("prune", [MagnitudePruning(sparsity=0.8), GradualPruning()])
def test_training_afterwards_moves_the_others_and_no_zero(prune, tune):
    task = ConvNet()
    run = Run(task)
    if prune.trains:
        prune = GradualPruning(epochs=1)
    sparse = prune.on_torch(task.model(), run)
    tuned = tune.on_torch(sparse, run)
    for before, after in zip(find(sparse), find(tuned), strict=True):
        assert torch.equal(before.tensor == 0, after.tensor == 0)
        assert not torch.equal(before.tensor, after.tensor)


def test_zeros_of_an_earlier_step_count_and_stay():
    task = ConvNet()
    first = MagnitudePruning(sparsity=0.5).on_torch(task.model(), Run(task))
    for criterion in ("magnitude", "movement"):
        step = GradualPruning(sparsity=0.8, criterion=criterion, epochs=1)
        again = step.on_torch(first, Run(task))
        for old, new in zip(find(first), find(again), strict=True):
            assert (new.tensor[old.tensor == 0] == 0).all()


def test_its_size_is_known_without_training():
    """What stands in for it is the step without training, so they share a footprint."""
    steps = [
        {"technique": "structured_pruning"},
        {"technique": "gradual_pruning", "sparsity": 0.9, "skip": "head"},
        {"technique": "fine_tuning"},
        {"technique": "post_training_quantization"},
    ]
    recipe = catalog.recipe(steps)
    twin = catalog.recipe(
        [
            steps[0],
            {"technique": "magnitude_pruning", "sparsity": 0.9, "skip": "head"},
            steps[3],
        ]
    )
    assert recipe.structure() == twin.structure() == twin
    assert recipe.structure().digest == twin.digest
    assert catalog.recipe(recipe.structure().to_json()) == twin


@pytest.mark.parametrize("pattern", ["unstructured", *masks.PATTERNS])
def test_what_stands_in_for_it_has_as_many_zeros(pattern):
    task = ConvNet()
    step = GradualPruning(pattern=pattern, scope="uniform", epochs=1)
    stand_in = step.structural()
    assert Recipe((step,)).check() == Recipe((stand_in,)).check()
    made = [s.on_torch(task.model(), Run(task)) for s in (step, stand_in)]
    assert shares(made[0]) == shares(made[1])
