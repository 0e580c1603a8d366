"""A model file as it travels: each kind of weight in the coding that suits it best."""

from __future__ import annotations

import bz2
import hashlib
import lzma
import math
import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from paretune.core.errors import StoreError
from paretune.infrastructure.formats import _unpacking as u
from paretune.infrastructure.formats._ranged import (
    deflated,
    ranged,
    table_of,
    varints,
)

MARK = ("transfer", "entropy_coded")

_LEAST = 64  # bytes of a weight that is coded apart from the rest of the file
_WIDTHS = {1: 4, 4: 2, 5: 2, 6: 4, 7: 8, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
_RANGED_AT_MOST = 2**24  # bytes: the range decoder takes about 0.3 s a million
_TRIED_IN_FULL = 2**22  # bytes: LZMA encodes some 2 million a second
_CONTEXTS = ((3, 0, 0), (0, 0, 0), (4, 0, 0), (0, 2, 2))  # lc, lp, pb of LZMA


def pack(content: bytes) -> bytes:
    """The content in fewer bytes; `unpack` gives it back exactly.

    The raw data of the weights is cut out of an ONNX file, split into the planes of
    its numbers' bytes, and each plane, like the rest of the file, gets the smallest of
    several codings: DEFLATE, LZMA, bzip2, and a range coder over bytes or half bytes.
    Weights of like statistics share a coding's table.

    Args:
        content: of an ONNX file; anything else is packed as a whole.

    Source: Han et al. 2016, arXiv:1510.00149 (entropy coding of weights); Duda 2013,
    arXiv:1311.2540 (range asymmetric numeral systems).
    """
    parts = list(_weights(content))
    groups: list[_Group] = []
    for part in parts:
        part.group = _join(groups, content[part.start : part.stop], part.width)
    coded = []
    for group in groups:
        group.width, streams = min(_ways(group), key=lambda way: sum(map(len, way[1])))
        coded += streams
    layout, rest, here = [len(groups), *(g.width for g in groups)], [], 0
    for part in parts:
        rest.append(content[here : part.start])
        layout += [part.start - here, part.stop - part.start, part.group]
        here = part.stop
    rest.append(content[here:])
    first = varints(layout) if parts else b"", b"".join(rest)
    head = u.MAGIC + hashlib.sha256(content).digest()
    return head + b"".join([*map(_coded, first), *coded])


def unpack(packed: bytes) -> bytes:
    """What `pack` was given.

    Raises:
        StoreError: it is damaged, cut short or not packed.

    Example:
        >>> unpack(pack(b"abc"))
        b'abc'
    """
    try:
        return u.unpack(packed)
    except ValueError as error:
        raise StoreError(
            "packed-corrupt", f"{error}; export the bundle again."
        ) from error


def marked(path: Path) -> bool:
    """Whether the writer of an ONNX file wants it to travel packed."""
    wanted = _entry(1, MARK[0].encode()) + _entry(2, MARK[1].encode())
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return any(
                number == 14 and content[start:stop] == wanted
                for number, start, stop in _fields(content, 0, len(content))
            )
    except (OSError, ValueError, IndexError):
        return False


@dataclass
class _Part:
    start: int
    stop: int
    width: int
    group: int = 0


@dataclass
class _Group:
    width: int
    counts: np.ndarray  # of each byte value, by plane
    members: list[bytes] = field(default_factory=list)


def _ways(group: _Group) -> Iterator[tuple[int, list[bytes]]]:
    """(width, coded streams) for the bytes of its numbers apart, and in order."""
    whole = b"".join(group.members)
    for width in sorted({group.width, 1}):
        yield width, [_coded(whole[plane::width]) for plane in range(width)]


def _join(groups: list[_Group], content: bytes, width: int) -> int:
    """Adds a weight to the group that it makes the least larger; its number."""
    values = np.frombuffer(content, np.uint8).reshape(-1, width)
    counts = np.stack([np.bincount(plane, minlength=256) for plane in values.T])
    alone = _estimate(counts)
    costs = [
        _estimate(g.counts + counts) - _estimate(g.counts)
        if g.width == width
        else math.inf
        for g in groups
    ]
    best = min(range(len(groups)), key=costs.__getitem__, default=-1)
    if best < 0 or costs[best] > alone:
        groups.append(_Group(width, np.zeros_like(counts)))
        best = len(groups) - 1
    groups[best].counts += counts
    groups[best].members.append(content)
    return best


def _estimate(counts: np.ndarray) -> float:
    """Bytes of planes with these counts of byte values, each with its own table."""
    total = 0.0
    for plane in counts:
        own = plane[plane > 0]
        entropy = float((own * np.log2(own.sum() / own)).sum()) / 8
        total += min(float(own.sum()), entropy + 20 + len(own))
    return total


def _coded(content: bytes) -> bytes:
    """A stream that `_unpacking.decode` reads."""
    coding, coded = min(_codings(content), key=lambda c: len(c[1]))
    if content and len(content) <= _RANGED_AT_MOST:
        values = np.frombuffer(content, np.uint8)
        halves = np.stack([values & 15, values >> 4], 1).ravel()
        tables = {
            u.RANGED: table_of(values, 256),
            u.RANGED_HALVES: table_of(halves, 16),
        }
        best = min(tables, key=lambda c: tables[c].size)
        if tables[best].size < len(coded):
            given = values if best == u.RANGED else halves
            coding, coded = best, ranged(given, tables[best])
    return bytes([coding]) + varints([len(content), len(coded)]) + coded


def _codings(content: bytes) -> Iterator[tuple[int, bytes]]:
    yield u.STORED, content
    if not content:
        return
    for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY):
        yield u.DEFLATE, deflated(content, strategy)
    for lc, lp, pb in _CONTEXTS[: 1 if len(content) > _TRIED_IN_FULL else None]:
        key = lc + 9 * (lp + 5 * pb)
        chain = [u.lzma_filter(key, len(content))]
        coded = lzma.compress(content, lzma.FORMAT_RAW, filters=chain)
        yield u.LZMA, bytes([key]) + coded
    yield u.BZIP2, bz2.compress(content)


