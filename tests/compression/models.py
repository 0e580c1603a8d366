"""Small models, each with something that makes it hard to take channels out."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tests.toys import ConvNet, SignalNet, TextNet


def heads(x, count):
    batch, length, _ = x.shape
    return x.view(batch, length, count, -1).transpose(1, 2)


def attend(q, k, v, size):
    mixed = torch.softmax(q @ k.transpose(-1, -2) / size**0.5, -1) @ v
    return mixed.transpose(1, 2).flatten(2)


class Depthwise(nn.Module):
    def __init__(self):
        super().__init__()

        def block(given, out, size, groups=1):
            return nn.Sequential(
                nn.Conv2d(given, out, size, padding=size // 2, groups=groups),
                nn.BatchNorm2d(out),
                nn.ReLU6(),
            )

        self.features = nn.Sequential(
            block(1, 16, 3),
            block(16, 16, 3, groups=16),
            block(16, 32, 1),
            block(32, 32, 3, groups=32),
            block(32, 64, 1),
        )
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class Grouped(nn.Module):
    """Grouped convolution and group normalisation, of different numbers of groups."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3)
        self.grouped = nn.Conv2d(32, 32, 3, groups=4)
        self.norm = nn.GroupNorm(8, 32)
        self.last = nn.Conv2d(32, 16, 1)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = self.norm(self.grouped(torch.relu(self.first(x))))
        return self.head(self.last(torch.relu(x)).mean((2, 3)))


class Concatenating(nn.Module):
    """Dense connections, then a flattening of 64 positions a channel."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(32)
        self.third = nn.Conv2d(32, 24, 3, padding=1)
        self.fourth = nn.Conv2d(56, 16, 1)
        self.head = nn.Linear(16 * 64, 3)

    def forward(self, x):
        a = self.first(x)
        b = torch.cat([a, self.second(torch.relu(a))], 1)
        c = torch.cat([b, self.third(torch.relu(self.norm(b)))], 1)
        return self.head(torch.flatten(self.fourth(torch.relu(c)), 1))


class Flattened(nn.Module):
    """A 1-D CNN whose channels and positions become one axis."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(3, 16, 5, padding=2)
        self.second = nn.Conv1d(16, 16, 3, stride=2, padding=1)
        self.hidden = nn.Linear(16 * 16, 32)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.head(torch.relu(self.hidden(x.flatten(1))))


class Gated(nn.Module):
    """Channels scaled by what a small branch makes of them (squeeze and excite)."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3)
        self.norm = nn.BatchNorm2d(32)
        self.squeeze = nn.Conv2d(32, 8, 1)
        self.excite = nn.Conv2d(8, 32, 1)
        self.last = nn.Conv2d(32, 16, 3)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        gate = self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return self.head(self.last(x * torch.sigmoid(gate)).mean((2, 3)))


class Hourglass(nn.Module):
    """Down, up by a transposed convolution, and a skip connection between."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 16, 3, padding=1)
        self.deep = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.merge = nn.Conv2d(32, 16, 3, padding=1)
        self.head = nn.Conv2d(16, 3, 1)

    def forward(self, x):
        left = torch.relu(self.down(x))
        right = self.up(torch.relu(self.deep(left)))
        return self.head(torch.relu(self.merge(torch.cat([left, right], 1)))).mean(
            (2, 3)
        )


class Reused(nn.Module):
    """One convolution that is called twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.twice = nn.Conv2d(16, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        x = torch.relu(self.twice(torch.relu(self.first(x))))
        x = torch.relu(self.twice(x))
        return self.head(self.last(x).mean((2, 3)))


class Inverted(nn.Module):
    """Layer normalisation and linear layers on images, with a scale of its own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 2, 2)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.norm = nn.LayerNorm(32)
        self.wide = nn.Linear(32, 64)
        self.narrow = nn.Linear(64, 32)
        self.scale = nn.Parameter(torch.full((32,), 0.5))
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(functional.gelu(self.wide(y))) * self.scale
        return self.head((x + y.permute(0, 3, 1, 2)).mean((2, 3)))


