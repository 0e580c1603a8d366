"""A model before any training: the same structure, new weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import nn

from paretune.infrastructure.formats._zeros import restore, zeros
from paretune.infrastructure.formats.torch import clone

_RESETS = ("reset_parameters", "_reset_parameters")  # the latter of torch's attention


def fresh(model: nn.Module, seed: int) -> nn.Module:
    """A copy of `model` with weights drawn anew, as for training from scratch.

    Every layer draws its own by its `reset_parameters`, and statistics of
    normalisation start anew. A parameter that no layer resets (such as learned
    positions) is drawn from the normal distribution with the mean and the spread that
    it has. What the user froze stays, unless all is frozen, and so do the zeros of a
    sparse matrix: they are structure.

    Args:
        model: left as it is; shared parameters stay shared.
        seed: the same seed gives the same bits.

    Returns:
        The copy, in evaluation mode.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        >>> one, other = fresh(model, 0), fresh(model, 1)
        >>> bool((one[0].weight == other[0].weight).any())
        False
    """
    copied = clone(model)
    parameters = [p for p in copied.parameters() if p.is_floating_point()]
    loose = any(p.requires_grad for p in parameters)
    before = [(p, p.detach().clone()) for p in parameters]
    sparse = zeros(parameters)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        _reset(copied)
        for parameter, value in before:
            if loose and not parameter.requires_grad:
                parameter.copy_(value)
            elif torch.equal(parameter, value):
                _redraw(parameter)
        restore(sparse)
    return copied


def _reset(model: nn.Module) -> None:
    """Resets every layer that knows how; it may leave out some of its parameters."""
    # The outer modules last: what the user wrote there has the last word.
    for module in reversed(list(model.modules())):
        for name in _RESETS:
            reset = getattr(module, name, None)
            if callable(reset) and _takes_nothing(reset):
                reset()
                break


def _takes_nothing(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return False
    return True


def _redraw(parameter: nn.Parameter) -> None:
    if parameter.numel() > 1:
        spread, mean = torch.std_mean(parameter, correction=0)
        parameter.copy_(torch.randn_like(parameter) * spread + mean)
