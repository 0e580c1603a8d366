"""Which channels of a PyTorch model depend on each other, and their removal."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch_pruning
from torch import nn
from torch_pruning.ops import OPTYPE

from paretune.core.errors import UnsupportedError
from paretune.core.task import Task
from paretune.infrastructure.formats import _checks as checks
from paretune.infrastructure.formats import _heads as attention
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.formats._channels import (
    Conv,
    RmsNormPruner,
    along,
    groups,
    muted,
    width,
)
from paretune.infrastructure.formats._order import reorder
from paretune.infrastructure.formats._units import Axis, Units

SAMPLES = 4
# How far outputs may be off: of their size, and of what the removal changes in them.
NOISE, EFFECT = 1e-5, 1e-2
# How far they may be off after channels were put in another order: sums are rounded.
ORDER = 1e-4
# Integers as wide as the floats whose place they take.
CARRIED = {torch.float32: torch.int32, torch.float64: torch.int64}
ROOTS = (Conv, nn.Linear, nn.Embedding)
# Layers whose output channels are not their input channels.
MAKERS = frozenset(
    {OPTYPE.CONV, OPTYPE.LINEAR, OPTYPE.EMBED, OPTYPE.LSTM, OPTYPE.MHA}
) | {OPTYPE.PARAMETER}


class Pruner:
    """A copy of a model, from which channels and heads can be removed.

    Attributes:
        held: channels, by the layer at their root, that stay since
            `nn.MultiheadAttention` adds to them.

    Args:
        model: left as it is.
        task: gives the samples that removals are checked on.
        worth: from `saliency.saliency`.
        embedding: whether the channels that embeddings make, and that attention adds
            to, are among the removable ones.

    Raises:
        UnsupportedError: no output of the model can be traced back to its weights.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        worth: Mapping[str, torch.Tensor],
        embedding: bool = True,
    ) -> None:
        self.held: list[str] = []
        self._model = torch_format.clone(model)
        self._trainable = {
            n: p.requires_grad for n, p in checks.parameters(self._model)
        }
        self._ties = checks.ties(self._model)
        self._worth = worth
        self._embedding = embedding
        self._inputs = checks.samples(task, SAMPLES)
        self._modules = dict(self._model.named_modules())
        self._names = {m: n for n, m in self._modules.items()}
        self._copies: dict[str, int] = {}
        ends: list[Any] = []

        def outputs(out: Any) -> list[torch.Tensor]:
            tensors = [t for t in checks.flat(out) if t.grad_fn is not None]
            ends.extend(t.grad_fn for t in tensors)
            return tensors

        for parameter in self._model.parameters():
            parameter.requires_grad_(True)
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            self._graph = torch_pruning.DependencyGraph().build_dependency(
                self._model,
                example_inputs=self._inputs,
                forward_fn=torch_format.call,
                output_transform=outputs,
                customized_pruners={nn.RMSNorm: RmsNormPruner()},
                verbose=False,
            )
        if not ends:
            raise UnsupportedError(
                "not-applicable",
                "no output of the model depends on its weights in a way that can be "
                "differentiated; leave structured_pruning out.",
            )
        last = [n for n in self._graph.module2node.values() if n.grad_fn in ends]
        self._fixed = {m for n in last for m in attention.makers(n, MAKERS, own=True)}
        self._attentions = attention.find(self._model, self._graph, MAKERS)
        self._outputs = self._run()

    def channels(self) -> dict[str, Units]:
        """Removable channels by the layer at their root, if they have a worth."""
        held = self._fixed | {m for a in self._attentions.values() for m in a.sources}
        readers = {a.reader for a in self._attentions.values()}
        found: dict[str, Units] = {}
        seen: set[Any] = set()
        self.held = []
        for module in list(self._graph.module2node):
            if not isinstance(module, ROOTS) or module in seen | held:
                continue
            group = self._group(module, range(width(module)))
            if group is None:
                continue
            members = {
                dep.target.module
                for dep, _ in group
                if self._graph.is_out_channel_pruning_fn(dep.handler)
            }
            seen |= members
            if members & held:
                continue
            if any(isinstance(m, nn.MultiheadAttention) for m in members):
                tables = [
                    self._names[m] for m in members if isinstance(m, nn.Embedding)
                ]
                self.held.append(min(tables, default=self._names[module]))
                continue
            stream = any(isinstance(m, nn.Embedding) or m in readers for m in members)
            if stream and not self._embedding:
                continue
            units = self._units(group, width(module))
            if units is not None:
                name = self._names[module]
                found[name] = units
                self._copies[name] = units.copies
        return found

    def heads(self) -> dict[str, Units]:
        """Removable attention heads by the attention's name, if they have a worth."""
        found = {}
        for name, place in self._attentions.items():
            scores = place.scores(self._worth, self._names)
            if scores is not None and place.heads > 1:
                axes = [(self._names[s], "out") for s in place.sources]
                axes += [(self._names[place.reader], "in")]
                axes += [(self._names[place.owner], "out")]
                shares = dict.fromkeys(axes, 1 / place.heads)
                found[name] = Units(_listed(scores), shares=shares)
        return found

    def remove(self, name: str, units: Sequence[int]) -> bool:
        """Removes units; False if the rest doesn't compute what it should.

        After False this object is of no more use.
        """
        # A trial: whatever the model's own code raises means that it can't be done.
        if place := self._attentions.get(name):
            place.mute(units)
            wanted = self._run()
            for way in place.ways(units):
                back = place.kept()
                if self._agrees(way, wanted):
                    return True
                back()
            return False
        with contextlib.suppress(Exception):
            return self._remove_channels(name, units)
        return False

    def sort(self, name: str, order: Sequence[int]) -> bool:
        """Puts a place's units in this order; False, and nothing done, if it can't be.

        The model still computes what it did.
        """
        if place := self._attentions.get(name):
            ways = place.orders(order)
        else:
            module, copies = self._modules[name], self._copies[name]
            apart = width(module) // copies
            whole = [u + c * apart for c in range(copies) for u in order]
            group = self._group(module, range(width(module)))
            ways = iter((partial(reorder, group, self._graph, whole),))
        for way in ways:
            before = {k: v.clone() for k, v in self._model.state_dict().items()}
            with contextlib.suppress(Exception):
                way()
                now, then = self._run(), self._outputs
                if all(
                    bool((a - b).abs().max() <= ORDER * b.abs().max())
                    for a, b in zip(now, then, strict=True)
                ):
                    return True
            self._model.load_state_dict(before)
        return False

    def mark(self) -> None:
        """Lets every element carry its number in the parameter, for `marks`.

        Raises:
            UnsupportedError: weights are neither float32 nor float64.
        """
        for name, parameter in self._model.named_parameters():
            if parameter.dtype not in CARRIED:
                raise UnsupportedError(
                    "not-applicable",
                    f"{name} is {parameter.dtype}; weights can be shared that are "
                    "float32 or float64.",
                )
            # The bits of a number, whatever float they stand for. The library removes
            # from a gradient what it removes from its parameter.
            numbers = torch.arange(parameter.numel(), dtype=CARRIED[parameter.dtype])
            parameter.grad = numbers.view(parameter.dtype).view_as(parameter)

    def marks(self) -> dict[str, torch.Tensor]:
        """The numbers that are left after `mark`, in the shape of their parameter."""
        return {
            name: parameter.grad.contiguous().view(CARRIED[parameter.dtype]).long()
            for name, parameter in self._model.named_parameters()
            if parameter.grad is not None
        }

    def finished(self) -> nn.Module:
        """The pruned model."""
        for name, parameter in checks.parameters(self._model):
            parameter.grad = None
            parameter.requires_grad_(self._trainable[name])
        return self._model.eval()

    def _remove_channels(self, name: str, units: Sequence[int]) -> bool:
        module, copies = self._modules[name], self._copies[name]
        apart = width(module) // copies
        gone = [u + c * apart for c in range(copies) for u in units]
        group = self._group(module, sorted(gone))
        if group is None or not self._graph.check_pruning_group(group):
            return False
        with muted(group, self._graph):
            wanted = self._run()
        return self._agrees(group.prune, wanted)

    def _group(self, module: nn.Module, channels: Iterable[int]) -> Any:
        prune = self._graph.get_pruner_of_module(module).prune_out_channels
        # The library asserts and indexes its way through models that it can't handle.
        with contextlib.suppress(Exception):
            return self._graph.get_pruning_group(module, prune, list(channels))
        return None

    def _units(self, group: Any, channels: int) -> Units | None:
        """The worth of each channel of the group's root, `w` summed over all layers."""
        total = torch.zeros(channels, dtype=torch.double)
        known = 0
        copies = {1}
        lying: dict[Axis, float] = {}
        for item in group:
            dep, indices = item
            module, roots = dep.target.module, item.root_idxs
            outward = self._graph.is_out_channel_pruning_fn(dep.handler)
            copies.add(groups(module))
            name = self._names.get(module)
            if name is not None and isinstance(module, nn.Module):
                axis = (name, "out" if outward else "in")
                lying[axis] = len(set(indices)) / self._wide(module, outward)
            values = self._worth.get(f"{name}.weight")
            if values is None or any(r is None for r in roots):
                continue
            known += 1
            sums = along(module, values, outward)
            if max(indices) >= len(sums):
                return None  # the library follows channels to where there are none
            total.index_add_(0, torch.tensor(roots), sums[torch.tensor(indices)])
        most = max(copies)
        if not known or channels % most or any(most % c for c in copies):
            return None
        count = channels // most
        shares = {axis: share / count for axis, share in lying.items()}
        return Units(_listed(total.view(most, -1).mean(0)), most, shares=shares)

    def _wide(self, module: nn.Module, outward: bool) -> int:
        pruner = self._graph.get_pruner_of_module(module)
        size = pruner.get_out_channels if outward else pruner.get_in_channels
        return int(size(module))

    def _agrees(self, change: Callable[[], object], wanted: list[torch.Tensor]) -> bool:
        """Whether the outputs after `change` are those wanted; keeps ties."""
        before = self._outputs
        with contextlib.suppress(Exception):
            change()
            if not checks.tie(self._model, self._ties):
                return False
            now = self._run()
            if [t.shape for t in now] != [t.shape for t in wanted]:
                return False
            for new, old, aim in zip(now, before, wanted, strict=True):
                effect = (aim - old).abs().max()
                noise = NOISE * aim.abs().max() + EFFECT * effect
                if not bool((new - aim).abs().max() <= noise):
                    return False
            self._outputs = now
            return True
        return False

    def _run(self) -> list[torch.Tensor]:
        return checks.answers(self._model, self._inputs)


def _listed(scores: torch.Tensor) -> tuple[float, ...]:
    return tuple(scores.tolist())
