"""Narrower and shallower versions of a PyTorch model that share its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from paretune.core.errors import UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.formats._dependency import Pruner
from paretune.infrastructure.formats._depth import removable, without
from paretune.infrastructure.formats._saliency import saliency
from paretune.infrastructure.formats._units import Axis, Units, rounded

ROUND_TO = 8  # channels; kernels work on blocks of them


@dataclass(frozen=True)
class Cut:
    """What stays of a model.

    Attributes:
        early: share of the channels, and heads, in the first third of the places
            where some can go.
        middle: likewise, in the second third.
        late: likewise, in the last third.
        depth: share of the residual blocks that goes.
    """

    early: float = 1.0
    middle: float = 1.0
    late: float = 1.0
    depth: float = 0.0


@dataclass(frozen=True)
class Shared:
    """A narrow net, and where its weights are in the wide one.

    Attributes:
        model: in training mode; its own weights don't count.
        places: by parameter, (number in the flattened wide parameter of each element,
            shape); None: it is the whole parameter.
    """

    model: nn.Module
    places: Mapping[str, tuple[torch.Tensor, torch.Size] | None]

    def weights(self, wide: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Its weights out of those of the wide net, differentiable."""
        return {
            name: wide[name]
            if place is None
            else wide[name].flatten().index_select(0, place[0]).view(place[1])
            for name, place in self.places.items()
        }


@dataclass(frozen=True)
class Anatomy:
    """What of a model can go, told from its structure alone.

    Attributes:
        thirds: 0, 1 or 2 for early, middle or late, by axis.
        blocks: residual blocks, the one that goes first first.
    """

    thirds: Mapping[Axis, int]
    blocks: tuple[str, ...]

    def third(self, units: Units) -> int | None:
        """Of a place; the layer that it goes by may be gone with a block."""
        return next((self.thirds[a] for a in units.shares if a in self.thirds), None)


def anatomy(model: nn.Module, run: Run, depth: bool) -> Anatomy:
    """The anatomy of a model, which is left as it is.

    Args:
        model: the widest.
        run: its task gives the samples to try on.
        depth: whether blocks are looked for.

    Raises:
        UnsupportedError: no channel can be removed.
    """
    pruner = _pruner(model, run)
    places = pruner.channels() | pruner.heads()
    if not places:
        raise UnsupportedError(
            "not-applicable",
            "no channel of this model can be removed without changing its outputs' "
            "shapes or its sense; leave supernet and subnet out.",
        )
    order = {name: number for number, (name, _) in enumerate(model.named_modules())}
    names = sorted(places, key=lambda name: order[name.removeprefix("heads of ")])
    thirds = {
        axis: 3 * number // len(names)
        for number, name in enumerate(names)
        for axis in places[name].shares
    }
    return Anatomy(thirds, outermost(removable(model, run)) if depth else ())


def outermost(blocks: list[str]) -> tuple[str, ...]:
    """Blocks in the order in which they go: the last of the longest stage first.

    A stage is what blocks of one parent make up.

    Example:
        >>> outermost(["a.0", "a.1", "a.2", "b.0", "b.1"])
        ('a.2', 'b.1', 'a.1', 'b.0', 'a.0')
    """
    stages: dict[str, list[str]] = {}
    for name in blocks:
        stages.setdefault(name.rpartition(".")[0], []).append(name)
    gone = []
    while any(stages.values()):
        last = max(reversed(stages.values()), key=len)
        gone.append(last.pop())
    return tuple(gone)


def ordered(model: nn.Module, importance: str, run: Run) -> nn.Module:
    """A copy that computes the same, its most important channels and heads first.

    Args:
        model: left as it is.
        importance: as `saliency` knows it.
        run: the task.

    Raises:
        UnsupportedError: no channel can be removed.
    """
    pruner = Pruner(model, run.task, saliency(model, importance, run))
    places: dict[str, Units] = pruner.channels() | pruner.heads()
    if not places:
        anatomy(model, run, depth=False)  # says what the matter is
    for name, units in places.items():
        run.give_way()
        # What can't be sorted keeps its order: the first ones are as good as any.
        pruner.sort(name, units.ascending()[::-1])
    return pruner.finished()


