"""Exercises told apart by a smart watch's motion sensors, as a task."""

from __future__ import annotations

import os
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from paretune import Held, Task
from paretune.core.errors import TaskError

FILE = "watch_har_50hz.npz"
# Two subjects of a pair did their exercises side by side, in step with each other,
# so a pair is never divided between two splits.
PAIRS = ((1, 2), (3, 4), (5, 6), (7, 10), (8, 9))
WINDOW, STRIDE = 200, 50
SCALE = np.array([0.7, 0.7, 0.7, 1.7, 1.7, 1.7], np.float32)  # g and rad/s
CALIBRATION = 0.15
TURN, STRETCH, JITTER = 0.2, 0.1, 0.05


def folder() -> Path:
    """Where the weights are kept: never beside the data."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    default = Path(cache_home) / "paretune" / "examples"
    return Path(os.environ.get("PARETUNE_EXAMPLES") or default) / "activity"


def data_file(data: Path | None = None) -> Path:
    """The data file in `data`, or else in the folder that PARETUNE_DATA names.

    Raises:
        TaskError: it isn't there.
    """
    root = data or os.environ.get("PARETUNE_DATA")
    if not root:
        raise TaskError(
            "data-not-found", f"set PARETUNE_DATA to the folder that holds {FILE}."
        )
    path = Path(root) / FILE
    if not path.is_file():
        raise TaskError(
            "data-not-found",
            f"no file {path}; set PARETUNE_DATA to the folder that holds {FILE}.",
        )
    return path


class Net(nn.Module):
    """Five 1-D convolutions, global average pooling and a dense head."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_layer(6, 64, 7),
            *_layer(64, 64, 5),
            nn.MaxPool1d(2),
            *_layer(64, 128, 5),
            nn.MaxPool1d(2),
            *_layer(128, 128, 5),
            nn.MaxPool1d(2),
            *_layer(128, 128, 3),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(128, 7)

    def forward(self, windows: Tensor) -> Tensor:
        return self.head(self.features(windows))


def _layer(before: int, channels: int, length: int) -> list[nn.Module]:
    return [
        nn.Conv1d(before, channels, length, padding=length // 2, bias=False),
        nn.BatchNorm1d(channels),
        nn.ReLU(),
    ]


class Activity(Held, Task):
    """Which of seven exercises four seconds of accelerometer and gyroscope show.

    Args:
        data: folder of the data file; None: what PARETUNE_DATA names.
        fold: which pair of subjects is the test split, 0 to 4; the pair after it is
            the validation split, the other three train.
    """

    name = "activity"
    batch = 64

    def __init__(self, data: Path | None = None, fold: int = 3) -> None:
        if fold not in range(len(PAIRS)):
            raise TaskError("data-fold", f"fold {fold} is not one of 0 to 4.")
        self.data = data
        self.fold = fold

    @property
    def weights(self) -> Path:
        return folder() / f"baseline-fold{self.fold}.safetensors"

    def model(self) -> nn.Module:
        if not self.weights.is_file():
            raise TaskError(
                "model-not-found",
                f"no weights at {self.weights}; run: python examples/activity/train.py",
            )
        model = Net()
        model.load_state_dict(load_file(self.weights))
        return model.eval()

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(windows float32 (n, 6, 200), exercises int64 (n,), 0 to 6)."""
        return _windows(data_file(self.data), name, self.fold)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    def quality(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
        return {"accuracy": outputs.argmax(-1) == targets}

    def augment(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Turns the watch on the wrist by some 10 degrees, scales, adds noise."""
        count = len(inputs)
        where = {"device": inputs.device, "dtype": inputs.dtype}
        x, y, z = torch.randn(3, count, **where) * TURN
        none = torch.zeros_like(x)
        skew = torch.stack([none, -z, y, z, none, -x, -y, x, none], -1)
        turn = torch.matrix_exp(skew.reshape(count, 3, 3))
        turned = torch.cat([turn @ inputs[:, :3], turn @ inputs[:, 3:]], 1)
        scale = 1 + STRETCH * torch.randn(count, 6, 1, **where)
        return turned * scale + JITTER * torch.randn_like(inputs), targets


@cache
def _windows(path: Path, split: str, fold: int) -> tuple[np.ndarray, np.ndarray]:
    """The windows of a split; calibration is the end of each training recording."""
    test, validation = PAIRS[fold], PAIRS[(fold + 1) % len(PAIRS)]
    subjects = {
        "test": set(test),
        "validation": set(validation),
        "train": {s for p in PAIRS for s in p} - {*test, *validation},
    }
    subjects["calibration"] = subjects["train"]
    if split not in subjects:
        raise TaskError("data-split", f"activity has no split {split!r}.")
    content = np.load(path, allow_pickle=False)
    signal, offsets = content["signal"] / SCALE, content["offsets"]
    windows, labels = [], []
    for number, (start, end) in enumerate(pairwise(offsets)):
        if content["subject"][number] not in subjects[split]:
            continue
        cut = end - max(WINDOW, round(CALIBRATION * (end - start)))
        if split == "train":
            end = cut
        elif split == "calibration":
            start = cut
        for first in range(start, end - WINDOW + 1, STRIDE):
            windows.append(signal[first : first + WINDOW].T)
            labels.append(content["label"][number])
    if not windows:
        raise TaskError("data-empty", f"{path} has no windows for {split!r}.")
    return np.stack(windows).astype(np.float32), np.array(labels, np.int64)


task = Activity()
