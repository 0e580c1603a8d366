"""Temporary work is told apart by whether its maker lives."""

import os
import threading
from pathlib import Path

import pytest

from paretune.store._files import (
    SET_ASIDE,
    network_filesystem,
    set_aside,
    sweep,
    workspace,
)
from tests.store.faults import fork, kill, until

MOUNTS = """\
overlay / overlay rw 0 0
host:/home /home nfs4 rw 0 0
/dev/sda1 /home/local ext4 rw 0 0
//host/share /mnt/my\\040share cifs rw 0 0
me@host:/ /mnt/ssh fuse.sshfs rw 0 0
shared /mnt/host 9p rw 0 0
shared /mnt/vm virtiofs rw 0 0
/dev/sdb1 /mnt/usb fuseblk rw 0 0
host:/x /mnt/twice nfs rw 0 0
tmpfs /mnt/twice tmpfs rw 0 0
odd
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/me/store", "nfs4"),
        ("/home", "nfs4"),
        ("/homely", None),
        ("/home/local/store", None),
        ("/mnt/my share/store", "cifs"),
        ("/mnt/ssh", "fuse.sshfs"),
        ("/mnt/host/store", None),
        ("/mnt/vm/store", None),
        ("/mnt/usb/store", None),
        ("/mnt/twice/store", None),
        ("/var/store", None),
    ],
)
def test_network_file_systems_are_told(path: str, kind: str | None) -> None:
    assert network_filesystem(Path(path), MOUNTS) == kind


def test_only_the_work_of_the_dead_is_swept(tmp_path: Path) -> None:
    def work() -> None:
        with workspace(tmp_path) as folder:
            (folder / "half").touch()
            until(lambda: False, 60)

    pid = fork(work)
    until(lambda: list(tmp_path.glob("*/half")))
    with workspace(tmp_path) as mine:
        assert sweep(tmp_path) == 0
        kill(pid)
        assert sweep(tmp_path) == 1
        assert list(tmp_path.iterdir()) == [mine]
    assert list(tmp_path.iterdir()) == []


def test_sweeping_takes_nobodys_new_workspace(tmp_path: Path) -> None:
    stop = threading.Event()

    def broom() -> None:
        while not stop.is_set():
            sweep(tmp_path)

    thread = threading.Thread(target=broom)
    thread.start()
    try:
        for n in range(200):
            with workspace(tmp_path) as folder:
                (folder / f"{n}").touch()
                assert (folder / f"{n}").exists()
    finally:
        stop.set()
        thread.join()


def test_only_the_latest_are_kept_aside(tmp_path: Path) -> None:
    aside = tmp_path / "quarantine"
    for n in range(SET_ASIDE + 5):
        path = tmp_path / f"entry{n:02}"
        path.mkdir()
        (path / "file").touch()
        target = set_aside(path, aside)
        os.utime(target, (n, n))
    left = sorted(p.name[:7] for p in aside.iterdir())
    assert len(left) == SET_ASIDE
    assert left[-1] == f"entry{SET_ASIDE + 4:02}"
