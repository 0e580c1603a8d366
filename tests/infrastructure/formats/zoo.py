"""Models of many kinds, each a task with tiny data, and what prunes them."""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch_pruning as tp
from torch import nn

from paretune.core.task import Held, Task
from paretune.infrastructure.formats import torch as torch_format
from tests.toys import TOYS


class Zoo(Held, Task):
    """Random inputs for a model that a subclass builds."""

    shape: tuple[int, ...] = (3, 8, 8)
    batch = 4

    def split(self, name):
        rng = np.random.default_rng(len(name))
        inputs = rng.normal(size=(8, *self.shape)).astype(np.float32)
        return inputs, np.zeros(8, np.int64)

    def loss(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets)

    def quality(self, outputs, targets):
        return {"accuracy": outputs.argmax(-1) == targets}

    def model(self):
        torch.manual_seed(0)
        model = self.build()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
                nn.init.uniform_(module.weight, 0.5, 2.0)
                nn.init.normal_(module.bias)
        return model.eval()


class Depthwise(Zoo):
    name = "depthwise"

    def build(self):
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU6(),
            nn.Conv2d(16, 24, 1),
            nn.GroupNorm(4, 24),
            nn.PReLU(24),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(24, 5),
        )


class Upsampling(Zoo):
    name = "upsampling"

    def build(self):
        return nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.SiLU(),
            nn.ConvTranspose2d(16, 8, 2, stride=2, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 2, 1),
        )


class _Preactivated(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.conv(torch.relu(self.bn(x)))
        return self.head(x.mean((2, 3)))


class Preactivated(Zoo):
    """Batch normalisation that no convolution can take in."""

    name = "preactivated"

    def build(self):
        return _Preactivated()


class TorchsModel(nn.Module):
    def __init__(self, width=16, heads=4):
        super().__init__()
        self.embed = nn.Linear(6, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 32, 0.1, "gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x)).mean(1))


class Torchs(Zoo):
    """Torch's own transformer: nn.MultiheadAttention."""

    name = "torchs"
    shape = (5, 6)

    def build(self):
        return TorchsModel()


class TiedModel(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.embed = nn.Embedding(20, width)
        self.inner = nn.Linear(width, width)
        self.out = nn.Linear(width, 20, bias=False)
        self.out.weight = self.embed.weight
        self.register_buffer("mask", torch.ones(width), persistent=False)

    def forward(self, tokens):
        return self.out(torch.tanh(self.inner(self.embed(tokens))) * self.mask)


class Tied(Zoo):
    """A language model whose output layer is its embedding, with a lone buffer."""

    name = "tied"

    def split(self, name):
        return np.arange(40).reshape(8, 5) % 20, np.zeros(8, np.int64)

    def build(self):
        return TiedModel()


class _Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(6, 8, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Recurrent(Zoo):
    name = "recurrent"
    shape = (5, 6)

    def build(self):
        return _Recurrent()


ZOO = {
    t.name: t for t in (Depthwise, Upsampling, Preactivated, Torchs, Tied, Recurrent)
}
PRUNABLE = {**TOYS, **{t.name: t for t in (Depthwise, Upsampling, Preactivated)}}


def pruned(task, ratio=0.5):
    """The task's model with half of every layer gone, by the dependency graph."""
    model = torch_format.clone(task.model())
    inputs = torch_format.sample(task)
    kept = set(model.modules()) - {m for m in model.modules() if list(m.children())}
    outputs = [m for m in kept if _is_output(task, m)]
    heads = {m.qkv: m.num_heads for m in model.modules() if hasattr(m, "qkv")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = tp.pruner.BasePruner(
            model,
            inputs,
            tp.importance.MagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=outputs,
            num_heads=heads,
        )
        pruner.step()
    for module in model.modules():
        if hasattr(module, "qkv"):
            module.num_heads = pruner.num_heads[module.qkv]
            module.head_dim = module.qkv.out_features // 3 // module.num_heads
    return model


def _is_output(task, module):
    sizes = {"upsampling": 2, "depthwise": 5, "preactivated": 4, "pairnet": 1}
    size = getattr(module, "out_features", getattr(module, "out_channels", None))
    return size in {3, sizes.get(task.name, 3)}
