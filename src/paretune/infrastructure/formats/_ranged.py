"""The encoder of the range asymmetric numeral system that `_unpacking` decodes."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from paretune.infrastructure.formats._unpacking import STATE

_PRECISIONS = (10, 12, 14)  # bits of a probability


@dataclass
class Table:
    bits: int  # of a probability
    shares: np.ndarray
    coded: bytes
    size: float  # of all that is coded with it, and of itself


def table_of(values: np.ndarray, symbols: int) -> Table:
    """The cheapest table of the range coder for these symbols."""
    counts = np.bincount(values, minlength=symbols)
    used = counts > 0
    found = []
    for bits in _PRECISIONS:
        shares = _shares(counts, 1 << bits)
        spent = counts[used] * (bits - np.log2(shares[used]))
        coded = deflated(varints(shares.tolist()))
        found.append(
            Table(bits, shares, coded, float(spent.sum()) / 8 + len(coded) + 7)
        )
    return min(found, key=lambda t: t.size)


def ranged(values: np.ndarray, table: Table) -> bytes:
    state, words = _encoded(values.tolist(), table.shares.tolist(), table.bits)
    head = struct.pack("<BH", table.bits, len(table.coded))
    body = struct.pack(f"<I{len(words)}H", state, *words)
    return head + table.coded + body


def _shares(counts: np.ndarray, whole: int) -> np.ndarray:
    """Whole numbers from 1 in the proportions of the counts; they sum to `whole`."""
    shares: np.ndarray = np.rint(counts * (whole / counts.sum())).astype(np.int64)
    shares[(counts > 0) & (shares == 0)] = 1
    while extra := int(shares.sum()) - whole:
        # Where one step costs the least: it changes log2(share) by about 1 / share.
        worth = np.where(shares > 1, counts / np.maximum(shares, 1), np.inf)
        if extra > 0:
            shares[worth.argmin()] -= 1
        else:
            shares[np.where(np.isfinite(worth), worth, -1).argmax()] += 1
    return shares


def _encoded(values: list[int], shares: list[int], bits: int) -> tuple[int, list[int]]:
    """(final state, 16-bit words in the order in which they are read)."""
    starts = [0]
    for share in shares:
        starts.append(starts[-1] + share)
    limits = [share << (32 - bits) for share in shares]
    state, words = STATE, []
    for value in reversed(values):
        if state >= limits[value]:
            words.append(state & 0xFFFF)
            state >>= 16
        share = shares[value]
        state = (state // share << bits) + state % share + starts[value]
    words.reverse()
    return state, words


def deflated(content: bytes, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, strategy)
    return packer.compress(content) + packer.flush()


def varints(numbers: list[int]) -> bytes:
    found = bytearray()
    for number in numbers:
        while number > 127:
            found.append(number & 127 | 128)
            number >>= 7
        found.append(number)
    return bytes(found)
