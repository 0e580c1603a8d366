"""What the tests of the store do to it: children that die, disks that fail."""

from __future__ import annotations

import errno
import os
import random
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from paretune.core.measurement import Measurement
from paretune.core.trial import Trial

SHM = Path("/dev/shm")
KILLED = 9


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder, in memory where that can be had: syncing a disk is slow."""
    where = SHM if SHM.is_dir() and os.access(SHM, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where, prefix="paretune-test-") as name:
        yield Path(name)


def fork(work: Callable[[], object]) -> int:
    """Runs `work` in a child; its process number."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def result(pid: int) -> int:
    """How a child ended: its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


# The calls by which the store changes what is on the disk.
CALLS = ("mkdir", "fsync", "replace", "rename", "utime")


@contextmanager
def failing(at: int, how: str) -> Iterator[list[str]]:
    """The `at`-th call, from 0, that changes the disk fails.

    Args:
        at: which call.
        how: "exit": the process dies before it; "late": just after it; or the name
            of an errno that it raises.

    Yields:
        The names of the calls that were made.
    """
    made: list[str] = []

    def wrap(name: str) -> Callable[..., object]:
        real = getattr(os, name)

        def call(*args: object, **kwargs: object) -> object:
            made.append(name)
            if len(made) - 1 != at:
                return real(*args, **kwargs)
            if how == "exit":
                os._exit(KILLED)
            if how == "late":
                real(*args, **kwargs)
                os._exit(KILLED)
            raise OSError(getattr(errno, how), os.strerror(getattr(errno, how)), "x")

        return call

    with mock.patch.multiple(os, **{name: wrap(name) for name in CALLS}):
        yield made


def trial(number: int, seed: int = 0, samples: int = 8) -> Trial:
    """A finished trial with all that one may hold."""
    rng = random.Random(f"{number} {seed}")
    correct = tuple(float(rng.random() < 0.9) for _ in range(samples))
    times = tuple(rng.random() for _ in range(6))
    accuracy = Measurement(
        "accuracy", "1", "higher", correct, "samples", split="validation"
    )
    latency = Measurement(
        "latency_p50", "s", "lower", times, "launches", times, flags=("screening",)
    )
    steps = ({"technique": "structured_pruning", "ratio": rng.random()},)
    return Trial(
        number,
        steps,
        "ok",
        {"accuracy": accuracy, "latency_p50": latency},
        {"max_abs": 1e-6, "agreement": 1.0},
        "ab" * 32,
        "onnx",
        "",
        {"train_s": 1.5},
        ({"step": "structured_pruning", "seconds": 0.25},),
    )
