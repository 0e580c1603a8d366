"""What was hidden in a sample is to be told from the features of the rest."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from paretune.core.errors import UnsupportedError
from paretune.core.task import Task
from paretune.learning._augment.policy import field_of, fields, replaced
from paretune.learning._augment.texts import embedding
from paretune.learning._ssl.contrastive import Inputs

PIECES = {"image": 8, "signal": 20}  # along the shorter side
DETAIL = {"image": 16, "signal": 64}  # places on a side that are told


class Masked(Inputs):
    """A task of which each training batch has parts hidden; its targets are the parts.

    Args:
        task: the user's.
        own: whether its own augmentation comes first.
        share: of each sample that is hidden.
        padding: of text; hidden tokens become it.
    """

    def __init__(self, task: Task, own: bool, share: float, padding: int) -> None:
        super().__init__(task, own)
        self.share, self.padding = share, padding

    def augment(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        one = self.varied(inputs[0], targets)
        key, kind = field_of(one, "auto")
        tensor = fields(one)[key]
        hidden = hide(tensor, kind, self.share, self.padding)
        blank = self.padding if kind == "text" else 0.0  # 0 is a normalised mean
        shown = replaced(one, key, tensor.masked_fill(hidden, blank))
        return (shown,), (tensor, hidden)


def hide(tensor: Tensor, kind: str, share: float, padding: int) -> Tensor:
    """Which places are hidden, patch by patch: bool, of a shape that broadcasts."""
    if kind == "text":
        return (torch.rand(tensor.shape) < share) & (tensor > padding)
    sides = tensor.shape[2:]
    patch = max(1, min(sides) // PIECES[kind])
    coarse = [math.ceil(side / patch) for side in sides]
    hidden = torch.rand(len(tensor), 1, *coarse) < share
    for axis, side in enumerate(sides, 2):
        hidden = hidden.repeat_interleave(patch, axis).narrow(axis, 0, side)
    return hidden


class Decoder(nn.Module):
    """From features to what was hidden, in less detail; a small perceptron.

    Args:
        wide: features.
        channels: of the inputs.
        sides: places on each side that it tells.
    """

    def __init__(self, wide: int, channels: int, sides: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = (channels, *sides)
        self.inner = nn.Sequential(
            nn.Linear(wide, 2 * wide),
            nn.GELU(),
            nn.Linear(2 * wide, channels * math.prod(sides)),
        )

    def forward(self, found: Tensor) -> Tensor:
        told: Tensor = self.inner(found)
        return told.view(-1, *self.shape)


def decoder(model: nn.Module, tensor: Tensor, kind: str, wide: int) -> nn.Module:
    """A decoder for a batch like this one.

    Raises:
        UnsupportedError: text for a model without an embedding.
    """
    if kind != "text":
        sides = tuple(min(DETAIL[kind], s) for s in tensor.shape[2:])
        return Decoder(wide, tensor.shape[1], sides)
    table = embedding(model)
    if table is None:
        raise UnsupportedError(
            "masked-text",
            "hidden tokens are told by the model's embedding and it has none; choose "
            "method 'contrastive'.",
        )
    return nn.Linear(wide, table.shape[1])


def masked_loss(told: Tensor, targets: tuple[Tensor, Tensor]) -> Tensor:
    """How far what was told is from what was hidden.

    The squared error over the variance, for images and signals; the cross-entropy of
    the hidden tokens, in whichever place, for text.

    Args:
        told: by the decoder; of text, scores of all tokens, shape (n, vocabulary).
        targets: (the inputs, which places were hidden).
    """
    tensor, hidden = targets
    if not tensor.is_floating_point():
        logs = told.float().log_softmax(1)
        each = -logs.gather(1, tensor.long().clamp(0, told.shape[1] - 1))
        return (each * hidden).sum() / hidden.sum().clamp_min(1)
    pool = functional.adaptive_avg_pool2d
    if tensor.dim() == 3:
        tensor, told = tensor[:, :, None], told[:, :, None]
        hidden = hidden[:, :, None]
    size = (told.shape[2], told.shape[3])
    truth = pool(tensor.float(), size)
    weight = pool(hidden.expand_as(tensor[:, :1]).float(), size)
    error = weight * (told.float() - truth) ** 2
    spread = truth.var(correction=0).clamp_min(1e-6)
    return error.sum() / weight.sum().clamp_min(1e-6) / truth.shape[1] / spread
