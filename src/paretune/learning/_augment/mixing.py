"""Two samples blended into one: mixup, and cutmix."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from paretune.core.task import pick
from paretune.infrastructure.formats._mixed import Mixed
from paretune.learning._augment.policy import fields


def mix(inputs: Any, targets: Any, how: str, alpha: float) -> tuple[Any, Any]:
    """A batch blended with itself in another order, and its targets in shares.

    Args:
        inputs: a batch of tensors: floats in every field for mixup, which blends all
            alike; one field for cutmix.
        targets: of the batch.
        how: "mixup", "cutmix", or "both": one or the other, batch by batch.
        alpha: of the beta distribution of the shares.
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    if how == "both":
        how = "mixup" if float(torch.rand(())) < 0.5 else "cutmix"
    tensors = fields(inputs)
    count = len(next(iter(tensors.values())))
    partner = torch.randperm(count)
    if how == "mixup":
        blended = {k: torch.lerp(t[partner], t, share) for k, t in tensors.items()}
    else:
        ((key, one),) = tensors.items()
        inside = _inside(one, share)
        blended = {key: torch.where(inside, one[partner], one)}
        share = 1 - float(inside.float().mean())
    made: Any = blended
    if isinstance(inputs, Tensor):
        (made,) = blended.values()
    elif not isinstance(inputs, dict):
        made = tuple(blended.values())
    return made, Mixed(targets, pick(targets, partner), share)


def _inside(tensor: Tensor, share: float) -> Tensor:
    """True in a rectangle (or stretch) of about 1 - share, of all samples alike."""
    sides = tensor.shape[2:] if tensor.is_floating_point() else tensor.shape[1:]
    part = (1 - share) ** (1 / max(1, len(sides)))
    inside = torch.ones(sides, dtype=torch.bool)
    for axis, length in enumerate(sides):
        size = min(length, round(part * length))
        start = math.floor(float(torch.rand(())) * (length - size + 1))
        places = torch.arange(length)
        one = (places >= start) & (places < start + size)
        inside &= one.view(-1, *[1] * (len(sides) - axis - 1))
    return inside
