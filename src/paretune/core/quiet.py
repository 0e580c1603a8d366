"""A machine-wide agreement: many may work, or one may measure.

A competing process can make a timed call many times slower, so whoever measures waits
until all paretune processes of this user have paused, on this machine, whichever study
they belong to. The kernel drops the locks of a process that dies.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paretune.core.errors import StoreError


class Quiet:
    """The two lock files behind the agreement.

    `room` is shared by those who work and taken alone by the one who measures. `turn`
    is held by the one who measures from the moment that it wants to: the others see it
    taken, leave the room and queue behind it, so that a measurement never starves.

    Args:
        folder: where the lock files are; by default one for this user and machine.

    Raises:
        StoreError: the folder can't be used ("lock-folder").
    """

    def __init__(self, folder: Path | None = None) -> None:
        default = Path(tempfile.gettempdir()) / f"paretune-{os.getuid()}"
        self._folder = folder or default
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Nothing else of ours runs meanwhile; waits until that is so."""
        with self._open("turn") as turn, self._open("room") as room:
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(room, fcntl.LOCK_EX)
            yield

    @contextmanager
    def working(self) -> Iterator[Callable[[], None]]:
        """Nothing is measured meanwhile; gives the function to call between batches.

        That function returns at once, or after a waiting measurement was taken.
        """
        with self._open("turn") as turn, self._open("room") as room:

            def enter() -> None:
                fcntl.flock(turn, fcntl.LOCK_SH)
                fcntl.flock(room, fcntl.LOCK_SH)
                fcntl.flock(turn, fcntl.LOCK_UN)

            def give_way() -> None:
                try:
                    fcntl.flock(turn, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    fcntl.flock(room, fcntl.LOCK_UN)
                    enter()
                else:
                    fcntl.flock(turn, fcntl.LOCK_UN)

            enter()
            yield give_way

    @contextmanager
    def _open(self, name: str) -> Iterator[int]:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            handle = os.open(self._folder / name, flags, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            yield handle
        finally:
            os.close(handle)

    def _unusable(self, error: OSError) -> StoreError:
        return StoreError(
            "lock-folder",
            f"{self._folder}, where paretune keeps its lock files, can't be used "
            f"({error.strerror}), such as when another user has made it; remove it, or "
            "set TMPDIR to a folder of your own.",
        )


@dataclass
class Waits:
    """Gives way to measurements, and counts the seconds that it took.

    Example:
        >>> waits = Waits(lambda: None)
        >>> waits()
        >>> waits.apart({"train_s": 0.0})["train_s"]
        0.0
    """

    give_way: Callable[[], None]
    seconds: float = 0.0

    def __call__(self) -> None:
        begin = time.monotonic()
        self.give_way()
        self.seconds += time.monotonic() - begin

    def apart(self, cost: Mapping[str, float]) -> dict[str, float]:
        """The cost, with what was waited told apart from "train_s"."""
        train_s = max(0.0, cost["train_s"] - self.seconds)
        return {**cost, "train_s": train_s, "wait_s": self.seconds}
