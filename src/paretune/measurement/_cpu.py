"""Processor time that work has taken."""

from __future__ import annotations

import resource
import time


def cpu_s() -> float:
    """Seconds of processor time of this process and of its children that have ended.

    Example:
        >>> begin = cpu_s()
        >>> cpu_s() >= begin
        True
    """
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
