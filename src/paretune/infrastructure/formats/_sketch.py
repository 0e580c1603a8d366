"""A PyTorch model as a short list of layers: what is known of its speed beforehand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn

from paretune.core.candidate import Candidate
from paretune.core.task import Task
from paretune.infrastructure.formats import torch as torch_format

Layer = tuple[str, int, int, int, int]
REST = "rest"  # what is computed between modules, such as attention's products

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
)


def layers(candidate: Candidate, task: Task) -> list[Layer]:
    """Each call of a module without children, in order, for one sample.

    Args:
        candidate: a torch one.
        task: gives the sample.

    Returns:
        (kind, multiply-accumulates, weights, elements that go in, elements that come
        out) of each; last what no module accounts for, as `REST`, if there is any.
    """
    model = cast(nn.Module, candidate.model)
    found: list[Layer] = []

    def note(module: nn.Module, given: Any, named: Any, made: Any) -> None:
        weights = sum(p.numel() for p in module.parameters())
        sizes = _elements((given, named)), _elements(made)
        found.append((_kind(module), _macs(module, *sizes), weights, *sizes))

    leaves = [m for m in model.modules() if not any(m.children())]
    hooks = [m.register_forward_hook(note, with_kwargs=True) for m in leaves]
    try:
        with torch.no_grad(), torch_format.plain_attention():
            torch_format.call(model, torch_format.sample(task))
    finally:
        for hook in hooks:
            hook.remove()
    total = torch_format.count(candidate, task)
    macs = max(0, total["macs"] - sum(f[1] for f in found))
    weights = max(0, total["parameters"] - sum(f[2] for f in found))
    return [*found, (REST, macs, weights, 0, 0)] if macs or weights else found


def _kind(module: nn.Module) -> str:
    if isinstance(module, _CONVOLUTIONS):
        return "depthwise" if 1 < module.groups == module.in_channels else "convolution"
    if isinstance(module, _TRANSPOSED):
        return "convolution"
    if isinstance(module, nn.Linear):
        return "linear"
    if isinstance(module, _NORMS):
        return "normalisation"
    return type(module).__name__.lower()


def _macs(module: nn.Module, given: int, made: int) -> int:
    if isinstance(module, _CONVOLUTIONS):
        return made * math.prod(module.weight.shape[1:])
    if isinstance(module, _TRANSPOSED):
        return given * math.prod(module.weight.shape[1:])
    return made * module.in_features if isinstance(module, nn.Linear) else 0


def _elements(structure: Any) -> int:
    return sum(t.numel() for t in _tensors(structure))


def _tensors(structure: Any) -> Iterator[torch.Tensor]:
    if isinstance(structure, torch.Tensor):
        yield structure
    elif isinstance(structure, dict):
        yield from _tensors(tuple(structure.values()))
    elif isinstance(structure, tuple | list):
        for each in structure:
            yield from _tensors(each)
