"""Batch normalisation is folded where that is right, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paretune.core.candidate import Candidate
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.formats._folding import fold
from tests.toys import TOYS, Classes, KeywordNet


def lively(model: nn.Module) -> nn.Module:
    """With statistics and factors as after a training."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                module.weight.data.uniform_(-1, 2)
                module.bias.data.normal_()
    return model.eval()


def answers(model: nn.Module, task) -> torch.Tensor:
    inputs = torch_format.tensors(next(iter(task.batches("validation")))[0])
    with torch.no_grad():
        outputs = torch_format.call(model, inputs)
    return outputs if isinstance(outputs, torch.Tensor) else outputs["label"]


@pytest.mark.parametrize(
    ("toy", "pairs"),
    [
        ("convnet", [("0", "1"), ("4", "5")]),
        (
            "resnet",
            [("0", "1")]
            + [(f"{b}.conv{i}", f"{b}.bn{i}") for b in (3, 4) for i in (1, 2)],
        ),
        ("signalnet", [("0", "1")]),
        ("keywordnet", [("0", "1"), ("4", "5")]),
        ("textnet", []),
        ("pairnet", []),
    ],
)
def test_all_pairs_of_a_toy_are_folded(toy, pairs, tmp_path):
    task = (TOYS | {"keywordnet": KeywordNet})[toy]()
    model = lively(task.model())
    folded = torch_format.clone(model)
    assert fold(folded, task) == pairs
    for layer, norm in pairs:
        assert isinstance(folded.get_submodule(norm), nn.Identity)
        assert folded.get_submodule(layer).bias is not None
    given, wanted = answers(folded, task), answers(model, task)
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-4)
    torch_format.save(Candidate(folded, "torch"), task, tmp_path)
    loaded = torch_format.load(tmp_path, task).model
    assert torch.equal(answers(loaded, task), given)


class Awkward(nn.Module):
    """Pairs of a layer and a normalisation that must be left, and one that needn't."""

    def __init__(self):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)
        self.seen, self.seen_norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.twice, self.twice_norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.late, self.late_norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.tied, self.tied_norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.tied.weight = self.late.weight
        self.head, self.head_norm = nn.Linear(8, 3, bias=False), nn.BatchNorm1d(3)

    def forward(self, x):
        x = torch.relu(self.stem_norm(self.stem(x)))
        y = self.seen(x)
        x = self.seen_norm(y) + y
        x = torch.relu(self.twice_norm(self.twice(x)))
        x = self.twice(x)
        x = self.late_norm(torch.relu(self.late(x)))
        x = self.tied_norm(self.tied(x))
        return self.head_norm(self.head(x.mean((2, 3))))


class Images(Classes):
    name = "awkward"

    def model(self):
        torch.manual_seed(0)
        return lively(Awkward())


def test_what_would_go_wrong_is_left_alone():
    task = Images()
    folded = task.model()
    assert fold(folded, task) == [("stem", "stem_norm"), ("head", "head_norm")]
    given, wanted = answers(folded, task), answers(task.model(), task)
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-4)


def test_frozen_weights_stay_frozen():
    task = TOYS["convnet"]()
    model = task.model().requires_grad_(False)
    assert len(fold(model, task)) == 2
    assert not any(p.requires_grad for p in model.parameters())
