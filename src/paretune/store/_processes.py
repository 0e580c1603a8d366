"""Which process on which machine: who holds a lease, and whether it still lives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Process:
    """A process that can be told from a later one with the same number.

    Attributes:
        pid: its number.
        host: the name of its machine, for people.
        boot: which run of which machine's kernel, so whose monotonic clock; "" if
            that can't be told here.
        namespace: within which its number means something.
        started: when it began, in the kernel's ticks; "" if that can't be told.
    """

    pid: int
    host: str
    boot: str
    namespace: str
    started: str

    @classmethod
    def of(cls, pid: int | None = None, host: str | None = None) -> Process:
        """The process with this number on this machine; by default this one."""
        pid = os.getpid() if pid is None else pid
        host = socket.gethostname() if host is None else host
        return cls(pid, host, boot(), namespace(), started(pid))

    @property
    def gone(self) -> bool:
        """Whether it is surely dead; False where that can't be known from here."""
        if not self.boot or not boot():
            local = self.host == socket.gethostname()
            return local and not alive(self.pid)
        if self.boot != boot():
            # A local file is mounted by one kernel at a time, so the same machine
            # with another boot has been restarted since.
            return self.host == socket.gethostname()
        if self.namespace != namespace():
            return False
        return not alive(self.pid) or started(self.pid) != self.started


@cache
def boot() -> str:
    """This run of the kernel and its clock, which containers on it share."""
    try:
        run = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{run} {_link('time')}"
    except OSError:
        return ""


def namespace() -> str:
    """Within which process numbers are this process's."""
    return _link("pid")


def _link(kind: str) -> str:
    try:
        return str((PROC / "self/ns" / kind).readlink())
    except OSError:
        return ""


def started(pid: int) -> str:
    """When the process began, in ticks since boot; "" if unknown or dead."""
    fields = _status(pid)
    return fields[19] if fields else ""


def alive(pid: int) -> bool:
    """Whether a process with this number runs; a zombie doesn't."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    fields = _status(pid)
    return not fields or fields[0] not in "ZX"


def _status(pid: int) -> list[str]:
    """The fields of the kernel's status line that follow the program's name."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()
