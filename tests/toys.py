"""Tiny real tasks that tests run in milliseconds to seconds."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from paretune.core.task import Held, Task

torch.set_num_threads(1)


def blobs(count: int, seed: int, shape: tuple[int, ...]) -> tuple:
    """Three classes of noisy patterns: (inputs float32, labels int64)."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).normal(size=(3, *shape))
    labels = rng.integers(0, 3, count)
    inputs = patterns[labels] + rng.normal(scale=1.5, size=(count, *shape))
    return inputs.astype(np.float32), labels.astype(np.int64)


class Classes(Held, Task):
    """Three-way classification of `blobs`; subclasses give the model."""

    shape: tuple[int, ...] = (1, 8, 8)
    batch = 32
    counts = {"train": 256, "calibration": 64, "validation": 128, "test": 128}

    def split(self, name):
        seed = sorted(self.counts).index(name)
        return blobs(self.counts[name], seed, self.shape)

    def loss(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets)

    def quality(self, outputs, targets):
        return {"accuracy": outputs.argmax(-1) == targets}


class ConvNet(Classes):
    """A plain 2-D CNN with batch normalisation."""

    name = "convnet"

    def model(self):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, 3),
        ).eval()


class _ByKeyword(nn.Sequential):
    def forward(self, x):
        for layer in self:
            x = layer(input=x)
        return x


class KeywordNet(ConvNet):
    """The same, with layers that are called by keyword."""

    name = "keywordnet"

    def model(self):
        return _ByKeyword(*super().model()).eval()


class _Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x):
        inner = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(inner)))


class ResNet(Classes):
    """A 2-D CNN with residual connections."""

    name = "resnet"

    def model(self):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            _Block(16),
            _Block(16),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 3),
        ).eval()


class SignalNet(Classes):
    """A 1-D CNN over windows of three channels."""

    name = "signalnet"
    shape = (3, 32)

    def model(self):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv1d(3, 16, 5, padding=2),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(32, 3),
        ).eval()


class _Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.num_heads = heads
        self.head_dim = width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        batch, length, _ = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Encoder(nn.Module):
    def __init__(self, width=32, heads=4, layers=2, vocabulary=50, length=12):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(1, length, width) * 0.02)
        self.layers = nn.Sequential(*(_Layer(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 3)

    def forward(self, tokens):
        x = self.layers(self.embed(tokens) + self.position[:, : tokens.shape[1]])
        return self.head(self.norm(x).mean(1))


class TextNet(Classes):
    """A small transformer encoder over token ids, its own attention."""

    name = "textnet"

    def split(self, name):
        rng = np.random.default_rng(sorted(self.counts).index(name))
        labels = rng.integers(0, 3, self.counts[name])
        tokens = rng.integers(0, 50, (len(labels), 12))
        tokens[:, :4] = labels[:, None] * 10 + rng.integers(0, 10, (len(labels), 4))
        return tokens.astype(np.int64), labels.astype(np.int64)

    def model(self):
        torch.manual_seed(0)
        return _Encoder().eval()


class _Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Linear(6, 16)
        self.right = nn.Linear(4, 16)
        self.value = nn.Linear(16, 1)
        self.label = nn.Linear(16, 3)

    def forward(self, left, right):
        hidden = torch.relu(self.left(left) + self.right(right))
        return {"value": self.value(hidden), "label": self.label(hidden)}


class PairNet(Classes):
    """Dict inputs, dict outputs, a metric that is no mean of samples."""

    name = "pairnet"
    metrics = {"r2": "higher", "accuracy": "higher"}

    def split(self, name):
        rng = np.random.default_rng(sorted(self.counts).index(name))
        n = self.counts[name]
        left = rng.normal(size=(n, 6)).astype(np.float32)
        right = rng.normal(size=(n, 4)).astype(np.float32)
        total = left.sum(1, keepdims=True) - right[:, :1]
        label = np.digitize(total[:, 0], (-1.0, 1.0)).astype(np.int64)
        targets = {"value": total.astype(np.float32), "label": label}
        return {"left": left, "right": right}, targets

    def model(self):
        torch.manual_seed(0)
        return _Pair().eval()

    def loss(self, outputs, targets):
        value = nn.functional.mse_loss(outputs["value"], targets["value"])
        label = nn.functional.cross_entropy(outputs["label"], targets["label"])
        return value + label

    def quality(self, outputs, targets):
        residual = ((outputs["value"] - targets["value"]) ** 2).mean()
        spread = ((targets["value"] - targets["value"].mean()) ** 2).mean()
        return {
            "r2": float(1 - residual / spread),
            "accuracy": outputs["label"].argmax(-1) == targets["label"],
        }


TOYS = {t.name: t for t in (ConvNet, ResNet, SignalNet, TextNet, PairNet)}
