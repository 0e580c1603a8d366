"""One-thread workers side by side, one many-thread worker, and how OpenMP waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench._results import Results
from bench.training._loops import available, by_hand, part, work

CORES = os.cpu_count() or 1
ACTIVE = {"OMP_WAIT_POLICY": "ACTIVE", "KMP_BLOCKTIME": "200"}
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": "0"}
# (processes, threads of each, how they wait)
SETUPS: dict[str, tuple[int, int, Mapping[str, str]]] = {
    "one-thread workers on every core": (CORES, 1, PASSIVE),
    "one worker with all threads, passive": (1, CORES, PASSIVE),
    "one worker with all threads, active": (1, CORES, ACTIVE),
    "too many: a worker with all threads on every core, passive": (
        CORES,
        CORES,
        PASSIVE,
    ),
    "too many: a worker with all threads on every core, active": (CORES, CORES, ACTIVE),
}


def run(results: Results, quick: bool) -> None:
    """Samples per second of all processes of a setup together."""
    for name in ("fashion",) if quick else available():
        base = None
        for setup, (count, threads, waiting) in list(SETUPS.items())[
            : 2 if quick else 9
        ]:
            speed = _together(name, count, threads, waiting, 2.0 if quick else 6.0)
            base = base or speed
            results.row(
                task=name,
                what=setup,
                processes=count,
                threads=threads,
                samples_per_s=speed,
                times_first=speed / base,
            )
            print(f"{name}: {setup}: {speed:.0f}/s, {speed / base:.2f}x", flush=True)


def _together(
    name: str, count: int, threads: int, waiting: Mapping[str, str], seconds: float
) -> float:
    environment = {
        **os.environ,
        **waiting,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    order = [sys.executable, "-m", "bench.training.workers", name, str(threads)]
    started = [
        subprocess.Popen(
            [*order, str(seconds)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()  # it is warm
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    told: list[Any] = [json.loads(p.communicate()[0]) for p in started]
    return sum(float(speed) for speed in told)


def _worker(name: str, threads: int, seconds: float) -> None:
    import torch

    torch.set_num_threads(threads)
    given = work(part(name, 2))
    train = by_hand(given, given.ours)
    train()
    print("ready", flush=True)
    sys.stdin.readline()
    begin, passes = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        train()
        passes += 1
    print(passes * len(given.inputs) / (time.monotonic() - begin))


if __name__ == "__main__":
    _worker(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
