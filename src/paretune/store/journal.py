"""A file of JSON lines that only grows, and survives being cut off anywhere."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from paretune.core.errors import StoreError
from paretune.store._files import storing, sync


class Journal:
    """An open journal; its holder is the only one who writes to it.

    Args:
        path: the file.
        descriptor: open for reading and appending, and locked.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """The journal in a file, which is made if it isn't there.

        Raises:
            StoreError: another process holds it, or it can't be written to.
        """
        with storing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(
                    "store-busy",
                    f"{path} is being written by another process; wait for it, or name "
                    "another --store.",
                ) from None
            with storing(path):
                _mend(descriptor)
                sync(path.parent)
            yield cls(path, descriptor)
        finally:
            os.close(descriptor)

    def records(self) -> list[dict[str, Any]]:
        """All records, the first one first.

        Raises:
            StoreError: a line is damaged.
        """
        return read(self.path)

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a record; it is on the disk when this returns."""
        line = json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"
        with storing(self.path):
            before = os.fstat(self._descriptor).st_size
            try:
                left = memoryview(line.encode())
                while left:
                    left = left[os.write(self._descriptor, left) :]
                os.fsync(self._descriptor)
            except BaseException:  # a part of a line would spoil the next one
                with suppress(OSError):
                    os.ftruncate(self._descriptor, before)
                raise


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a journal; a last line that was cut off doesn't count.

    Raises:
        StoreError: a line is damaged.
    """
    with storing(path):
        content = path.read_bytes()
    found = []
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise StoreError(
                "store-corrupt",
                f"line {number} of {path} is damaged; remove that line, and what it "
                "held is worked out again.",
            ) from error
    return found


def _mend(descriptor: int) -> None:
    """Cuts off a last line that has no end, or that is no whole record."""
    size = os.fstat(descriptor).st_size
    content = os.pread(descriptor, size, 0)
    whole = content.rfind(b"\n") + 1
    last = content.rfind(b"\n", 0, max(whole - 1, 0)) + 1
    if not _reads(content[last:whole]):
        whole = last
    if whole < size:
        os.ftruncate(descriptor, whole)


def _reads(line: bytes) -> bool:
    try:
        json.loads(line or b"0")
    except ValueError:
        return False
    return True
