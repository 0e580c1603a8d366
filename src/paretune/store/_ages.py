"""What entries of the cache were worth when they went, so that worth can age."""

from __future__ import annotations

import bisect
import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from paretune.store._files import workspace

MOST = 4096  # lines, before those are forgotten that count no more


class Ages:
    """The level of GreedyDual: the worth of what went last, at any time in the past.

    An entry is worth its own seconds per byte above the level when it was used. All
    processes of a store share one record, a line an eviction; a line that a crash tore
    is passed over.

    Args:
        path: of the record; it need not be there.
        making: a folder on the same disk, for files that aren't finished.
    """

    def __init__(self, path: Path, making: Path) -> None:
        self._path = path
        self._making = making

    def level(self) -> Callable[[float], float]:
        """Gives the level at a time, in seconds since 1970; 0 before anything went."""
        told = self._read()
        times = [at for at, _ in told]

        def at(time: float) -> float:
            before = bisect.bisect_right(times, time)
            return told[before - 1][1] if before else 0.0

        return at

    def add(self, now: float, worth: float) -> None:
        """Notes what something was worth that goes now."""
        line = f"{now!r} {worth!r}\n".encode()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def trim(self, oldest: float) -> None:
        """Forgets, in a long record, what went before a time that still counts."""
        told = self._read()
        if len(told) <= MOST:
            return
        first = max(0, bisect.bisect_right(told, (oldest, math.inf)) - 1)
        lines = [f"{at!r} {worth!r}\n" for at, worth in told[first:][-MOST // 2 :]]
        with suppress(OSError), workspace(self._making) as made:
            (made / "ages").write_text("".join(lines))
            (made / "ages").rename(self._path)

    def _read(self) -> list[tuple[float, float]]:
        """(time, level from then on), both ascending."""
        told = []
        with suppress(OSError):
            for line in self._path.read_text(errors="replace").splitlines():
                with suppress(ValueError):  # torn by a crash
                    at, worth = map(float, line.split())
                    if math.isfinite(at) and math.isfinite(worth):
                        told.append((at, worth))
        level, ascending = 0.0, []
        for at, worth in sorted(told):
            level = max(level, worth)
            ascending.append((at, level))
        return ascending
