"""The built-in task: pictures of clothes (Fashion-MNIST), a plain trained CNN."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paretune.core.errors import TaskError
from paretune.core.task import SPLITS, Held, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

FOLDER = Path(__file__).parent / "_fashion"
MEAN, SPREAD = 0.2860, 0.3530
BLACK = -MEAN / SPREAD
SHIFT = 2


class Fashion(Held, Task):
    """Ten-way classification of 28x28 grey images by a CNN of 427,000 weights.

    10,000 training, 500 calibration and 3,000 validation images come from the
    official training file, 5,000 test images from the official test file; every class
    is equally frequent in each. Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel
    Image Dataset for Benchmarking Machine Learning Algorithms" (arXiv:1708.07747).

    Example:
        >>> images, labels = next(iter(Fashion().batches("validation")))
        >>> images.shape, images.dtype, labels.dtype
        ((128, 1, 28, 28), dtype('float32'), dtype('int64'))
    """

    name = "fashion"
    reference = "fashion"

    def model(self) -> nn.Module:
        from safetensors.torch import load_file

        from paretune.tasks._fashion_net import FashionNet

        model = FashionNet()
        model.load_state_dict(load_file(FOLDER / "baseline.safetensors"))
        return model.eval()

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(images float32 (n, 1, 28, 28), normalised; labels int64 (n,), 0 to 9)."""
        if name not in SPLITS:
            raise TaskError(
                "data-split",
                f"fashion has no split {name!r}, only {', '.join(SPLITS)}.",
            )
        return _read(name)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs, targets)

    def quality(self, outputs: np.ndarray, targets: np.ndarray) -> Mapping[str, Any]:
        return {"accuracy": outputs.argmax(-1) == targets}

    def augment(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Flips half of the images and shifts each by up to 2 pixels."""
        import torch

        count, _, high, wide = inputs.shape
        where = inputs.device
        padded = torch.nn.functional.pad(inputs, (SHIFT,) * 4, value=BLACK)
        shift = torch.randint(0, 2 * SHIFT + 1, (2, count, 1), device=where)
        rows = torch.arange(high, device=where) + shift[0]
        columns = torch.arange(wide, device=where).expand(count, wide)
        flipped = torch.rand(count, 1, device=where) < 0.5
        columns = torch.where(flipped, wide - 1 - columns, columns) + shift[1]
        sample = torch.arange(count, device=where)[:, None, None]
        moved = padded[sample, :, rows[:, :, None], columns[:, None, :]]
        return moved.permute(0, 3, 1, 2), targets


@cache
def _read(split: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(FOLDER / "images.npz", allow_pickle=False) as content:
        images = content[f"{split}_images"].astype(np.float32)[:, None]
        labels = content[f"{split}_labels"].astype(np.int64)
    images /= np.float32(255 * SPREAD)
    images += np.float32(BLACK)
    return images, labels
