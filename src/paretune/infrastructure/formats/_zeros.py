"""Weights that are exactly 0 and stay so while the others are trained."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

_LEAST = 0.01  # share of a matrix: fewer may be there by chance

Zeros = list[tuple[nn.Parameter, torch.Tensor]]


def zeros(parameters: Iterable[nn.Parameter]) -> Zeros:
    """The sparse matrices among them, each with a mask of where it is 0.

    A matrix is sparse if at least 1 % of it is exactly 0 and the rest isn't.

    Example:
        >>> [mask.tolist() for _, mask in zeros([nn.Parameter(torch.eye(2))])]
        [[[False, True], [True, False]]]
    """
    found = []
    for parameter in parameters:
        if parameter.dim() < 2 or not parameter.numel():
            continue
        mask = parameter.detach() == 0
        share = int(mask.sum()) / mask.numel()
        if _LEAST <= share < 1:
            found.append((parameter, mask))
    return found


def hold(kept: Zeros) -> None:
    """Takes the gradient away from every 0, so that no optimizer moves it."""
    for parameter, mask in kept:
        if parameter.grad is not None:
            parameter.grad.masked_fill_(mask, 0)


@torch.no_grad()
def restore(kept: Zeros) -> None:
    """Sets to 0 what was 0."""
    for parameter, mask in kept:
        parameter.masked_fill_(mask, 0)
