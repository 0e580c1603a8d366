"""Scores that are all 0 or 1, a bit each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np


class Bits(Sequence[float]):
    """A tuple of 0.0 and 1.0, as far as a reader can tell, in a 64th of the memory.

    Args:
        scores: all 0 or 1, shape (values,).

    Attributes:
        packed: eight a byte, the first one highest, uint8.

    Example:
        >>> bits = Bits(np.array([0.0, 1.0, 1.0]))
        >>> bits == (0.0, 1.0, 1.0), bits[-1], len(bits)
        (True, 1.0, 3)
    """

    __slots__ = ("_count", "packed")

    def __init__(self, scores: np.ndarray) -> None:
        self.packed: np.ndarray = np.packbits(scores > 0)
        self.packed.flags.writeable = False
        self._count = len(scores)

    @property
    def scores(self) -> np.ndarray:
        """As an array, shape (values,)."""
        return np.unpackbits(self.packed, count=self._count).astype(float)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[float, ...]: ...
    def __getitem__(self, index: int | slice) -> float | tuple[float, ...]:
        if isinstance(index, slice):
            return tuple(self.scores[index].tolist())
        return float(self.scores[index])

    def __iter__(self) -> Iterator[float]:
        return iter(self.scores.tolist())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.scores.astype(dtype or float)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Bits):
            same = np.array_equal(self.packed, other.packed)
            return same and len(self) == len(other)
        return isinstance(other, tuple) and tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))
