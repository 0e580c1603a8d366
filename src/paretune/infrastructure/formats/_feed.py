"""The task's data as a training loop sees it: batches of tensors, pass by pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from paretune.core.errors import TaskError
from paretune.core.task import Task
from paretune.infrastructure.formats.torch import seed, tensors

Batch = tuple[Any, Any]
_SMALLEST, _LARGEST = 32, 128  # samples


@dataclass(frozen=True)
class Feed:
    """Passes over splits of a task. The same pass repeats to the bit.

    Attributes:
        task: whose batches and augmentation.
        seed: of the shuffles and augmentation.
        splits: that one pass goes over. Batches of several alternate, so that all end
            together; the targets of "unlabelled" are None.
        least: samples of a batch; one with fewer is left out.
        size: samples of a batch, cut and put together from the task's own; 0: as the
            task gives them.
    """

    task: Task
    seed: int
    splits: tuple[str, ...] = ("train",)
    least: int = 1
    size: int = 0

    def first(self) -> Batch:
        """The first batch of pass 0.

        Raises:
            TaskError: a split gave no batch.
        """
        self._sow(0)
        firsts = [next(self._pass(split), None) for split in self.splits]
        for split, found in zip(self.splits, firsts, strict=True):
            if found is None:
                raise TaskError(
                    "data-too-small",
                    f"batches({split!r}) gave no batch of {self.least} or more "
                    "samples; training needs one.",
                )
        assert firsts[0] is not None
        return self.task.augment(*firsts[0])

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """Batches of a pass over each split.

        A loader that doesn't know its length is run through once: the learning rate has
        to know where the end is.
        """
        self._sow(0)
        return tuple(map(self._length, self.splits))

    def batches(
        self,
        number: int,
        augment: bool = True,
        skip: int = 0,
        skipped: Callable[[], None] | None = None,
    ) -> Iterator[Batch]:
        """Pass `number`, from 0.

        Args:
            number: of the pass.
            augment: whether by the task.
            skip: batches at the beginning that are left out.
            skipped: called after those, to put random generators where they were then.
                A loader that shuffles when its pass begins goes on as it would have.
        """
        lengths = self.lengths
        self._sow(number)
        found = alternate([self._pass(split) for split in self.splits], lengths)
        for _ in itertools.islice(found, skip):
            pass
        if skipped is not None:
            skipped()
        for inputs, targets in found:
            yield self.task.augment(inputs, targets) if augment else (inputs, targets)

    def _sow(self, number: int) -> None:
        state = np.random.SeedSequence((self.seed, number)).generate_state(1)
        seed(int(state[0]))

    def _length(self, split: str) -> int:
        loader = self.task.batches(split)
        if isinstance(loader, Sized) and not self.size:
            return len(loader)
        return sum(1 for _ in self._pass(split))

    def _pass(self, split: str) -> Iterator[Batch]:
        batches: Iterable[Batch] = (
            (tensors(x), None if y is None else tensors(y))
            for x, y in self.task.batches(split)
        )
        if self.size:
            batches = regroup(batches, self.size)
        return (batch for batch in batches if samples(batch[0]) >= self.least)


def alternate(
    passes: Sequence[Iterator[Batch]], lengths: Sequence[int]
) -> Iterator[Batch]:
    """The batches of all passes, each spread evenly; a longer one ends later.

    Example:
        >>> list(alternate([iter("ab"), iter("1234")], (2, 4)))
        ['a', '1', '2', 'b', '3', '4']
    """
    done, live = [0.0] * len(passes), list(range(len(passes)))
    while live:
        turn = min(live, key=lambda i: (done[i], i))
        batch = next(passes[turn], None)
        if batch is None:
            live.remove(turn)
            continue
        done[turn] += 1 / max(1, lengths[turn])
        yield batch


def sensible(own: int) -> int:
    """Samples of a batch that a CPU trains fast with; 0 for the task's own.

    A rule and no timing, so that a seed gives the same weights: with fewer than 32, the
    fixed cost of a step counts, and with more than 128, activations outgrow the caches
    and the steps get few.

    Example:
        >>> sensible(8), sensible(64), sensible(1024)
        (32, 0, 128)
    """
    size = min(max(own, _SMALLEST), _LARGEST)
    return 0 if size == own else size


def regroup(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """The same samples in batches of `size`; what is left counts from half of that.

    Example:
        >>> three = [(torch.zeros(3, 2), None)] * 3
        >>> [len(inputs) for inputs, _ in regroup(three, 4)]
        [4, 4]
    """
    waiting: list[Batch] = []
    count, given = 0, False
    for batch in batches:
        waiting.append(batch)
        count += samples(batch[0])
        if count < size:
            continue
        whole = _joined(waiting)
        for start in range(0, count - size + 1, size):
            yield _cut(whole, start, start + size)
        rest = count % size
        waiting = [_cut(whole, count - rest, count)] if rest else []
        count, given = rest, True
    if count and (not given or count >= size / 2):
        yield _joined(waiting)


def samples(structure: Any) -> int:
    """The length of the first axis of the first tensor in a structure."""
    while not isinstance(structure, torch.Tensor):
        structure = next(
            iter(structure.values() if isinstance(structure, dict) else structure)
        )
    return int(structure.shape[0])


def _joined(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if len(parts) == 1 or first is None:
        return first
    if isinstance(first, torch.Tensor):
        return torch.cat(list(parts))
    if isinstance(first, dict):
        return {k: _joined([p[k] for p in parts]) for k in first}
    return tuple(map(_joined, zip(*parts, strict=True)))


def _cut(structure: Any, start: int, end: int) -> Any:
    if structure is None:
        return None
    if isinstance(structure, torch.Tensor):
        return structure[start:end]
    if isinstance(structure, dict):
        return {k: _cut(v, start, end) for k, v in structure.items()}
    return tuple(_cut(v, start, end) for v in structure)
