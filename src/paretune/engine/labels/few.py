"""A task that has labels for a part of its training split only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from paretune.core.delegate import Delegate
from paretune.core.errors import TaskError
from paretune.core.target import Arrays
from paretune.core.task import Task, as_arrays, like, pick

LEAST = 4  # labels of each class, where there are that many
SMALLEST = 8  # samples in a batch
BATCHES = 8  # that a small set of labels is cut into at least


@dataclass(frozen=True)
class Pool:
    """The training split in memory.

    Attributes:
        inputs: of all samples: an array, or a tuple or dict of them; after those of
            "train", what the task has without labels.
        targets: of "train", likewise.
        count: of samples in "train".
        batch: samples in a batch, as the task gives them.
        more: samples in the task's own "unlabelled".
    """

    inputs: Any
    targets: Any
    count: int
    batch: int
    more: int = 0

    @property
    def classes(self) -> np.ndarray | None:
        """The class of each sample; None if the targets are none."""
        arrays = list(as_arrays(self.targets, "target").values())
        if len(arrays) != 1 or arrays[0].ndim != 1 or arrays[0].dtype.kind not in "iu":
            return None
        return arrays[0] if len(np.unique(arrays[0])) <= self.count / 2 else None


def pool_of(task: Task) -> Pool:
    """All of "train" and "unlabelled", in an order that every process finds.

    Raises:
        TaskError: it is empty, or samples differ in shape.
    """
    from paretune.infrastructure.formats.torch import seed

    seed(0)
    batches = list(task.batches("train"))
    if not batches:
        raise TaskError(
            "data-too-small",
            "batches('train') gave no batch; there are no labels to count.",
        )
    more = []
    if task.unlabelled:
        seed(0)
        more = [as_arrays(x, "input") for x, _ in task.batches("unlabelled")]
    first = batches[0]
    inputs = _together([*(as_arrays(x, "input") for x, _ in batches), *more])
    targets = _together([as_arrays(y, "target") for _, y in batches])
    every, labelled = _length(inputs), _length(targets)
    return Pool(
        like(first[0], inputs),
        like(first[1], targets),
        labelled,
        _length(as_arrays(first[0], "input")),
        every - labelled,
    )


def _length(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def _together(batches: list[Arrays]) -> Arrays:
    shapes = {tuple((k, a.shape[1:]) for k, a in b.items()) for b in batches}
    if len(shapes) > 1:
        raise TaskError(
            "data-shape",
            "the samples of batches('train') and 'unlabelled' differ in shape from "
            "batch to batch; pad them to one shape.",
        )
    return {k: np.concatenate([b[k] for b in batches]) for k in batches[0]}


def labelled(pool: Pool, share: float, seed: int) -> np.ndarray:
    """Rows whose labels are known, sorted; of one seed, less is a part of more.

    Where targets are classes, each has its share, and at least `LEAST` rows if it has
    that many.

    Args:
        pool: to choose from.
        share: of all rows, above 0 to 1.
        seed: another one, another choice.

    Example:
        >>> pool = Pool(np.zeros(40), np.repeat([0, 1], [30, 10]), 40, 8)
        >>> rows = labelled(pool, 0.5, 0)
        >>> np.bincount(pool.targets[rows]).tolist()
        [15, 5]
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(pool.count)
    classes = pool.classes
    if classes is None:
        return np.sort(order[: max(LEAST, round(share * pool.count))])
    found = []
    for number in np.unique(classes):
        own = order[classes[order] == number]
        found.append(own[: max(LEAST, round(share * len(own)))])
    return np.sort(np.concatenate(found))


class Few(Delegate):
    """The task with some of its labels; the rest of "train" is "unlabelled" as well.

    Args:
        task: the user's.
        pool: its training split.
        rows: whose labels are known.
        steps: of a whole training.
        own: whether the task's own augmentation is used.
    """

    def __init__(
        self, task: Task, pool: Pool, rows: np.ndarray, steps: int, own: bool
    ) -> None:
        super().__init__(task)
        self.own = own
        self._pool, self._rows = pool, rows
        self._rest = np.setdiff1d(np.arange(pool.count + pool.more), rows)
        self.unlabelled = len(self._rest) > 0
        # Few labels in large batches would be few steps an epoch, all much alike.
        self._size = min(pool.batch, max(SMALLEST, len(rows) // BATCHES))
        each = math.ceil(len(rows) / self._size)
        self.epochs = max(1, min(10, round(steps / each)))
        self._passes = max(1, round(steps / (self.epochs * each)))

    @property
    def labels(self) -> int:
        """How many samples have one."""
        return len(self._rows)

    def batches(self, split: str) -> Iterable[tuple[Any, Any]]:
        if split == "train":
            return self._train()
        if split == "unlabelled":
            return self._unlabelled()
        return self.task.batches(split)

    def augment(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        return self.task.augment(inputs, targets) if self.own else (inputs, targets)

    def _train(self) -> Iterator[tuple[Any, Any]]:
        for _ in range(self._passes):
            order = np.random.permutation(self._rows)
            for rows in _cut(order, self._size):
                yield pick(self._pool.inputs, rows), pick(self._pool.targets, rows)

    def _unlabelled(self) -> Iterator[tuple[Any, Any]]:
        """As many batches as there are labelled ones, drawn from the rest."""
        count = self._passes * math.ceil(len(self._rows) / self._size)
        size, given = self._pool.batch, 0
        while given < count:
            for rows in _cut(np.random.permutation(self._rest), size):
                yield pick(self._pool.inputs, rows), None
                given += 1
                if given == count:
                    return


def varies(task: Task, pool: Pool) -> bool:
    """Whether the task's own augmentation changes a batch of its training split."""
    from paretune.infrastructure.formats.torch import seed, tensors

    seed(0)
    rows = np.arange(min(pool.batch, pool.count))
    given = pick(pool.inputs, rows), pick(pool.targets, rows)
    inputs, targets = (tensors(pick(part, rows)) for part in given)
    found = task.augment(inputs, targets)
    return any(
        not np.array_equal(a, b, equal_nan=True)
        for before, after in zip(given, found, strict=True)
        for a, b in zip(
            as_arrays(before, "").values(), as_arrays(after, "").values(), strict=True
        )
    )


def _cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Batches of nearly one size, so that none is tiny."""
    return np.array_split(order, max(1, math.ceil(len(order) / size)))


class Taught(Delegate):
    """A task with further teachers.

    Args:
        task: the user's.
        teachers: by name; each builds a model.
    """

    def __init__(self, task: Task, teachers: Mapping[str, Any]) -> None:
        super().__init__(task)
        self.teachers = {**task.teachers, **teachers}
