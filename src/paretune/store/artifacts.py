"""Deployable files by what is in them."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from paretune.core.errors import StoreError
from paretune.store._files import (
    copy,
    digest,
    set_aside,
    storing,
    sweep,
    sync,
    workspace,
)

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SUFFIX = re.compile(r"[a-z0-9_]+")


class Artifacts:
    """The files that runtimes load, each named by the SHA-256 of its bytes.

    A file is there whole or not at all, and is never changed. It is at
    `root/artifacts/<sha256>/model.<suffix>`.

    Args:
        root: the store's folder; made if it isn't there.

    Raises:
        StoreError: the folder can't be written to.
    """

    def __init__(self, root: Path) -> None:
        self.folder = Path(root) / "artifacts"
        self._quarantine = Path(root) / "quarantine"
        self._making = Path(root) / "making"
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._making.mkdir(exist_ok=True)
            sweep(self._making)

    def put(self, path: Path, suffix: str) -> tuple[str, int]:
        """Stores a copy of a file.

        Args:
            path: the file.
            suffix: the artifact's format, such as "onnx".

        Returns:
            Its SHA-256 as 64 hex digits, and its size in bytes.

        Raises:
            StoreError: there is no such file; no space is left; the disk fails.
        """
        if not Path(path).is_file():
            raise StoreError("artifact-missing", f"there is no file {path} to store.")
        with storing(self.folder), workspace(self._making) as making:
            sha256, size = copy(Path(path), making / "model")
            target = self._path(sha256, suffix)
            if self._sound(target, sha256):
                return sha256, size
            if target.is_symlink() or target.exists():
                set_aside(target, self._quarantine)
            target.parent.mkdir(exist_ok=True)
            (making / "model").replace(target)
            sync(target.parent)
            sync(self.folder)
            return sha256, size

    def path(self, sha256: str, suffix: str, verify: bool = True) -> Path:
        """Where the artifact is.

        Args:
            sha256: 64 hex digits.
            suffix: its format, such as "onnx".
            verify: read the whole file and check that it is what was stored.

        Raises:
            StoreError: it isn't there ("artifact-missing"), or is not what was stored
                ("artifact-tampered"): then it has been moved out of the way.
        """
        target = self._path(sha256, suffix)
        if not target.is_symlink() and not target.is_file():
            raise StoreError(
                "artifact-missing",
                f"there is no artifact {sha256} at {target}; run the study again to "
                "make it anew.",
            )
        if verify or target.is_symlink():
            with storing(target):
                found = "none: a link" if target.is_symlink() else digest(target)[0]
                if found != sha256:
                    self._refuse(target, sha256, found)
        return target

    def _refuse(self, target: Path, expected: str, found: str) -> None:
        aside = "it could not be moved away"
        with suppress(OSError):
            aside = f"it now is {set_aside(target, self._quarantine)}"
        raise StoreError(
            "artifact-tampered",
            f"{target} is not the file that was stored: its SHA-256 is {found}, not "
            f"{expected}; {aside}; run the study again to make it anew.",
        )

    def _sound(self, target: Path, sha256: str) -> bool:
        try:
            return digest(target)[0] == sha256
        except OSError:
            return False

    def _path(self, sha256: str, suffix: str) -> Path:
        if not _SHA256.fullmatch(sha256) or not _SUFFIX.fullmatch(suffix):
            raise StoreError(
                "artifact-missing",
                f"{sha256!r} with format {suffix!r} names no artifact: 64 lower-case "
                "hex digits and a format such as 'onnx' do.",
            )
        return self.folder / sha256 / f"model.{suffix}"
