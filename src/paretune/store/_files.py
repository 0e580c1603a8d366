"""Files that are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from paretune.core.errors import StoreError

CHUNK = 1 << 20
SET_ASIDE = 20

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})

# File systems on which locks and atomic renames can't be relied on. Not 9p, virtiofs
# and overlay: containers and virtual machines have their ordinary disks on them.
NETWORK = re.compile(
    r"nfs4?|cifs|smb3|smbfs|ncpfs|afs|coda|lustre|gpfs|beegfs|ceph|pvfs2|orangefs"
    r"|panfs|glusterfs|wekafs|fuse\.(sshfs|glusterfs|ceph|s3fs|rclone|gcsfuse|goofys"
    r"|davfs|curlftpfs|juicefs)"
)


def free_bytes(path: Path) -> int:
    """Bytes that are free where `path` is, or would be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def full(path: Path) -> StoreError:
    return StoreError(
        "store-full",
        f"no space is left for {path}: {free_bytes(path):,} bytes are free; "
        "make room and run the same command again, which goes on where it stopped.",
    )


def read_only(path: Path) -> StoreError:
    return StoreError(
        "store-readonly",
        f"{path} can't be written to ({free_bytes(path):,} bytes are free); "
        "give the user who runs this write access, or name another --store.",
    )


def broken(path: Path, reason: str) -> StoreError:
    return StoreError(
        "store-io", f"{path} can't be read or written: {reason}; check the disk."
    )


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Failures of the disk under `path` become sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise full(path) from error
        if error.errno in READ_ONLY:
            raise read_only(path) from error
        if error.errno == errno.EIO:
            raise broken(path, str(error)) from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise StoreError(
                "store-foreign",
                f"{error.filename} is a file where a store has a folder; name another "
                "--store, or move the file.",
            ) from error
        raise


def network_filesystem(path: Path, mounts: str) -> str | None:
    """The type of the network file system that `path` is on; None if it is local.

    Args:
        path: absolute, without symbolic links.
        mounts: the text of /proc/mounts.

    Example:
        >>> network_filesystem(Path("/home/a"), "h:/x /home nfs4 rw 0 0")
        'nfs4'
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[1]))
        depth = len(point.parts)
        # The later of two mounts at one point hides the earlier.
        if path.is_relative_to(point) and depth >= best:
            best, kind = depth, fields[2]
    return kind if NETWORK.fullmatch(kind) else None


def sync(path: Path) -> None:
    """Waits until a file or a folder's list of names is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy(source: Path, target: Path) -> tuple[str, int]:
    """Copies a file to the disk itself: (SHA-256, bytes) of what was written."""
    digest, size = sha256(), 0
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(CHUNK):
            writer.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest(), size


def digest(path: Path) -> tuple[str, int]:
    """(SHA-256, bytes) of a regular file.

    Raises:
        OSError: it is missing, can't be read, or is a symbolic link (ELOOP).
    """
    found, size = sha256(), 0
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as reader:
        while chunk := reader.read(CHUNK):
            found.update(chunk)
            size += len(chunk)
    return found.hexdigest(), size


def tree(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything below a folder, links not followed."""
    for entry in os.scandir(folder):
        found = entry.stat(follow_symlinks=False)
        yield Path(entry.path), found
        if stat.S_ISDIR(found.st_mode):
            yield from tree(Path(entry.path))


@contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """A new folder to build something in; what is not moved away is removed.

    Its maker holds a lock on it, which the kernel lets go of when the maker dies, so
    that `sweep` can tell the leftovers of the dead from the work of the living.
    """
    while True:
        folder = parent / secrets.token_hex(8)
        folder.mkdir()
        descriptor = _claim(folder, block=True)
        if descriptor is not None:
            break
    try:
        yield folder
    finally:
        with suppress(OSError):
            shutil.rmtree(folder)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def sweep(parent: Path) -> int:
    """Removes the workspaces of processes that died in them; how many there were."""
    swept = 0
    for folder in list(parent.iterdir()):
        descriptor = _claim(folder, block=False)
        if descriptor is None:
            continue
        with suppress(OSError):
            shutil.rmtree(folder)
            swept += 1
        os.close(descriptor)
    return swept


def _claim(folder: Path, *, block: bool) -> int | None:
    """A locked descriptor of the folder; None if it is another's, or gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    if lock(descriptor, folder, block=block):
        return descriptor
    os.close(descriptor)
    return None


def lock(descriptor: int, path: Path, *, block: bool) -> bool:
    """Locks an open file; False if it is another's, or no longer what `path` names."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if block else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (mine.st_dev, mine.st_ino) == (found.st_dev, found.st_ino)


def set_aside(path: Path, folder: Path) -> Path:
    """Moves what can't be trusted out of the way; only the latest few are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{path.name}-{secrets.token_hex(4)}"
    path.rename(target)
    with suppress(OSError):
        os.utime(target, follow_symlinks=False)
        kept = sorted(folder.iterdir(), key=lambda p: p.lstat().st_mtime)
        for old in kept[:-SET_ASIDE]:
            remove(old)
    return target


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
