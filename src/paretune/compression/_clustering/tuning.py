"""A model whose shared values are its parameters, for as long as it trains."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from paretune.compression._clustering.sharing import MOST
from paretune.core.errors import UnsupportedError
from paretune.infrastructure.formats._edits import groups, named_tensors
from paretune.infrastructure.formats._training import unfrozen
from paretune.infrastructure.formats.torch import clone

_WORTH = 2  # weights that a value must have on the average


class _Lookup(nn.Module):
    """A weight made of a table of values, by an index for each place."""

    index: torch.Tensor
    free: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        values, index = torch.unique(weight.detach(), return_inverse=True)
        self.shape = weight.shape
        self.register_buffer("index", index.reshape(-1))
        # 1 for each value but 0, which is no value that was learned.
        self.register_buffer("free", (values != 0).to(weight.dtype))

    def forward(self, table: torch.Tensor) -> torch.Tensor:
        return (table * self.free).index_select(0, self.index).reshape(self.shape)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = torch.unique(weight.detach())
        return values


def tied(model: nn.Module) -> nn.Module:
    """A copy in which equal weights of a layer are one parameter.

    Raises:
        UnsupportedError: no trainable layer has 256 or fewer values for twice as many
            weights.
    """
    # `fit` would do it after recurrent weights are frozen here, and for them as well.
    copy = unfrozen(clone(model))
    tensors = named_tensors(copy)
    found = 0
    for names in groups(tensors):
        weight = tensors[names[0]]
        if not _is_shared(weight):
            continue
        modules = [copy.get_submodule(n.rpartition(".")[0]) for n in names]
        if any(isinstance(m, nn.RNNBase) for m in modules):
            weight.requires_grad_(False)  # it keeps a list of its weights of its own
            continue
        found += weight.requires_grad
        tables: list[Any] = []
        values = weight.detach()
        for name, module in zip(names, modules, strict=True):
            own = name.rpartition(".")[2]
            # What is registered changes the parameter that is there, in place.
            setattr(module, own, nn.Parameter(values.clone(), weight.requires_grad))
            parametrize.register_parametrization(module, own, _Lookup(values))
            tables.append(module.parametrizations[own])  # type: ignore[index]
        for other in tables[1:]:
            other.original = tables[0].original
    if not found:
        raise UnsupportedError(
            "not-applicable",
            f"no trainable layer shares {MOST} or fewer values; put weight_clustering "
            "before this step.",
        )
    return copy


def untied(trained: nn.Module, model: nn.Module) -> nn.Module:
    """A copy of `model` with the weights of the trained `tied(model)`."""
    copy = clone(model)
    with torch.no_grad():
        for name, tensor in named_tensors(copy).items():
            path, _, own = name.rpartition(".")
            tensor.copy_(getattr(trained.get_submodule(path), own))
    return copy


def _is_shared(weight: torch.Tensor) -> bool:
    if not isinstance(weight, nn.Parameter) or weight.dim() < 2:
        return False
    count = len(torch.unique(weight.detach()))
    return count <= MOST and _WORTH * count <= weight.numel()
