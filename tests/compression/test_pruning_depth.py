"""Whole residual blocks, taken out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paretune.compression.structured_pruning import StructuredPruning
from paretune.core.candidate import Candidate
from paretune.core.errors import UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.formats._blocks import Skip
from paretune.infrastructure.formats._depth import importances
from paretune.tasks.fashion import Fashion
from tests.compression import models
from tests.toys import ConvNet, ResNet, TextNet, _Block, _Layer


def cut(task, model=None, said=None, **parameters):
    given = [] if said is None else said
    run = Run(task, progress=lambda what, share: given.append(what))
    model = task.model() if model is None else model
    return StructuredPruning(**parameters).on_torch(model, run)


def answers(model, task):
    inputs = torch_format.tensors(next(iter(task.batches("validation")))[0])
    with torch.no_grad():
        return torch_format.call(model, inputs)


def kept(model, task, folder):
    torch_format.save(Candidate(model, "torch"), task, folder)
    return torch_format.load(folder, task).model


def test_the_block_that_does_nothing_is_cut(tmp_path):
    task, said = ResNet(), []
    model = task.model()
    with torch.no_grad():
        model[4].bn2.weight.zero_()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    small = cut(task, model, said, ratio=0.0, depth=0.5)
    assert isinstance(small[4], Skip)
    assert isinstance(small[3], _Block)
    assert said[-1] == "pruned; cut 4"
    torch.testing.assert_close(answers(small, task), answers(model, task))
    assert isinstance(model[4], _Block)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    again = kept(small, task, tmp_path)
    assert torch.equal(answers(again, task), answers(small, task))


def test_what_is_left_gets_narrower_by_the_whole_ratio(tmp_path):
    task = TextNet()
    small = cut(task, ratio=0.5, depth=0.5)
    layers = [m for m in small.layers if isinstance(m, _Layer)]
    (layer,) = layers
    assert layer.mlp[0].out_features == 32
    assert small.embed.embedding_dim == 16
    again = kept(small, task, tmp_path)
    assert torch.equal(answers(again, task), answers(small, task))


def test_a_model_that_was_cut_can_be_cut_and_pruned_again(tmp_path):
    task = ResNet()
    once = cut(task, ratio=0.0, depth=0.5)
    twice = cut(task, once, ratio=0.5, depth=0.75)
    assert [isinstance(twice[i], Skip) for i in (3, 4)] == [True, True]
    assert twice[0].out_channels == 8
    again = kept(twice, task, tmp_path)
    assert torch.equal(answers(again, task), answers(twice, task))


def test_the_model_must_run_without_the_block():
    # PyTorch's encoder asks its first layer how its attention is set up.
    task = models.task(models.Builtin)
    found = importances(task.model(), Run(task))
    assert list(found) == ["layers.layers.1"]


class Nested(nn.Module):
    """Blocks inside blocks, and a gate that only scales."""

    class Add(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return x + self.inner(x)

    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.weigh = nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 16))

        def forward(self, x):
            return x * torch.sigmoid(self.weigh(x))

    def __init__(self):
        super().__init__()
        linear = nn.Linear
        self.first = linear(64, 16)
        self.pair = nn.Sequential(
            self.Add(nn.Sequential(linear(16, 32), nn.ReLU(), linear(32, 16))),
            self.Add(nn.Sequential(linear(16, 16), self.Gate())),
        )
        self.alone = self.Gate()
        self.plain = nn.Sequential(linear(16, 16), nn.ReLU())
        self.last = linear(16, 3)

    def forward(self, x):
        x = torch.relu(self.first(x.flatten(1)))
        return self.last(self.plain(self.alone(self.pair(x))))


def test_blocks_are_the_innermost_with_a_way_around_their_weights():
    class Task(ConvNet):
        def model(self):
            torch.manual_seed(0)
            return Nested().eval()

    task = Task()
    found = importances(task.model(), Run(task))
    assert sorted(found) == ["pair.0", "pair.1"]
    assert all(0 < value < 10 for value in found.values())


def test_a_model_without_residual_blocks_has_none_to_cut():
    with pytest.raises(UnsupportedError, match="set depth to 0"):
        cut(ConvNet(), depth=0.5)


def test_less_than_half_a_block_is_no_block():
    with pytest.raises(UnsupportedError, match="less than half a block"):
        cut(ResNet(), ratio=0.0, depth=0.2)
    said = []
    assert isinstance(cut(ResNet(), said=said, depth=0.2)[3], _Block)
    assert said[-1] == "pruned; cut no block"


def test_something_must_be_asked_for():
    with pytest.raises(UnsupportedError, match="both 0"):
        cut(ResNet(), ratio=0.0)


class Residual(Fashion):
    """A small residual network, trained for a moment on real images."""

    name = "residual"
    trained: dict = {}

    def split(self, name):
        images, labels = super().split(name)
        count = {"train": 3000, "calibration": 128}.get(name, 1000)
        return images[:count], labels[:count]

    def model(self):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=4, padding=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            *(_Block(16) for _ in range(6)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 10),
        )
        if not self.trained:
            model.train()
            optimizer = torch.optim.Adam(model.parameters(), 1e-2)
            for _ in range(3):
                for images, labels in self.batches("train"):
                    outputs = model(torch.from_numpy(images))
                    loss = self.loss(outputs, torch.from_numpy(labels))
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
            self.trained.update(model.state_dict())
        model.load_state_dict(self.trained)
        return model.eval()


def accuracy(model, task):
    images, labels = task.split("validation")
    with torch.no_grad():
        return float(
            (model(torch.from_numpy(images)).argmax(1).numpy() == labels).mean()
        )


def test_the_least_important_blocks_are_those_that_real_images_miss_least():
    task = Residual()
    model = task.model()
    found = importances(model, Run(task))
    assert sorted(found) == [str(n) for n in range(3, 9)]
    order = sorted(found, key=found.get)
    small = cut(task, model, ratio=0.0, depth=0.34)
    gone = [n for n, m in small.named_children() if isinstance(m, Skip)]
    assert sorted(order[:2]) == sorted(gone)
    other = torch_format.clone(model)
    for name in order[-2:]:
        other._modules[name] = Skip()
    assert accuracy(model, task) > 0.6
    assert accuracy(small, task) > accuracy(other, task)
