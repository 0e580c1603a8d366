"""Where inside a student and a teacher the same thing can be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from paretune.infrastructure.formats._soft import named
from paretune.infrastructure.formats.torch import call, clone

_PLACES = 3  # compared: as many as attention transfer takes, one a stage


@dataclass(frozen=True)
class Point:
    """The output of a module.

    Attributes:
        module: its name in the model.
        shape: of its output for a few samples.
        axis: of the channels.
    """

    module: str
    shape: tuple[int, ...]
    axis: int

    @property
    def channels(self) -> int:
        return self.shape[self.axis]

    @property
    def positions(self) -> int:
        """Values of one channel of one sample."""
        return torch.Size(self.shape[1:]).numel() // self.channels


Pair = tuple[Point, Point]


def pairs(
    student: nn.Module, teacher: nn.Module, inputs: Any, spread: bool = False
) -> list[Pair]:
    """Points of the student, each with its counterpart in the teacher, in their order.

    Modules of the same name are counterparts if their outputs differ in the number of
    channels alone, as those of a pruned copy do; if there are none, those that come
    after the same share of the modules.

    Args:
        student: left as it is.
        teacher: likewise.
        inputs: a few samples, as tensors.
        spread: only points with more than one position.
    """
    ours, theirs = (
        [p for p in points(model, inputs) if p.positions > 1 or not spread]
        for model in (student, teacher)
    )
    by_name = {p.module: p for p in theirs}
    same = [
        match
        for p in ours
        if p.module in by_name and (match := _matched(p, by_name[p.module]))
    ]
    if same:
        return [same[i] for i in _spaced(len(same), _PLACES)]
    count = min(len(ours), len(theirs), _PLACES)
    places = (_spaced(len(ours), count), _spaced(len(theirs), count))
    return [(ours[i], theirs[j]) for i, j in zip(*places, strict=True)]


@torch.no_grad()
def points(model: nn.Module, inputs: Any) -> list[Point]:
    """Where `model` can be looked at, in the order in which it gets there.

    The outputs of blocks, activations and poolings; those of layers with weights of
    their own only if there is nothing else. Never the model's own outputs.
    """
    copied = clone(model)
    modules = {name: m for name, m in copied.named_modules() if name}
    calls: list[tuple[str, Any]] = []
    with watching(modules, lambda name, out: calls.append((name, out))):
        final = {_memory(t) for t in named(call(copied, inputs)).values()}
    often = [name for name, _ in calls]
    batch = len(next(iter(named(inputs).values())))
    # One tensor, or views of it, may come out of several modules: the one with the most
    # axes counts, and of those the outermost, which is the last to give it.
    found: dict[tuple[int, int], tuple[str, tuple[int, ...]]] = {}
    for name, out in calls:
        if not isinstance(out, torch.Tensor) or not out.is_floating_point():
            continue
        shape, memory = tuple(out.shape), _memory(out)
        if len(shape) < 2 or shape[0] != batch or memory in final:
            continue
        if often.count(name) > 1 or len(found.get(memory, ("", ()))[1]) > len(shape):
            continue
        found[memory] = name, shape
    bare = [
        (name, shape)
        for name, shape in found.values()
        if next(modules[name].parameters(recurse=False), None) is None
    ]
    signal = any(isinstance(m, nn.Conv1d) for m in modules.values())
    return [
        Point(name, shape, 2 if len(shape) == 3 and not signal else 1)
        for name, shape in bare or found.values()
    ]


@contextmanager
def watching(modules: Mapping[str, nn.Module], seen: Any) -> Iterator[None]:
    """Calls `seen(name, output)` whenever one of the modules has run."""

    def told(name: str) -> Any:
        return lambda module, given, out: seen(name, out)

    handles = [m.register_forward_hook(told(name)) for name, m in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _memory(tensor: torch.Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), tensor.numel()


def _matched(one: Point, other: Point) -> Pair | None:
    """The two with their channels found, if they differ in channels alone."""
    if len(one.shape) != len(other.shape):
        return None
    sizes = zip(one.shape, other.shape, strict=True)
    apart = [axis for axis, (a, b) in enumerate(sizes) if a != b]
    if len(apart) > 1:
        return None
    axis = apart[0] if apart else one.axis
    return Point(one.module, one.shape, axis), Point(other.module, other.shape, axis)


def _spaced(length: int, count: int) -> list[int]:
    """So many of the places 0 to length - 1, evenly, with the last among them.

    Example:
        >>> _spaced(10, 3), _spaced(2, 3)
        ([3, 6, 9], [0, 1])
    """
    count = min(length, count)
    return [-(-(i + 1) * length // count) - 1 for i in range(count)]
