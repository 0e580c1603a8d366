"""What comes into a layer, as columns that its weight matrix multiplies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from paretune.compression._sparsity.weights import Weight
from paretune.core.errors import TaskError
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats import _columns
from paretune.infrastructure.formats import torch as torch_format

_CHUNK = 2**24  # values that are unfolded at once
_SETTLES = " while batch normalisation settles; give larger ones, or set settle: false"
_Unfolded = (nn.Conv1d, nn.Conv2d)


def batches(run: Run, samples: int, normed: bool = False) -> list[Any]:
    """The first samples of the calibration split, as batches of tensors.

    Args:
        run: the task.
        samples: about how many.
        normed: whether batches are normalised by their own statistics: one sample has
            no spread, so that a batch of one is left out.

    Raises:
        TaskError: there is no such batch.
    """
    found, seen, least = [], 0, 2 if normed else 1
    for inputs, _ in run.task.batches("calibration"):
        count = len(next(iter(as_arrays(inputs, "input").values())))
        if count >= least:
            found.append(torch_format.tensors(inputs))
            seen += count
        if seen >= samples:
            return found
    if not found:
        raise TaskError(
            "data-too-small",
            f"batches('calibration') gave no batch of {least} or more samples, which "
            f"this criterion needs{_SETTLES if normed else ''}.",
        )
    return found


def in_order(
    model: nn.Module, weights: Iterable[Weight], batch: Any
) -> tuple[list[Weight], list[Weight]]:
    """(those whose inputs can be had, in the order in which they work; the others)."""
    first: dict[nn.Module, int] = {}

    def note(layer: nn.Module, _: Any) -> None:
        first.setdefault(layer, len(first))

    able = {w.name: [u for u in w.users if _is_able(u, w)] for w in weights}
    layers = dict.fromkeys(u for users in able.values() for u in users)
    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    with _removing(handles), torch_format.plain_attention():
        torch_format.call(model, batch)
    seen = {
        w.name: min((first[u] for u in able[w.name] if u in first), default=-1)
        for w in weights
    }
    known = [w for w in weights if seen[w.name] >= 0]
    known.sort(key=lambda w: seen[w.name])
    return known, [w for w in weights if seen[w.name] < 0]


@torch.no_grad()
def products(
    model: nn.Module, weight: Weight, data: Iterable[Any], run: Run, whole: bool
) -> torch.Tensor:
    """Sums over samples and positions of products of a layer's inputs.

    Args:
        model: is run as it is.
        weight: whose inputs.
        data: batches of inputs.
        run: gives way between batches.
        whole: of each input with each, (groups, columns, columns); else of each with
            itself, (groups, columns).
    """
    columns = weight.matrix(weight.tensor).shape[-1]
    shape = (weight.groups, columns, columns) if whole else (weight.groups, columns)
    total = torch.zeros(shape, dtype=torch.double)

    def add(layer: nn.Module, given: Any, named: Any) -> None:
        values = torch_format.first(given, named).detach().float()
        for part in _unfolded(layer, values):
            both = part.mT @ part if whole else part.square().sum(1)
            total.add_(both.double())

    layers = [u for u in weight.users if _is_able(u, weight)]
    handles = [
        layer.register_forward_pre_hook(add, with_kwargs=True) for layer in layers
    ]
    with _removing(handles), torch_format.plain_attention():
        for batch in data:
            run.give_way()
            torch_format.call(model, batch)
    return total


def _is_able(layer: nn.Module, weight: Weight) -> bool:
    columns = weight.tensor[0].numel() if weight.layout == "kernel" else weight.inputs
    return isinstance(layer, (nn.Linear, *_Unfolded)) and columns <= _columns.MOST


def _unfolded(layer: nn.Module, given: torch.Tensor) -> Iterator[torch.Tensor]:
    """Parts of (groups, samples and positions, columns); `Weight.matrix` fits them."""
    if isinstance(layer, nn.Linear):
        yield given.reshape(1, -1, layer.in_features)
        return
    assert isinstance(layer, _Unfolded)
    flat = isinstance(layer, nn.Conv1d)
    if given.dim() == (2 if flat else 3):
        given = given[None]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    around = list(layer._reversed_padding_repeated_twice)
    given = functional.pad(given, around, mode=mode)
    kernel, step, apart = layer.kernel_size, layer.stride, layer.dilation
    if flat:
        given = given[:, :, None]
        kernel, step, apart = ((1, *pair) for pair in (kernel, step, apart))
    area = kernel[0] * kernel[1]
    count = max(1, _CHUNK // (area * given[0].numel()))
    for some in torch.split(given, count):
        patches = functional.unfold(some, kernel, dilation=apart, stride=step)
        split = patches.reshape(len(some), layer.groups, -1, area, patches.shape[-1])
        yield split.permute(1, 0, 4, 3, 2).reshape(
            layer.groups, len(some) * patches.shape[-1], -1
        )


@contextlib.contextmanager
def _removing(handles: Iterable[Any]) -> Iterator[None]:
    try:
        with torch.no_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()
