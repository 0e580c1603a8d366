"""Restores a packed model file; needs nothing but Python's standard library.

    python unpack.py [PACKED [FILE]]

By default `model.onnx.packed` beside this program becomes `model.onnx`.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import mmap
import os
import pathlib
import struct
import sys
import time
import zlib

MAGIC = b"PTPACK1\n"
DIGEST = 32
STORED, DEFLATE, LZMA, BZIP2, RANGED, RANGED_HALVES = range(6)
LARGEST = 2**31
Content = bytes | mmap.mmap
STATE = 1 << 16  # of the range coder: between STATE and STATE << 16


def unpack(packed: bytes) -> bytes:
    """The bytes that were packed.

    Args:
        packed: all of the packed file.

    Raises:
        ValueError: it is damaged, cut short, or no such file.
    """
    try:
        return _unpacked(bytes(packed))
    except (
        *(IndexError, OverflowError, MemoryError, EOFError, OSError),
        *(struct.error, zlib.error, lzma.LZMAError, ValueError),
    ) as error:
        raise ValueError(
            f"the packed file is damaged, cut short or no packed file ({error})"
        ) from error


def _unpacked(packed: bytes) -> bytes:
    head = len(MAGIC) + DIGEST
    if packed[: len(MAGIC)] != MAGIC:
        raise ValueError("it begins with other bytes")
    layout, at = decode(packed, head)
    rest, at = decode(packed, at)
    widths, parts = directory(layout)
    groups = []
    for width in widths:
        planes = []
        for _ in range(width):
            plane, at = decode(packed, at)
            planes.append(plane)
        whole = bytearray(sum(map(len, planes)))
        for number, plane in enumerate(planes):
            whole[number::width] = plane
        groups.append(memoryview(whole))
    used = [0] * len(groups)
    pieces: list[bytes | memoryview] = []
    here = 0
    for gap, length, group in parts:
        pieces.append(rest[here : here + gap])
        pieces.append(groups[group][used[group] : used[group] + length])
        here += gap
        used[group] += length
    content = b"".join([*pieces, rest[here:]])
    if hashlib.sha256(content).digest() != packed[len(MAGIC) : head]:
        raise ValueError("its checksum differs")
    return content


def directory(layout: bytes) -> tuple[list[int], list[tuple[int, ...]]]:
    """(bytes of one number in each group, (bytes before, length, group) of each part).

    A group is several weights that are coded together, byte by byte of their numbers.
    """
    at = 0
    numbers = []
    while at < len(layout):
        number, at = varint(layout, at)
        numbers.append(number)
    if not numbers:
        return [], []
    count, numbers = numbers[0], numbers[1:]
    parts = zip(*(numbers[count + i :: 3] for i in range(3)), strict=True)
    return numbers[:count], list(parts)


def varint(content: Content, at: int) -> tuple[int, int]:
    """(a whole number of 7 bits a byte, the lowest first; where the next begins)."""
    number = shift = 0
    while True:
        byte = content[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
        if shift > 63:
            raise ValueError("a number in it is too large")


def decode(packed: bytes, at: int) -> tuple[bytes, int]:
    """(what a coded stream that begins at `at` holds, where the next begins)."""
    coding = packed[at]
    length, at = varint(packed, at + 1)
    size, at = varint(packed, at)
    coded = packed[at : at + size]
    if len(coded) < size or length > LARGEST:
        raise ValueError("a part of it is missing")
    if coding == STORED:
        content = coded
    elif coding == DEFLATE:
        content = zlib.decompressobj(-15).decompress(coded, length + 1)
    elif coding == LZMA:
        filters = [lzma_filter(coded[0], length)]
        packer = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
        content = packer.decompress(coded[1:], length + 1)
    elif coding == BZIP2:
        content = bz2.BZ2Decompressor().decompress(coded, length + 1)
    elif coding in (RANGED, RANGED_HALVES):
        content = _ranged(coded, length, coding == RANGED_HALVES)
    else:
        raise ValueError(f"coding {coding} is not known")
    if len(content) != length:
        raise ValueError("a part of it has another length")
    return content, at + size


def lzma_filter(contexts: int, length: int) -> dict[str, int]:
    """The settings of a raw LZMA stream of `length` bytes.

    Args:
        contexts: lc + 9 (lp + 5 pb): how much of the last byte and of the position
            literals depend on.
        length: of the content.
    """
    size = 1 << max(12, (length - 1).bit_length())
    lc, both = contexts % 9, contexts // 9
    return {
        "id": lzma.FILTER_LZMA1,
        "dict_size": min(size, 1 << 26),
        "lc": lc,
        "lp": both % 5,
        "pb": both // 5,
        "mode": lzma.MODE_NORMAL,
        "nice_len": 273,
        "mf": lzma.MF_BT4,
        "depth": 0,
    }


def _ranged(coded: bytes, length: int, halves: bool) -> bytes:
    """Undoes a range asymmetric numeral system; see `_ranged.py` for its encoder."""
    bits, size = coded[0], coded[1] | coded[2] << 8
    table, at = zlib.decompress(coded[3 : 3 + size], -15), 0
    symbols: list[int] = []
    shares: list[int] = []
    offsets: list[int] = []
    start = 0
    for symbol in range(16 if halves else 256):
        share, at = varint(table, at)
        symbols += [symbol] * share
        shares += [share] * share
        offsets += range(share)
        start += share
    if start != 1 << bits:
        raise ValueError("a table in it is wrong")
    (state,) = struct.unpack_from("<I", coded, 3 + size)
    body = coded[7 + size :]
    words = iter(struct.unpack(f"<{len(body) // 2}H", body))
    mask, count = (1 << bits) - 1, length * (1 + halves)
    found = bytearray(count)
    try:
        for i in range(count):
            slot = state & mask
            found[i] = symbols[slot]
            state = shares[slot] * (state >> bits) + offsets[slot]
            if state < STATE:
                state = state << 16 | next(words)
    except StopIteration:
        raise ValueError("a part of it is missing") from None
    if not halves:
        return bytes(found)
    low, high = (
        found[::2],
        found[1::2].translate(bytes(i << 4 & 255 for i in range(256))),
    )
    both = int.from_bytes(low, "little") | int.from_bytes(high, "little")
    return both.to_bytes(length, "little")


def main(arguments: list[str]) -> int:
    """Unpacks one file and says what it took."""
    here = pathlib.Path(__file__).resolve().parent
    source = pathlib.Path(arguments[0]) if arguments else here / "model.onnx.packed"
    target = pathlib.Path(arguments[1] if arguments[1:] else source.with_suffix(""))
    begin = time.perf_counter()
    try:
        packed = source.read_bytes()
        content = unpack(packed)
        # One of its own: another process may unpack it at the same time.
        partial = target.with_name(f".{target.name}.{os.urandom(8).hex()}.partial")
        try:
            partial.write_bytes(content)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"unpack.py: {source}: {error}.\n")
        return 1
    spent = time.perf_counter() - begin
    sys.stdout.write(
        f"{source.name}: {len(packed)} bytes; {target.name}: {len(content)} bytes, "
        f"in {spent:.2f} s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