class Shuffled(nn.Module):
    """Channels change places between grouped convolutions."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.last = nn.Conv2d(16, 32, 1)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        x = torch.relu(self.grouped(torch.relu(self.first(x))))
        x = self.last(functional.channel_shuffle(x, 2))
        return self.head(torch.relu(x).mean((2, 3)))


class Averaging(nn.Module):
    """A map over the mean of all channels: with fewer it would be another map."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.map = nn.Conv2d(1, 1, 3, padding=1)
        self.second = nn.Conv2d(16, 32, 3, padding=1)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        x = self.first(x)
        x = x * torch.sigmoid(self.map(x.mean(1, keepdim=True)))
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


class Hardcoded(nn.Module):
    """Its own size is a number in its code: that layer must be left alone."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.hidden = nn.Linear(16 * 64, 32)
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        x = torch.relu(self.first(x)).view(-1, 16 * 64)
        return self.head(torch.relu(self.hidden(x)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        self.project = nn.Linear(32, 32)
        self.lstm = nn.LSTM(32, 24, batch_first=True)
        self.hidden = nn.Linear(24, 32)
        self.head = nn.Linear(32, 3)

    def forward(self, tokens):
        steps, _ = self.lstm(torch.relu(self.project(self.embed(tokens))))
        return self.head(torch.relu(self.hidden(steps[:, -1])))


class Builtin(nn.Module):
    """PyTorch's own encoder: its attention can't be made smaller."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 3)

    def forward(self, tokens):
        return self.head(self.layers(self.embed(tokens)).mean(1))


class Separate(nn.Module):
    """Three projections, remembered sizes, and an output tied to the embedding."""

    def __init__(self):
        super().__init__()
        self.n_heads, self.inner = 4, 32
        self.embed = nn.Embedding(50, 32)
        self.query, self.key, self.value, self.out = (
            nn.Linear(32, 32) for _ in range(4)
        )
        self.norm = nn.LayerNorm(32)
        self.wide = nn.Linear(32, 64)
        self.narrow = nn.Linear(64, 32)
        self.head = nn.Linear(32, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens)
        batch, length, _ = x.shape
        q, k, v = (
            heads(m(self.norm(x)), self.n_heads)
            for m in (self.query, self.key, self.value)
        )
        x = x + self.out(attend(q, k, v, 8).view(batch, length, self.inner))
        x = x + self.narrow(torch.relu(self.wide(x)))
        return self.head(self.norm(x))[:, 0, :3]


class ByHead(nn.Module):
    """A fused projection that is laid out head by head."""

    def __init__(self):
        super().__init__()
        self.heads = 4
        self.embed = nn.Embedding(50, 32)
        self.qkv = nn.Linear(32, 96)
        self.out = nn.Linear(32, 32)
        self.head = nn.Linear(32, 3)

    def forward(self, tokens):
        x = self.embed(tokens)
        batch, length, _ = x.shape
        qkv = self.qkv(x).view(batch, length, self.heads, 3, 8)
        q, k, v = qkv.permute(0, 2, 3, 1, 4).unbind(2)
        return self.head((x + self.out(attend(q, k, v, 8))).mean(1))


class Llama(nn.Module):
    """Root-mean-square normalisation and a gated MLP."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        self.norm = nn.RMSNorm(32)
        self.gate = nn.Linear(32, 64)
        self.up = nn.Linear(32, 64)
        self.down = nn.Linear(64, 32)
        self.head = nn.Linear(32, 3)

    def forward(self, tokens):
        x = self.embed(tokens)
        y = self.norm(x)
        x = x + self.down(functional.silu(self.gate(y)) * self.up(y))
        return self.head(x.mean(1))


class Embedding(nn.Module):
    """Its output is the sum that all of its layers add to."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 32)
        self.wide = nn.Linear(32, 64)
        self.narrow = nn.Linear(64, 32)

    def forward(self, tokens):
        x = self.embed(tokens)
        return (x + self.narrow(torch.relu(self.wide(x)))).mean(1)


KINDS = {
    ConvNet: (
        *(Depthwise, Grouped, Concatenating, Gated, Hourglass, Reused, Inverted),
        *(Shuffled, Averaging, Hardcoded),
    ),
    SignalNet: (Flattened,),
    TextNet: (Recurrent, Builtin, Separate, ByHead, Llama, Embedding),
}


def task(build: type[nn.Module]):
    """A toy task whose model is that one."""
    (kind,) = (k for k, models in KINDS.items() if build in models)

    class Toy(kind):
        name = build.__name__

        def model(self):
            torch.manual_seed(0)
            return build().eval()

    return Toy()


ALL = [build for models in KINDS.values() for build in models]
