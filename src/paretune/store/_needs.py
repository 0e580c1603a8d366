"""What live searches still need of the cache; it dies with them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from paretune.store._files import lock, storing


class Needs:
    """The keys that this process needs, in a file that it holds a lock on.

    The kernel lets go of the lock when the process dies, however it dies, so that
    nothing is kept for the dead.

    Args:
        folder: where the needs of all processes are; made if it isn't there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / secrets.token_hex(8)
        self._descriptor: int | None = None
        self._told: frozenset[str] | None = None

    def tell(self, keys: Iterable[str]) -> None:
        """Replaces what is needed, at once and as a whole."""
        wanted = frozenset(keys)
        if wanted == self._told:
            return
        made = self._path.with_suffix(".new")
        with storing(made):
            descriptor = os.open(made, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                lock(descriptor, made, block=True)
                os.write(descriptor, "\n".join(sorted(wanted)).encode())
                made.rename(self._path)
            except BaseException:
                os.close(descriptor)
                with suppress(OSError):
                    made.unlink()
                raise
        self._close()
        self._descriptor, self._told = descriptor, wanted

    def close(self) -> None:
        """Needs nothing any more."""
        with suppress(OSError):
            self._path.unlink()
        self._close()
        self._told = None

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def needed(folder: Path) -> frozenset[str]:
    """The keys that live processes need; files of the dead are removed."""
    found: set[str] = set()
    for path in list(folder.iterdir()) if folder.is_dir() else ():
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                if lock(descriptor, path, block=False):
                    # A live one may be about to lock the file that it has just made.
                    if path.suffix != ".new":
                        path.unlink()
                else:
                    found |= set(path.read_text().split())
            finally:
                os.close(descriptor)
    return frozenset(found)