def _weights(content: bytes) -> Iterator[_Part]:
    """The raw data of the initializers of an ONNX file, in order."""
    try:
        found = [
            part
            for number, *graph in _fields(content, 0, len(content))
            if number == 7
            for inner, *weight in _fields(content, *graph)
            if inner == 5 and (part := _raw(content, *weight))
        ]
    except (ValueError, IndexError):  # no ONNX file
        return
    yield from found


def _raw(content: bytes, start: int, stop: int) -> _Part | None:
    kind, part = 0, None
    for number, *place in _fields(content, start, stop):
        if number == 2:
            kind, _ = u.varint(content, place[0])
        elif number == 9:
            part = _Part(place[0], place[1], 1)
    if part is None or part.stop - part.start < _LEAST:
        return None
    width = _WIDTHS.get(kind, 1)
    if (part.stop - part.start) % width == 0:
        part.width = width
    return part


def _fields(
    content: bytes | mmap.mmap, at: int, end: int
) -> Iterator[tuple[int, int, int]]:
    """(number, start, stop) of each field of a protobuf message."""
    while at < end:
        key, at = u.varint(content, at)
        start = at
        match key & 7:
            case 0:
                _, at = u.varint(content, at)
            case 1:
                at += 8
            case 2:
                size, start = u.varint(content, at)
                at = start + size
            case 5:
                at += 4
            case _:
                raise ValueError("no protobuf")
        if at > end or key < 8:
            raise ValueError("no protobuf")
        yield key >> 3, start, at


def _entry(number: int, text: bytes) -> bytes:
    return bytes([number << 3 | 2, len(text)]) + text


__all__ = ["MARK", "marked", "pack", "unpack"]
