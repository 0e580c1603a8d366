"""A task that trains in a moment, for the benchmark of kills."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

import paretune


class Small(paretune.Held, paretune.Task):
    """Three noisy patterns and a small CNN."""

    name = "small"
    batch = 32
    counts = {"train": 512, "calibration": 64, "validation": 200, "test": 200}

    def split(self, name: str) -> tuple[Any, Any]:
        rng = np.random.default_rng(sorted(self.counts).index(name))
        patterns = np.random.default_rng(99).normal(size=(3, 1, 8, 8))
        labels = rng.integers(0, 3, self.counts[name])
        noise = rng.normal(scale=1.5, size=(len(labels), 1, 8, 8))
        return (patterns[labels] + noise).astype(np.float32), labels

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, 3),
        ).eval()

    def loss(self, outputs: Any, targets: Any) -> Any:
        return nn.functional.cross_entropy(outputs, targets)

    def quality(self, outputs: Any, targets: Any) -> dict[str, Any]:
        return {"accuracy": outputs.argmax(-1) == targets}
