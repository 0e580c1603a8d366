"""Finds a model's layers that can be taken apart, and puts chains in their places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import nn

from paretune.compression._lowrank.factors import (
    Conv,
    Factors,
    canonical,
    matrix,
    tucker,
)
from paretune.core.errors import UnsupportedError, nearest
from paretune.core.task import as_arrays, pick
from paretune.core.technique import Run
from paretune.infrastructure.formats import torch as torch_format

KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def copied(model: nn.Module) -> nn.Module:
    """A copy to put chains into."""
    return torch_format.clone(model)


def candidates(
    model: nn.Module, run: Run, skip: str, convolutions: str
) -> dict[str, Any]:
    """The layers that could be taken apart, by name, in the model's order.

    Raises:
        UnsupportedError: there is none, or `skip` names something that isn't there.
    """
    names = [name for name, module in model.named_modules() if type(module) in KINDS]
    left = _skipped(skip, names)
    uses: dict[int, int] = {}
    for _, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            uses[id(parameter)] = uses.get(id(parameter), 0) + 1
    found = {
        name: module
        for name, module in model.named_modules()
        if name
        and name in names
        and name not in left
        and uses[id(module.weight)] == 1
        and _fits(module, convolutions)
    }
    if not found:
        raise UnsupportedError(
            "not-applicable",
            "the model has no linear layer or convolution that can be taken apart; "
            "leave low_rank_factorization out.",
        )
    return found


def spread(
    model: nn.Module, layers: Mapping[str, Any], run: Run, samples: int
) -> dict[str, np.ndarray]:
    """The mean of `x x^T` over the inputs x of each layer without a kernel.

    Raises:
        TaskError: the calibration split is empty.
    """
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0].detach().double()
            if not isinstance(layer, nn.Linear):
                x = x.movedim(1, -1)
            x = x.reshape(-1, x.shape[-1])
            sums[name] = sums.get(name, 0) + x.T @ x
            counts[name] = counts.get(name, 0) + len(x)

        return hook

    hooks = [
        layer.register_forward_pre_hook(note(name))
        for name, layer in layers.items()
        if _is_matrix(layer)
    ]
    torch_format.sample(run.task)  # says so if there is no calibration data
    seen = 0
    try:
        with torch.inference_mode(), torch_format.plain_attention():
            for inputs, _ in run.task.batches("calibration"):
                run.give_way()
                count = len(next(iter(as_arrays(inputs, "input").values())))
                part = pick(inputs, slice(0, samples - seen))
                torch_format.call(model, torch_format.tensors(part))
                seen += count
                if seen >= samples:
                    break
    finally:
        for handle in hooks:
            handle.remove()
    return {name: (total / counts[name]).numpy() for name, total in sums.items()}


def factors(
    layer: Any, inputs: np.ndarray | None, convolutions: str, step: int
) -> Factors:
    """What can take the place of a layer."""
    if _is_matrix(layer):
        return matrix(layer, inputs, step)
    return {"tucker": tucker, "cp": canonical}[convolutions](layer, step)


def replaced(model: nn.Module, name: str, chain: nn.Sequential, run: Run) -> bool:
    """Puts a chain in place of a layer; False if the model doesn't run with it."""
    path, _, own = name.rpartition(".")
    parent = model.get_submodule(path)
    before = parent._modules[own]
    parent._modules[own] = chain
    try:
        with torch.inference_mode():
            torch_format.call(model, torch_format.sample(run.task))
    except (AttributeError, RuntimeError, TypeError):
        # The model's code reads the layer's own weight, or indexes into it.
        parent._modules[own] = before
        return False
    return True


def _fits(layer: Any, convolutions: str) -> bool:
    if _is_matrix(layer):
        return True
    kernel = isinstance(layer, Conv) and layer.groups == 1
    return kernel and convolutions != "none"


def _is_matrix(layer: Any) -> bool:
    if isinstance(layer, nn.Linear):
        return True
    alone = set(layer.kernel_size) == {1} and layer.groups == 1
    return alone and not isinstance(layer.padding, str) and set(layer.padding) == {0}


def _skipped(patterns: str, names: list[str]) -> set[str]:
    found: set[str] = set()
    for pattern in filter(None, map(str.strip, patterns.split(","))):
        hits = {
            name
            for name in names
            if fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")
        }
        if not hits:
            raise UnsupportedError(
                "skip",
                f"skip: no layer matches {pattern!r}; {nearest(pattern, names)}",
            )
        found |= hits
    return found
