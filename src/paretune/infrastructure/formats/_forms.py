"""The forms in which an ONNX file can keep a weight, and what each of them costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

GAIN = 0.9  # of the plain bytes, at most
MOST = 256  # entries of a table
LOOKED_AT = 4096  # values, before all are sorted
NODE = 32  # bytes of an operator with its names, about
_STEPS = {1: 3, 2: 3, 4: 3, 3: 9, 5: 9, 6: 9}  # operators that unpack so many bits


@dataclass(frozen=True)
class Form:
    """How a weight can be kept.

    Attributes:
        layout: "all" values in order; the "others" than the usual one, with a bit for
            each place; the others with the "gaps" between their places.
        bits: of an index into the table of values; 0 for the values themselves.
        gap: bits of a gap.
    """

    layout: str
    bits: int
    gap: int = 0


@dataclass
class Values:
    """A weight, its numbers as the whole numbers that their bits are.

    Attributes:
        raw: in order, as unsigned numbers of the same width.
        table: the distinct ones, the most frequent first; None if they are too many.
        usual: the most frequent one; 0 if there is no table.
    """

    raw: np.ndarray
    table: np.ndarray | None
    usual: int

    @classmethod
    def of(cls, array: np.ndarray) -> Values:
        raw = np.ascontiguousarray(array).reshape(-1)
        raw = raw.view(np.dtype(f"u{raw.itemsize}"))
        if len(np.unique(raw[raw != 0][:LOOKED_AT])) <= MOST:
            table, counts = np.unique(raw, return_counts=True)
            if len(table) <= MOST:
                # Then the high bits of an index are mostly 0 and compress well.
                table = table[np.argsort(-counts, kind="stable")]
                return cls(raw, table, int(table[0]))
        return cls(raw, None, 0)

    @cached_property
    def others(self) -> np.ndarray:
        """The places of all but the usual value."""
        return np.flatnonzero(self.raw != self.usual)

    @property
    def hopeless(self) -> bool:
        """Whether no form can be worth it, so that they need not be tried."""
        few = self.table is not None and len(self.table) <= 1 << (
            4 if self.raw.itemsize == 1 else 8
        )
        return not few and len(self.others) > GAIN * len(self.raw)

    @cached_property
    def _gaps(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        return {}

    def gaps(self, bits: int) -> tuple[np.ndarray, np.ndarray]:
        """(gaps between the places of the others, what is at each).

        Where a gap is too long, the usual value is put in between. Both are filled up
        to a multiple of 8 by putting the last value in its place again.
        """
        if bits in self._gaps:
            return self._gaps[bits]
        places = self.others
        steps = np.diff(places, prepend=0)
        longest = (1 << bits) - 1
        hops = (np.maximum(steps, 1) - 1) // longest
        ends = np.cumsum(hops + 1) - 1
        gaps = np.full(int(ends[-1]) + 1, longest)
        gaps[ends] = steps - hops * longest
        found = np.full(len(gaps), self.usual, self.raw.dtype)
        found[ends] = self.raw[places]
        extra = -len(gaps) % 8
        filled = np.pad(gaps, (0, extra)), np.pad(found, (0, extra), "edge")
        return self._gaps.setdefault(bits, filled)

    def cost(self, form: Form) -> float:
        """Bytes, about; infinite for a form that can't hold it."""
        if form.bits and (self.table is None or len(self.table) > 1 << form.bits):
            return math.inf
        width = 8 * self.raw.itemsize
        each = form.bits or width
        table = len(self.table) * width if form.bits and self.table is not None else 0
        packed = sum(_STEPS.get(bits, 0) * NODE for bits in (form.bits, form.gap))
        match form.layout:
            case "all":
                return (len(self.raw) * each + table) / 8 + 3 * NODE + packed
            case "others":
                held = len(self.raw) + (1 + len(self.others)) * each
                return (held + table) / 8 + 9 * NODE + packed
            case _:
                if not 0 < len(self.others) < len(self.raw) / 2:
                    return math.inf
                held = len(self.gaps(form.gap)[0]) * (each + form.gap)
                return (held + table) / 8 + 8 * NODE + packed


_INDICES = (1, 2, 3, 4, 5, 6, 8)
_GAPS = (4, 5, 6, 8, 16)
FORMS = [
    *(Form("all", bits) for bits in _INDICES),
    *(Form("others", bits) for bits in (0, *_INDICES)),
    *(Form("gaps", bits, gap) for bits in (0, *_INDICES) for gap in _GAPS),
]

# Gaps that are too long for their bits, and numbers in two parts, pack less well.
_PACKABLE = [f for f in FORMS if f.bits in (0, 1, 2, 4, 8) and f.gap in (0, 8, 16)]


def smallest(values: Values, packed: bool = False) -> Form | None:
    """The form of the fewest bytes; None if the plain values are not much more.

    Args:
        values: of the weight.
        packed: whether the file travels packed: then only forms that pack well.
    """
    if values.hopeless:
        return None
    form = min(_PACKABLE if packed else FORMS, key=values.cost)
    return form if values.cost(form) <= GAIN * values.raw.nbytes else None


def spared(values: Values, packed: bool = False) -> float:
    """Bytes, about, that it takes fewer because one value is at most of the places.

    Args:
        values: of the weight.
        packed: whether the file travels packed.

    Example:
        >>> half = np.arange(4096, dtype=np.float32) % 2 * np.arange(4096) ** 0.5
        >>> spared(Values.of(half.astype(np.float32))) / half.nbytes > 0.2
        True
    """
    form = smallest(values, packed)
    if form is None or form.layout == "all":
        return 0.0
    known = _PACKABLE if packed else FORMS
    whole = min(values.cost(f) for f in known if f.layout == "all")
    plain = values.raw.nbytes
    return (whole if whole <= GAIN * plain else plain) - values.cost(form)
