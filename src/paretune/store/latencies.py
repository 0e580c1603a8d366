"""Latencies of structures, of all studies in a store: what a forecast learns from.

A file of JSON lines that only grows. A line that was cut off or damaged is passed over:
it costs one point, which the next study that meets the structure measures again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretune.store._files import storing, sync

FILE = "latencies.jsonl"
NAMES = frozenset({"environment", "task", "structure", "group", "layers", "full"})


class Latencies:
    """The file in a store's folder; safe from any thread or process.

    Args:
        root: the store's folder.

    A record is {"environment": digest of host, runtime and target, "task":
    fingerprint, "structure": digest, "group", "layers", "macs", "seconds", "ratio": to
    the baseline beside it, "spread": [low, high] of the ratio, "full": whether by the
    full protocol, "foreseen": [value, low, high] of the ratio or null}.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / FILE

    def add(self, record: Mapping[str, Any]) -> None:
        """Adds a record; it is on the disk when this returns."""
        line = json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n"
        with storing(self.path):
            new = not self.path.exists()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    line = "\n" + line  # its writer died within a line
                left = memoryview(line.encode())
                while left:
                    left = left[os.write(descriptor, left) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if new:
                sync(self.path.parent)

    def of(self, environment: str, task: str) -> list[dict[str, Any]]:
        """The records of one task's structures on one target, in their order.

        A later record of a structure takes the place of an earlier one, unless that
        was measured in full and the later one wasn't. What was foreseen first stays.
        """
        found: dict[str, dict[str, Any]] = {}
        for record in self._records():
            if (record["environment"], record["task"]) != (environment, task):
                continue
            before = found.get(record["structure"])
            if before is None:
                found[record["structure"]] = record
            elif record["full"] or not before["full"]:
                foreseen = {"foreseen": before.get("foreseen")}
                del found[record["structure"]]  # the latest come last
                found[record["structure"]] = {**record, **foreseen}
        return list(found.values())

    def _records(self) -> list[dict[str, Any]]:
        with storing(self.path):
            try:
                content = self.path.read_bytes()
            except FileNotFoundError:
                return []
        found = []
        for line in content.split(b"\n"):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and record.keys() >= NAMES:
                found.append(record)
        return found
