"""Attention with projections of its own: where it is, and how heads leave it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch_pruning
from torch import nn

HEADS = (
    *("num_heads", "n_heads", "n_head", "nhead", "nheads", "heads"),
    "num_attention_heads",
)
PARTS = 3


@dataclass(frozen=True)
class Attention:
    """Query, key and value projections, and the layer that reads what they give.

    Attributes:
        sources: the layers that make queries, keys and values: three, or fewer if
            one makes several of them.
        reader: the layer that takes all heads side by side.
        owner: the module that knows how many heads there are.
        attribute: of `owner`, with that number.
    """

    sources: tuple[nn.Linear, ...]
    reader: nn.Linear
    owner: nn.Module
    attribute: str

    @property
    def heads(self) -> int:
        return int(getattr(self.owner, self.attribute))

    @property
    def size(self) -> int:
        """Features of one head."""
        return self.reader.in_features // self.heads

    def scores(
        self, worth: Mapping[str, torch.Tensor], names: Mapping[nn.Module, str]
    ) -> torch.Tensor | None:
        """The importance of each head; None if none of its weights has a worth."""
        total = torch.zeros(self.heads, dtype=torch.double)
        known = False
        for layer in (*self.sources, self.reader):
            values = worth.get(f"{names[layer]}.weight")
            if values is None:
                continue
            known = True
            if layer is self.reader:
                total += values.sum(0).view(self.heads, -1).sum(1)
            else:
                parts = layer.out_features // self.reader.in_features
                total += values.sum(1).view(parts, self.heads, -1).sum((0, 2))
        return total if known else None

    def mute(self, units: Collection[int]) -> None:
        """Cuts heads off from the layer that reads them."""
        with torch.no_grad():
            self.reader.weight[:, self._features(units)] = 0

    def ways(self, units: Collection[int]) -> Iterator[Callable[[], None]]:
        """Ways to take heads out, of which one fits how the owner is written.

        They differ in how features are laid out in a layer that makes several of
        queries, keys and values, and in which other numbers the owner remembers.
        """
        fused = any(s.out_features > self.reader.in_features for s in self.sources)
        for by_part in (True, False) if fused else (True,):
            for with_sizes in (False, True):
                yield partial(self._take_out, tuple(units), by_part, with_sizes)

    def orders(self, order: Sequence[int]) -> Iterator[Callable[[], None]]:
        """Ways to put heads in another order, of which one fits how they are laid out.

        Args:
            order: the old number of each head, by its new one.
        """
        fused = any(s.out_features > self.reader.in_features for s in self.sources)
        for by_part in (True, False) if fused else (True,):
            yield partial(self._put, torch.tensor(order), by_part)

    @torch.no_grad()
    def _put(self, order: torch.Tensor, by_part: bool) -> None:
        heads, size = self.heads, self.size
        for layer in self.sources:
            parts = layer.out_features // self.reader.in_features
            rows = torch.arange(layer.out_features)
            shape = (parts, heads, size) if by_part else (heads, parts, size)
            moved = rows.view(shape).index_select(1 if by_part else 0, order).flatten()
            layer.weight.copy_(layer.weight[moved])
            if layer.bias is not None:
                layer.bias.copy_(layer.bias[moved])
        columns = torch.arange(heads * size).view(heads, size)[order].flatten()
        self.reader.weight.copy_(self.reader.weight[:, columns])

    def kept(self) -> Callable[[], None]:
        """What puts everything back as it is now."""
        modules = (*self.sources, self.reader, self.owner)
        before = [(m, dict(vars(m)), dict(m._parameters)) for m in modules]

        def back() -> None:
            for module, attributes, parameters in before:
                vars(module).update(attributes)
                module._parameters.update(parameters)

        return back

    def _features(self, units: Collection[int]) -> list[int]:
        return [u * self.size + i for u in sorted(units) for i in range(self.size)]

    def _take_out(self, units: tuple[int, ...], by_part: bool, sizes: bool) -> None:
        inner, heads, size = self.reader.in_features, self.heads, self.size
        for layer in self.sources:
            parts = layer.out_features // inner
            order = torch.arange(layer.out_features)
            shape = (parts, heads, size) if by_part else (heads, parts, size)
            gone = torch.tensor(sorted(units))
            rows = order.view(shape).index_select(1 if by_part else 0, gone)
            torch_pruning.prune_linear_out_channels(layer, rows.flatten().tolist())
        torch_pruning.prune_linear_in_channels(self.reader, self._features(units))
        setattr(self.owner, self.attribute, heads - len(units))
        if sizes:
            for name, value in list(vars(self.owner).items()):
                if type(value) is int and value == inner:
                    setattr(self.owner, name, inner - len(units) * size)


def find(
    model: nn.Module, graph: Any, makers_of: Collection[Any]
) -> dict[str, Attention]:
    """Each attention of the model by its name.

    Args:
        model: the model that was traced.
        graph: torch_pruning's graph of it.
        makers_of: operator types that make channels of their own.
    """
    names = {m: n for n, m in model.named_modules()}
    modules = dict(model.named_modules())
    found = {}
    for module, node in list(graph.module2node.items()):
        if not isinstance(module, nn.Linear):
            continue
        path: list[Any] = []
        layers = makers(node, makers_of, path=path)
        sources = tuple(m for m in layers if isinstance(m, nn.Linear))
        kinds = [str(getattr(n.grad_fn, "name", str)()).lower() for n in path]
        parts = [s.out_features / module.in_features for s in sources]
        if (
            not any("softmax" in k or "attention" in k for k in kinds)
            or sum(parts) != PARTS
            or any(part < 1 or part % 1 for part in parts)
        ):
            continue
        owners = {_owner(names[s], modules) for s in sources}
        owner, attribute = owners.pop()
        if owners or owner is None:
            continue
        attention = Attention(sources, module, owner, attribute)
        if module.in_features % attention.heads == 0:
            found[f"heads of {names[module]}"] = attention
    return found


def makers(
    node: Any,
    makers_of: Collection[Any],
    own: bool = False,
    path: list[Any] | None = None,
) -> list[Any]:
    """The modules whose channels a node of the graph reads, nearest first.

    Args:
        node: of torch_pruning's graph.
        makers_of: operator types where the search ends.
        own: whether the node itself may be one.
        path: gets the nodes on the way.
    """
    found: dict[Any, None] = {}
    seen = set() if own else {node}
    waiting = [node] if own else list(node.inputs)
    while waiting:
        here = waiting.pop(0)
        if here in seen:
            continue
        seen.add(here)
        if here.type in makers_of:
            found[here.module] = None
            continue
        if path is not None:
            path.append(here)
        waiting += here.inputs
    return list(found)


def _owner(name: str, modules: Mapping[str, nn.Module]) -> tuple[nn.Module | None, str]:
    """(the nearest module around `name` that has a number of heads, its attribute)."""
    while name:
        name = name.rpartition(".")[0]
        module = modules[name]
        if isinstance(module, nn.MultiheadAttention):
            return None, ""
        for attribute in HEADS:
            value = vars(module).get(attribute)
            if type(value) is int and value > 0:
                return module, attribute
    return None, ""
