"""Signs that a process ended for want of memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

SAYS = re.compile(r"can't allocate|not enough memory|bad_alloc|out of memory", re.I)
PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")


def oom_kills() -> int:
    """How often the kernel killed a process for memory, as far as is seen from here."""
    return sum(_count(path) for path in (PROC / "vmstat", *_events()))


def _events() -> Iterator[Path]:
    """Where this process's control groups count their own."""
    try:
        lines = (PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield CGROUPS / path.lstrip("/") / "memory.events"
        elif "memory" in controllers.split(","):
            yield CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control"


def _count(path: Path) -> int:
    try:
        rows = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return 0
    return sum(int(row[1]) for row in rows if row[0] == "oom_kill")
