"""Results of recipe prefixes, so that a prefix is computed once."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from paretune.core.errors import StoreError
from paretune.core.recipe import canonical
from paretune.store._ages import Ages
from paretune.store._files import (
    lock,
    set_aside,
    storing,
    sweep,
    sync,
    tree,
    workspace,
)
from paretune.store._manifest import cost_of, manifest_of, seconds_of
from paretune.store._needs import Needs, needed

_KEY = re.compile(r"[0-9a-f]{64}")
MANIFEST, CONTENT = "manifest", "content"
RETRY_S = 0.05


class Cache:
    """Folders of files by key, each verified every time that it is read.

    An entry holds the files and a manifest with its own key and the name, size and
    SHA-256 of each file. One that differs from its manifest in any way is moved to
    `root/quarantine` and counts as absent, so that it is computed again.

    Args:
        root: the store's folder; made if it isn't there.
        limit_bytes: what all entries may take; beyond it those go that are worth the
            least: by the seconds that they took per byte, and by how long they weren't
            used (GreedyDual-Size; Cao and Irani, 1997). Those that live searches need
            stay.
        grace_s: an entry that was used this recently is never removed, since somebody
            may still read it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as root:
        ...     cache = Cache(Path(root))
        ...     key = Cache.key(recipe=["prune"], seed=0)
        ...     with cache.lock(key):
        ...         folder = cache.get(key)
        ...         if folder is None:
        ...             fill = lambda f: (f / "weights").write_bytes(b"abc")
        ...             folder = cache.put(key, fill)
        ...     (folder / "weights").read_bytes()
        b'abc'
    """

    def __init__(
        self, root: Path, limit_bytes: float = 2e9, grace_s: float = 60.0
    ) -> None:
        self.limit_bytes = limit_bytes
        self.grace_s = grace_s
        self.quarantined = self.hits = self.misses = self.evicted = 0
        self._quarantine = Path(root) / "quarantine"
        folder = Path(root) / "cache"
        self._entries = folder / "entries"
        self._locks = folder / "locks"
        self._making = folder / "making"
        self._needs = folder / "needs"
        self._ages = Ages(folder / "ages", self._making)
        self._known: dict[tuple[str, int], tuple[int, float]] = {}
        with storing(folder):
            for part in (self._entries, self._locks, self._making):
                part.mkdir(parents=True, exist_ok=True)
            sweep(self._making)

    @staticmethod
    def key(**parts: Any) -> str:
        """SHA-256 of the canonical JSON of everything that decides the result.

        Args:
            parts: JSON values: the digest of the input, the technique with its version
                and parameters, the fingerprint of the data, the seed, the versions of
                the libraries.
        """
        return sha256(canonical(parts).encode()).hexdigest()

    def get(self, key: str) -> Path | None:
        """The folder with the entry's files, all as they were put there; or None."""
        entry = self._entry(key)
        fault = self._fault(entry, key)
        if fault is None:
            with suppress(OSError):
                os.utime(entry / MANIFEST)
            self.hits += 1
            return entry / CONTENT
        self.misses += 1
        if os.path.lexists(entry):
            self._discard(entry)
        return None

    def put(
        self, key: str, fill: Callable[[Path], object], seconds: float | None = None
    ) -> Path:
        """Makes an entry and returns the folder with its files.

        An entry of that key that is already there, and sound, is kept instead.

        Args:
            key: as `key` gives it. Hold its `lock`, or it may be computed twice.
            fill: writes files, and folders of files, into the empty folder it gets.
            seconds: that it took, 0 or more; what took longer per byte stays longer.

        Raises:
            StoreError: no space is left; the disk fails; `fill` made a link.
        """
        entry = self._entry(key)
        with storing(self._entries), workspace(self._making) as making:
            content = making / CONTENT
            content.mkdir()
            fill(content)
            (making / MANIFEST).write_bytes(manifest_of(content, key, seconds))
            for path, _ in [*tree(making)]:
                sync(path)
            sync(making)
            while not _move(making, entry):
                if self._fault(entry, key) is None:
                    break
                self._discard(entry)
            sync(self._entries)
        self._evict()
        return entry / CONTENT

    @contextmanager
    def lock(self, key: str, wait: Callable[[], None] | None = None) -> Iterator[None]:
        """Waits until nobody else holds this key's lock, in any process or thread.

        The kernel lets go of the lock when its holder dies. It is not reentrant.

        Args:
            key: as `key` gives it.
            wait: called between tries, for one who holds something that the lock's
                holder may have to wait for, and who must let go of it meanwhile.
        """
        while (descriptor := self._lock(key, block=wait is None)) is None:
            assert wait is not None
            wait()
            time.sleep(RETRY_S)
        try:
            yield
        finally:
            _unlock(descriptor)

    def needs(self) -> Needs:
        """Where this process can tell which entries it will need; close it after."""
        return Needs(self._needs)

    def has(self, key: str) -> bool:
        """Whether there is an entry of that key; it is neither verified nor used."""
        return (self._entry(key) / MANIFEST).exists()

    def stats(self) -> dict[str, int]:
        """Entries and bytes on disk; hits and the rest since this object was made."""
        found = self._usage()
        return {
            "entries": len(found),
            "bytes": sum(size for _, size, _, _ in found),
            "limit_bytes": int(self.limit_bytes),
            "hits": self.hits,
            "misses": self.misses,
            "quarantined": self.quarantined,
            "evicted": self.evicted,
        }

    def _entry(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise StoreError(
                "cache-key", f"{key!r} is no key: 64 lower-case hex digits are."
            )
        return self._entries / key

    def _fault(self, entry: Path, key: str) -> str | None:
        """What is wrong with an entry; None if nothing is."""
        try:
            if stat.S_ISLNK(entry.lstat().st_mode):
                return "the entry is a link"
            if {p.name for p in entry.iterdir()} != {MANIFEST, CONTENT}:
                return "files beside the manifest"
            if not stat.S_ISREG((entry / MANIFEST).lstat().st_mode):
                return "the manifest is no file"
            if not stat.S_ISDIR((entry / CONTENT).lstat().st_mode):
                return "the content is no folder"
            manifest = (entry / MANIFEST).read_bytes()
            if manifest != manifest_of(entry / CONTENT, key, seconds_of(manifest)):
                return "differs from its manifest"
        except (OSError, StoreError, ValueError) as error:
            return str(error)
        return None

    def _discard(self, entry: Path) -> None:
        # Another reader may have been first.
        with storing(self._quarantine), suppress(FileNotFoundError):
            set_aside(entry, self._quarantine)
            self.quarantined += 1

    def _lock(self, key: str, *, block: bool) -> int | None:
        path = self._locks / self._entry(key).name
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            if lock(descriptor, path, block=block):
                return descriptor
            os.close(descriptor)
            if not block:
                return None

    def _usage(self) -> list[tuple[float, int, float, str]]:
        """(last use, bytes, seconds, key) of each entry, the longest unused first."""
        found = []
        for entry in os.scandir(self._entries):
            with suppress(OSError):
                used = Path(entry.path, MANIFEST).lstat().st_mtime
                name = (entry.name, entry.inode())
                if name not in self._known:
                    files = tree(Path(entry.path))
                    size = sum(s.st_size for _, s in files)
                    self._known[name] = size, cost_of(Path(entry.path, MANIFEST))
                found.append((used, *self._known[name], entry.name))
        return sorted(found)

    def _evict(self) -> None:
        """Removes what is worth least, until the rest is below the limit.

        The worth of an entry is its seconds per byte, above that of what had gone last
        when it was used: so what isn't used is outdone in the end, whatever it cost.
        """
        found = self._usage()
        total = sum(size for _, size, _, _ in found)
        if total <= self.limit_bytes:
            return
        kept, now, level = needed(self._needs), time.time(), self._ages.level()
        ranked = sorted(
            (level(used) + cost / max(1, size), used, size, key)
            for used, size, cost, key in found
        )
        for worth, used, size, key in ranked:
            if total <= self.limit_bytes:
                break
            # A clock that was set back must not make entries young for ever.
            if abs(now - used) < self.grace_s or not _KEY.fullmatch(key):
                continue
            descriptor = None if key in kept else self._lock(key, block=False)
            if descriptor is None:
                continue
            with suppress(OSError), workspace(self._making) as away:
                (self._entries / key).rename(away / key)
                total -= size
                self.evicted += 1
                self._ages.add(now, worth)
                (self._locks / key).unlink()
            _unlock(descriptor)
        self._ages.trim(min(used for used, *_ in found))


def _move(making: Path, entry: Path) -> bool:
    """False if something is there already."""
    if entry.is_symlink():
        return False
    try:
        making.rename(entry)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True


def _unlock(descriptor: int) -> None:
    # Told, not merely closed: a forked child may hold a copy of the descriptor.
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


__all__ = ["Cache"]