def narrow(model: nn.Module, cut: Cut, known: Anatomy, run: Run) -> nn.Module:
    """A copy with the first channels, heads and blocks alone; the weights are kept.

    Args:
        model: the widest.
        cut: what stays.
        known: of that model.
        run: the task.

    Raises:
        UnsupportedError: blocks are to go, and it has none.
    """
    return _cut(model, cut, known, run).finished()


def shared(model: nn.Module, cut: Cut, known: Anatomy, run: Run) -> Shared:
    """The same as a net that takes its weights from the wide one.

    Raises:
        UnsupportedError: weights are neither float32 nor float64.
    """
    pruner = _cut(model, cut, known, run, marked=True)
    whole = dict(model.named_parameters())
    places: dict[str, tuple[torch.Tensor, torch.Size] | None] = {}
    for name, marks in pruner.marks().items():
        same = marks.numel() == whole[name].numel()
        places[name] = None if same else (marks.flatten(), marks.shape)
    return Shared(pruner.finished().train(), places)


def _cut(
    model: nn.Module, cut: Cut, known: Anatomy, run: Run, marked: bool = False
) -> Pruner:
    small = model
    if cut.depth:
        if not known.blocks:
            raise UnsupportedError(
                "not-applicable",
                "no residual block of this model can be taken out; set depth to 0.",
            )
        small = torch_format.clone(model)
        for name in known.blocks[: int(cut.depth * len(known.blocks) + 0.5)]:
            with without(small, name) as keep:
                keep()
    stay = (cut.early, cut.middle, cut.late)
    alone: set[str] = set()
    while True:
        run.give_way()
        pruner = _pruner(small, run)
        if marked:
            pruner.mark()
        channels, heads = pruner.channels(), pruner.heads()
        for name, units in (channels | heads).items():
            third, count = known.third(units), len(units.scores)
            if third is None or name in alone:
                continue
            step = units.step(ROUND_TO) if name in channels else 1
            left = rounded(count * stay[third], count, step)
            if left < count and not pruner.remove(name, range(left, count)):
                alone.add(name)  # what it did can't be undone in place: again
                break
        else:
            return pruner


def _pruner(model: nn.Module, run: Run) -> Pruner:
    # Channels are in order, so any worth does; what has none isn't offered.
    return Pruner(model, run.task, saliency(model, "magnitude", run))


class Sandwich(nn.Module):
    """The widest net and others inside it, which answer together while they train.

    Outputs in training mode are a tuple: of the widest, of the narrowest, and of `draw`
    others, taken in turns from a shuffled list.

    Args:
        model: the widest.
        inside: the narrowest, and all others.
        draw: how many of the others take part in a step.
        seed: of the shuffle.

    Source: Yu & Huang 2019, arXiv:1903.05134.
    """

    def __init__(
        self, model: nn.Module, inside: list[Shared], draw: int, seed: int
    ) -> None:
        super().__init__()
        self.model = model
        self._inside, self._draw = inside, min(draw, len(inside) - 1)
        self._random = torch.Generator().manual_seed(seed)
        self._turn: list[int] = []

    def forward(self, *given: Any, **named: Any) -> Any:
        """What the widest answers; while training, what each net does."""
        widest = self.model(*given, **named)
        if not self.training:
            return widest
        wide = dict(self.model.named_parameters())
        others = [
            torch.func.functional_call(net.model, net.weights(wide), given, named)
            for net in [self._inside[0], *self._next()]
        ]
        return (widest, *others)

    def _next(self) -> list[Shared]:
        if len(self._turn) < self._draw:
            count = len(self._inside) - 1
            self._turn += torch.randperm(count, generator=self._random).tolist()
        taken, self._turn = self._turn[: self._draw], self._turn[self._draw :]
        return [self._inside[1 + number] for number in taken]
