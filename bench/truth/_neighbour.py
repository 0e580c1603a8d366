"""A neighbour on the machine that works in bursts, as a busy server has them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BURSTS = """
import os, random, sys, time
import numpy as np
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {int(sys.argv[1])})
draw = random.Random(0)
big = np.ones(4_000_000, np.float32)
while os.getppid() == int(sys.argv[2]):
    end = time.monotonic() + draw.uniform(0.02, 0.5)
    while time.monotonic() < end:
        big *= 1.0000001
    time.sleep(draw.uniform(0.02, 0.5))
"""


@contextmanager
def neighbour() -> Iterator[None]:
    """Half of the time, at random, the first core and the memory bus are busy."""
    core = str(min(os.sched_getaffinity(0)))
    command = [sys.executable, "-c", BURSTS, core, str(os.getpid())]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        yield
    finally:
        process.kill()
        process.wait()
