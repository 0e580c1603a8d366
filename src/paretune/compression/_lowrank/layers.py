"""Finds a model's layers that can be taken apart, and puts chains in their places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
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
from paretune.core.errors import UnsupportedError
from paretune.core.task import as_arrays, pick
from paretune.core.technique import Run
from paretune.infrastructure.formats import _columns
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.formats._patterns import matching

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
    named = {
        name: module
        for name, module in model.named_modules(remove_duplicate=False)
        if type(module) in KINDS
    }
    left = {id(named[name]) for name in matching(named, skip)}
    # A chain takes one place: what has another would stay there as well.
    places = Counter(id(m) for parent in model.modules() for m in _inside(parent))
    uses = Counter(id(p) for m in model.modules() for p in m._parameters.values())
    found: dict[str, Any] = {
        name: module
        for name, module in model.named_modules()
        if name in named
        and id(module) not in left
        and places[id(module)] == 1
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

    Those that are wide are left out.

    Raises:
        TaskError: the calibration split is empty.
    """
    sums: dict[str, torch.Tensor] = {}
    counts: dict[str, int] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: Any, named: Any) -> None:
            x = torch_format.first(inputs, named).detach().double()
            if not isinstance(layer, nn.Linear):
                x = x.movedim(1, -1)
            x = x.reshape(-1, x.shape[-1])
            sums[name] = sums.get(name, 0) + x.T @ x
            counts[name] = counts.get(name, 0) + len(x)

        return hook

    hooks = [
        layer.register_forward_pre_hook(note(name), with_kwargs=True)
        for name, layer in layers.items()
        if _is_matrix(layer) and not is_wide(layer)
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


def is_wide(layer: Any) -> bool:
    """Whether a layer without a kernel has more inputs than `spread` takes."""
    return _is_matrix(layer) and layer.weight.shape[1] > _columns.MOST


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


def _inside(module: nn.Module) -> Iterable[nn.Module | None]:
    return module._modules.values()


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
