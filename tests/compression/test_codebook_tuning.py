from __future__ import annotations

import pytest
import torch

from paretune.compression._clustering.sharing import matrices
from paretune.compression._clustering.tuning import tied, untied
from paretune.compression.codebook_tuning import CodebookTuning
from paretune.compression.weight_clustering import WeightClustering
from paretune.core.candidate import Candidate
from paretune.core.errors import RecipeError, UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats import torch as torch_format
from tests.compression import models
from tests.toys import TOYS, ConvNet


def clustered(task) -> Candidate:
    candidate = Candidate(task.model(), "torch")
    return WeightClustering(clusters=8).apply(candidate, Run(task))


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(
        torch.equal(left[k], right[k]) for k in left
    )


@pytest.mark.parametrize("toy", list(TOYS))
def test_tying_changes_no_answer_and_can_be_undone(toy):
    task = TOYS[toy]()
    model = clustered(task).model
    other = tied(model)
    inputs = torch_format.tensors(next(iter(task.batches("validation")))[0])
    with torch.no_grad():
        given = torch_format.call(model, inputs)
        made = torch_format.call(other, inputs)
    if isinstance(given, dict):
        given, made = given["label"], made["label"]
    assert torch.equal(given, made)
    assert same(untied(other, model), model)


def test_the_gradient_of_a_shared_value_is_the_sum_over_its_weights():
    task = ConvNet()
    model = clustered(task).model
    x, y = torch_format.tensors(next(iter(task.batches("train"))))
    task.loss(model(x), y).backward()
    other = tied(model)
    task.loss(other(x), y).backward()
    weight, table = model[9].weight, other[9].parametrizations.weight.original
    for value, gradient in zip(table, table.grad, strict=True):
        mine = weight.grad[weight == value].sum()
        torch.testing.assert_close(gradient, mine, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("build", [models.Separate, models.Recurrent])
def test_shared_and_recurrent_weights(build):
    task = models.task(build)
    before = clustered(task)
    after = CodebookTuning(epochs=1, learning_rate=1e-3).apply(before, Run(task)).model
    for name, weight in matrices(before.model).items():
        made = matrices(after)[name]
        assert len(torch.unique(made)) == len(torch.unique(weight))
    if build is models.Separate:
        assert after.head.weight is after.embed.weight
        assert not torch.equal(after.embed.weight, before.model.embed.weight)
    else:
        assert torch.equal(after.lstm.weight_hh_l0, before.model.lstm.weight_hh_l0)


def test_weights_must_be_clustered():
    task = ConvNet()
    candidate = Candidate(task.model(), "torch")
    with pytest.raises(RecipeError, match="needs a model that is clustered"):
        CodebookTuning().apply(candidate, Run(task))
    with pytest.raises(UnsupportedError, match="put weight_clustering before"):
        CodebookTuning().on_torch(candidate.model, Run(task))


@pytest.mark.parametrize("build", [ConvNet, lambda: models.task(models.Recurrent)])
def test_frozen_values_stay_and_a_wholly_frozen_model_trains(build):
    task = build()
    before = clustered(task)
    free = list(matrices(before.model))[-1]
    for name, parameter in before.model.named_parameters():
        parameter.requires_grad_(name == free)
    step = CodebookTuning(epochs=1, learning_rate=1e-3)
    after = step.apply(before, Run(task)).model
    assert changed(before.model, after) == {free}
    before.model.requires_grad_(False)
    moved = changed(before.model, step.apply(before, Run(task)).model)
    recurrent = {n for n in matrices(before.model) if n.startswith("lstm")}
    assert moved >= matrices(before.model).keys() - recurrent
    assert not moved & recurrent


def test_frozen_values_alone_are_nothing_to_tune():
    task = models.task(models.Recurrent)
    before = clustered(task)
    for name, parameter in before.model.named_parameters():
        parameter.requires_grad_(name.startswith("lstm"))
    with pytest.raises(UnsupportedError, match="no trainable layer shares"):
        CodebookTuning().apply(before, Run(task))


def changed(before, after):
    old, new = (dict(m.named_parameters()) for m in (before, after))
    return {name for name in old if not torch.equal(old[name], new[name])}
