"""A task on which few bits cost quality: separable convolutions, a small net."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.core.technique import Run
from paretune.tasks.fashion import Fashion

if TYPE_CHECKING:
    from torch import nn

EPOCHS, RATE = 20, 5e-3


class DepthwiseFashion(Fashion):
    """The images of `fashion`, and a net of depthwise-separable convolutions.

    A 3x3 convolution of 8 channels and four pairs of a depthwise 3x3 and a 1x1
    convolution of 16 to 32, each with batch normalisation and ReLU: 3,800 weights. It
    is trained when it is asked for first, in about a minute, and kept.

    Source: Howard et al. 2017, arXiv:1704.04861.
    """

    name = "depthwise"
    reference = f"{Path(__file__)}:depthwise"

    def model(self) -> nn.Module:
        from safetensors.torch import load_file, save_file

        model = network()
        path = _kept()
        if path.exists():
            model.load_state_dict(load_file(path))
            return model.eval()
        from paretune.infrastructure.formats import _training

        trained = _training.fit(
            model,
            lambda forward, inputs, targets: self.loss(forward(inputs), targets),
            Run(self, seed=1),
            epochs=EPOCHS,
            learning_rate=RATE,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        own = path.with_suffix(f".{os.getpid()}")
        save_file(trained.state_dict(), own)
        own.replace(path)
        return trained


def network() -> nn.Module:
    """The net with its first weights."""
    import torch
    from torch import nn

    def block(
        before: int, after: int, groups: int, size: int, stride: int
    ) -> list[nn.Module]:
        return [
            nn.Conv2d(
                before, after, size, stride, size // 2, groups=groups, bias=False
            ),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]

    torch.manual_seed(0)
    layers, before = block(1, 8, 1, 3, 2), 8
    for after, stride in ((16, 1), (24, 2), (32, 1), (32, 1)):
        layers += block(before, before, before, 3, stride)
        layers += block(before, after, 1, 1, 1)
        before = after
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)
    )


def _kept() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "paretune" / "bench" / "depthwise.safetensors"


depthwise = DepthwiseFashion()
