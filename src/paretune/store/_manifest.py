"""What an entry of the cache says of itself: its files, and what it took to compute."""

from __future__ import annotations

import json
import math
import stat
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from paretune.core.errors import StoreError
from paretune.core.recipe import canonical
from paretune.store._files import digest, tree

UNKNOWN_S = 1.0  # what an entry cost that doesn't tell


def cost_of(manifest: Path) -> float:
    """Seconds that an entry took, as its manifest has it."""
    with suppress(OSError, ValueError):
        seconds = seconds_of(manifest.read_bytes())
        if seconds is not None and 0 <= seconds < math.inf:
            return seconds
    return UNKNOWN_S


def seconds_of(manifest: bytes) -> float | None:
    """What a manifest says that its entry took; None where it doesn't."""
    told = json.loads(manifest)
    seconds = told.get("seconds") if isinstance(told, dict) else None
    return seconds if isinstance(seconds, float) else None


def manifest_of(content: Path, key: str, seconds: float | None = None) -> bytes:
    """What is in the folder and what it took, as canonical JSON.

    Nothing in the folder tells the seconds, so a sum of their own proves them.

    Raises:
        StoreError: it holds something that is neither a file nor a folder.
    """
    files: dict[str, tuple[int, str] | None] = {}
    for path, found in tree(content):
        name = path.relative_to(content).as_posix()
        if stat.S_ISDIR(found.st_mode):
            files[name] = None
        elif stat.S_ISREG(found.st_mode):
            sha, size = digest(path)
            files[name] = size, sha
        else:
            raise StoreError(
                "cache-entry", f"{path} is neither a file nor a folder; store a copy."
            )
    told: dict[str, Any] = {"version": 1, "key": key, "files": files}
    if seconds is not None:
        proof = sha256(canonical([key, float(seconds)]).encode()).hexdigest()
        told |= {"seconds": float(seconds), "proof": proof}
    return canonical(told).encode()
