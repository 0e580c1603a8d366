"""CIFAR-10 images and the network of the survey's own experiment, as a task."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from paretune import Held, Task
from paretune.core.errors import TaskError, UnavailableError

FILE = "cifar10_jpeg.npz"
VALIDATION, CALIBRATION = 5_000, 1_000
MEAN = np.array([125.3, 123.0, 113.9], np.float32).reshape(3, 1, 1)
SPREAD = np.array([63.0, 62.1, 66.7], np.float32).reshape(3, 1, 1)
MARGIN = 4


def folder() -> Path:
    """Where the weights and decoded images are kept: never beside the data."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    default = Path(cache_home) / "paretune" / "examples"
    return Path(os.environ.get("PARETUNE_EXAMPLES") or default) / "cifar10"


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
    """Three pairs of 3x3 convolutions and a dense head.

    Args:
        width: scales every layer but the first pair; 1.0 has 1.34 million weights.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        wide = [32, round(64 * width), round(128 * width)]
        layers: list[nn.Module] = []
        before = 3
        for channels in wide:
            for _ in range(2):
                layers += [
                    nn.Conv2d(before, channels, 3, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                ]
                before = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Linear(before * 16, round(512 * width))
        self.head = nn.Linear(round(512 * width), 10)

    def forward(self, images: Tensor) -> Tensor:
        flat = self.features(images).flatten(1)
        return self.head(torch.relu(self.hidden(flat)))


class Cifar10(Held, Task):
    """Ten-way classification of 32x32 colour images.

    Args:
        data: folder of the data file; None: what PARETUNE_DATA names.
    """

    name = "cifar10"
    batch = 128

    def __init__(self, data: Path | None = None) -> None:
        self.data = data

    def model(self) -> nn.Module:
        path = folder() / "baseline.safetensors"
        if not path.is_file():
            raise TaskError(
                "model-not-found",
                f"no weights at {path}; run: python examples/cifar10/train.py",
            )
        model = Net()
        model.load_state_dict(load_file(path))
        return model.eval()

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(images uint8 (n, 32, 32, 3), labels int64 (n,))."""
        images, labels = decoded(data_file(self.data), "test" in name)
        if name == "test":
            return images, labels
        rows = _rows(name, len(labels))
        return images[rows], labels[rows]

    def batches(self, split: str) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        for images, labels in super().batches(split):
            pixels = np.moveaxis(images, -1, 1).astype(np.float32)
            yield (pixels - MEAN) / SPREAD, labels

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    def quality(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
        return {"accuracy": outputs.argmax(-1) == targets}

    def augment(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Flips half of the images and shifts each by up to 4 pixels."""
        count, _, high, wide = inputs.shape
        padded = nn.functional.pad(inputs, (MARGIN,) * 4)
        where = {"device": inputs.device}
        shift = torch.randint(0, 2 * MARGIN + 1, (2, count, 1), **where)
        rows = torch.arange(high, **where) + shift[0]
        columns = torch.arange(wide, **where).expand(count, wide)
        flipped = torch.rand(count, 1, **where) < 0.5
        columns = torch.where(flipped, wide - 1 - columns, columns) + shift[1]
        sample = torch.arange(count, **where)[:, None, None]
        moved = padded[sample, :, rows[:, :, None], columns[:, None, :]]
        return moved.permute(0, 3, 1, 2), targets


def _rows(split: str, count: int) -> np.ndarray:
    """Rows of the official training images that belong to `split`."""
    order = np.random.default_rng(10).permutation(count)
    share = count / 50_000
    first, second = round(VALIDATION * share), round(CALIBRATION * share)
    parts = np.split(order, [first, first + second])
    names = ("validation", "calibration", "train")
    if split not in names:
        raise TaskError("data-split", f"cifar10 has no split {split!r}.")
    return np.sort(parts[names.index(split)])


@cache
def decoded(path: Path, test: bool) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8 (n, 32, 32, 3), labels int64 (n,)) of the official files.

    The decoded images are kept in `folder()` and mapped from there, so that worker
    processes share them.
    """
    part = "test" if test else "train"
    content = np.load(path, allow_pickle=False)
    labels = content[f"{part}_labels"].astype(np.int64)
    facts = path.stat()
    which = f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}".encode()
    kept = folder() / f"{part}-{hashlib.sha256(which).hexdigest()[:12]}.npy"
    if not kept.is_file():
        images = _decode(content[f"{part}_jpeg"], content[f"{part}_offsets"])
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_suffix(f".{os.getpid()}")
        with draft.open("wb") as file:
            np.save(file, images, allow_pickle=False)
        draft.replace(kept)
    return np.load(kept, mmap_mode="r", allow_pickle=False), labels


def _decode(stream: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError:
        raise UnavailableError(
            "missing-package", "JPEG images need Pillow: pip install pillow"
        ) from None
    images = np.empty((len(offsets) - 1, 32, 32, 3), np.uint8)
    raw = stream.tobytes()
    for row, (start, end) in enumerate(pairwise(offsets)):
        with Image.open(io.BytesIO(raw[start:end])) as image:
            images[row] = image
    return images


task = Cifar10()
