"""Small real models of several families, trained for some seconds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paretune.core.task import Held, Task
from paretune.engine.tasks import find_task

COUNTS = {"train": 512, "calibration": 256, "validation": 160, "test": 32}
STEPS = 60
CLASSES = 4


def _norm(width: int) -> nn.Module:
    return nn.BatchNorm2d(width)


class Residual(nn.Module):
    """3x3 convolutions, batch normalisation, two residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, padding=1, bias=False)
        self.norm = _norm(24)
        self.convs = nn.ModuleList(
            nn.Conv2d(24, 24, 3, padding=1, bias=False) for _ in range(4)
        )
        self.norms = nn.ModuleList(_norm(24) for _ in range(4))
        self.head = nn.Linear(24, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(images)))
        for i in (0, 2):
            y = torch.relu(self.norms[i](self.convs[i](x)))
            x = torch.relu(x + self.norms[i + 1](self.convs[i + 1](y)))
        return self.head(x.mean((2, 3)))


class Depthwise(nn.Module):
    """Inverted bottlenecks: 1x1, 3x3 depthwise, 1x1; ReLU6 between."""

    def __init__(self) -> None:
        super().__init__()

        def block(given: int, out: int, size: int, groups: int = 1) -> nn.Module:
            conv = nn.Conv2d(
                given, out, size, padding=size // 2, groups=groups, bias=False
            )
            return nn.Sequential(conv, _norm(out), nn.ReLU6())

        self.features = nn.Sequential(
            block(3, 16, 3),
            block(16, 32, 1),
            block(32, 32, 3, 32),
            block(32, 32, 1),
            block(32, 32, 3, 32),
        )
        self.head = nn.Linear(32, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean((2, 3)))


class Signal(nn.Module):
    """1-D convolutions over windows of a sensor, standardised inside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([[0.5], [-1.0], [2.0]]))
        self.register_buffer("std", torch.tensor([[2.0], [0.5], [1.5]]))
        self.first = nn.Conv1d(3, 24, 5, padding=2)
        self.second = nn.Conv1d(24, 24, 3, padding=1)
        self.third = nn.Conv1d(24, 32, 3, padding=1)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, windows: Tensor) -> Tensor:
        x = torch.relu(self.first((windows - self.mean) / self.std))
        x = torch.relu(self.second(nn.functional.max_pool1d(x, 2)))
        return self.head(torch.relu(self.third(x)).mean(2))


class Text(nn.Module):
    """A transformer encoder of two layers over token numbers."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.embed = nn.Embedding(64, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.proj = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.wide = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(2))
        self.narrow = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))
        self.head = nn.Linear(width, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        batch, length, width = x.shape
        for i in range(2):
            qkv = self.qkv[i](self.norms[2 * i](x))
            qkv = qkv.view(batch, length, 3, self.heads, width // self.heads)
            q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            mixed = nn.functional.scaled_dot_product_attention(q, k, v)
            x = x + self.proj[i](mixed.transpose(1, 2).flatten(2))
            y = nn.functional.gelu(self.wide[i](self.norms[2 * i + 1](x)))
            x = x + self.narrow[i](y)
        return self.head(x.mean(1))


class Table(nn.Module):
    """Columns of a table, standardised inside the model; two answers of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.linspace(-2, 2, 16))
        self.register_buffer("std", torch.linspace(0.5, 3, 16))
        self.wide = nn.Linear(16, 48)
        self.square = nn.Linear(48, 48)
        self.low = nn.Linear(48, CLASSES)
        self.high = nn.Linear(48, CLASSES)

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.wide((rows - self.mean) / self.std))
        x = torch.relu(self.square(x))
        return {"low": self.low(x), "high": self.high(x)}


class Net(Held, Task):
    """One of the models above, on patterns that it learns in a few seconds."""

    batch = 64

    def __init__(self, build: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
        self.build, self.shape = build, shape
        self.name = build.__name__.lower()

    @property
    def tokens(self) -> bool:
        return self.name == "text"

    def split(self, name: str) -> tuple[Any, Any]:
        seed = sorted(COUNTS).index(name)
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, CLASSES, COUNTS[name])
        if self.tokens:
            inputs = rng.integers(0, 64, (len(labels), *self.shape))
            inputs[:, :6] = labels[:, None] * 16 + rng.integers(0, 16, (len(labels), 6))
            return inputs.astype(np.int64), labels.astype(np.int64)
        patterns = np.random.default_rng(99).normal(size=(CLASSES, *self.shape))
        noise = rng.normal(scale=1.5, size=(len(labels), *self.shape))
        inputs = patterns[labels] + noise
        return inputs.astype(np.float32), labels.astype(np.int64)

    def model(self) -> nn.Module:
        return trained(self)

    def loss(self, outputs: Any, targets: Any) -> Any:
        cross_entropy = nn.functional.cross_entropy
        if isinstance(outputs, dict):
            return cross_entropy(outputs["low"], targets) + cross_entropy(
                outputs["high"], CLASSES - 1 - targets
            )
        return cross_entropy(outputs, targets)

    def quality(self, outputs: Any, targets: Any) -> dict[str, Any]:
        scores = outputs["low"] if isinstance(outputs, dict) else outputs
        return {"accuracy": scores.argmax(-1) == targets}


@functools.cache
def trained(task: Net) -> nn.Module:
    """The task's model after `STEPS` batches."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = task.build().train()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    inputs, labels = map(torch.as_tensor, task.split("train"))
    for step in range(STEPS):
        rows = torch.arange(step * 64, (step + 1) * 64) % len(labels)
        optimiser.zero_grad()
        task.loss(model(inputs[rows]), labels[rows]).backward()
        optimiser.step()
    return model.eval()


@functools.cache
def nets() -> dict[str, Task]:
    """The tasks by name; `fashion` is the built-in one, trained in full."""
    made = (
        Net(Residual, (3, 12, 12)),
        Net(Depthwise, (3, 12, 12)),
        Net(Signal, (3, 48)),
        Net(Text, (12,)),
        Net(Table, (16,)),
    )
    return {"fashion": find_task("fashion"), **{t.name: t for t in made}}
