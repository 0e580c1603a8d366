"""Which channels of a PyTorch model depend on each other, and their removal."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch_pruning
from torch import nn
from torch_pruning.ops import OPTYPE

from paretune.compression._pruning import attention
from paretune.compression._pruning.channels import (
    Conv,
    RmsNormPruner,
    along,
    groups,
    muted,
    width,
)
from paretune.compression._pruning.plan import Units
from paretune.core.errors import TaskError, UnsupportedError
from paretune.core.task import Task, pick
from paretune.infrastructure.formats import torch as torch_format

SAMPLES = 4
# How far outputs may be off: of their size, and of what the removal changes in them.
NOISE, EFFECT = 1e-5, 1e-2
ROOTS = (Conv, nn.Linear, nn.Embedding)
# Layers whose output channels are not their input channels.
MAKERS = frozenset(
    {OPTYPE.CONV, OPTYPE.LINEAR, OPTYPE.EMBED, OPTYPE.LSTM, OPTYPE.MHA}
) | {OPTYPE.PARAMETER}


class Pruner:
    """A copy of a model, from which channels and heads can be removed.

    Args:
        model: left as it is.
        task: gives the samples that removals are checked on.
        worth: from `_saliency.saliency`.

    Raises:
        UnsupportedError: no output of the model can be traced back to its weights.
    """

    def __init__(
        self, model: nn.Module, task: Task, worth: Mapping[str, torch.Tensor]
    ) -> None:
        self._model = torch_format.clone(model)
        self._trainable = {n: p.requires_grad for n, p in _parameters(self._model)}
        self._ties = _ties(self._model)
        self._worth = worth
        self._inputs = _samples(task)
        self._modules = dict(self._model.named_modules())
        self._names = {m: n for n, m in self._modules.items()}
        self._copies: dict[str, int] = {}
        ends: list[Any] = []

        def outputs(out: Any) -> list[torch.Tensor]:
            tensors = [t for t in _flat(out) if t.grad_fn is not None]
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
        found: dict[str, Units] = {}
        seen: set[Any] = set()
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
            fixed = any(isinstance(m, nn.MultiheadAttention) for m in members)
            if members & held or fixed:
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
                found[name] = Units(_listed(scores))
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

    def finished(self) -> nn.Module:
        """The pruned model."""
        for name, parameter in _parameters(self._model):
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
        for item in group:
            dep, indices = item
            module, roots = dep.target.module, item.root_idxs
            outward = self._graph.is_out_channel_pruning_fn(dep.handler)
            copies.add(groups(module))
            name = self._names.get(module)
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
        return Units(_listed(total.view(most, -1).mean(0)), most)

    def _agrees(self, change: Callable[[], object], wanted: list[torch.Tensor]) -> bool:
        """Whether the outputs after `change` are those wanted; keeps ties."""
        before = self._outputs
        with contextlib.suppress(Exception):
            change()
            if not _tie(self._model, self._ties):
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

    @torch.no_grad()
    def _run(self) -> list[torch.Tensor]:
        outputs = torch_format.call(self._model, self._inputs)
        return [t.double() for t in _flat(outputs)]


def _parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    yield from model.named_parameters(remove_duplicate=False)


def _ties(model: nn.Module) -> list[list[str]]:
    """Names that stand for one parameter, where there is more than one."""
    found: dict[int, list[str]] = {}
    for name, parameter in _parameters(model):
        found.setdefault(id(parameter), []).append(name)
    return [names for names in found.values() if len(names) > 1]


def _tie(model: nn.Module, ties: list[list[str]]) -> bool:
    """Makes parameters one again; False if they are no longer alike."""
    for names in ties:
        first, *others = (model.get_parameter(name) for name in names)
        for name, other in zip(names[1:], others, strict=True):
            if not torch.equal(first, other):
                return False
            path, _, key = name.rpartition(".")
            setattr(model.get_submodule(path), key, first)
    return True


def _samples(task: Task) -> Any:
    for inputs, _ in task.batches("calibration"):
        return torch_format.tensors(pick(inputs, slice(0, SAMPLES)))
    raise TaskError(
        "data-too-small",
        "batches('calibration') gave no batch; at least one sample is needed.",
    )


def _flat(outputs: Any) -> list[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, Mapping):
        return [t for v in outputs.values() for t in _flat(v)]
    if isinstance(outputs, tuple | list):
        return [t for v in outputs for t in _flat(v)]
    return []


def _listed(scores: torch.Tensor) -> tuple[float, ...]:
    return tuple(scores.tolist())
