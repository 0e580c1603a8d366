"""Real samples, gathered from a task's batches."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from paretune.core.target import Arrays


def by_shape(batches: Iterable[Arrays], enough: int) -> list[Arrays]:
    """Samples that can be in one batch together, put together.

    Args:
        batches: arrays by name, whose first axis is the batch; the others may differ
            between batches, such as the length of a padded text.
        enough: reading stops when this many samples of one shape are there.

    Returns:
        one batch for each shape that was met, the first-met first.

    Example:
        >>> [len(g["x"]) for g in by_shape([{"x": np.zeros((2, 3))}] * 9, 5)]
        [6]
    """
    found: dict[tuple[object, ...], list[Arrays]] = {}
    for batch in batches:
        if not count(batch):
            continue
        shape = tuple((name, a.shape[1:], a.dtype) for name, a in batch.items())
        group = found.setdefault(shape, [])
        group.append(batch)
        if sum(count(b) for b in group) >= enough:
            break
    return [
        {name: np.concatenate([b[name] for b in group]) for name in group[0]}
        for group in found.values()
    ]


def count(batch: Arrays) -> int:
    """Samples in a batch."""
    return len(next(iter(batch.values())))


def rows(batch: Arrays, start: int, size: int) -> Arrays:
    """`size` samples from number `start` on, beginning again at the end.

    Example:
        >>> rows({"x": np.arange(3)}, 2, 4)["x"]
        array([2, 0, 1, 2])
    """
    chosen = (start + np.arange(size)) % count(batch)
    return {name: np.ascontiguousarray(a[chosen]) for name, a in batch.items()}
