"""The demo itself: how long it takes, what it finds, what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench._results import Results
from paretune import api
from paretune.core.study import Study
from paretune.frontier import frontier

MARGIN = 0.01
COMMAND = [sys.executable, "-m", "paretune.cli.main"]


def run(results: Results, quick: bool) -> None:
    """`paretune demo` twice, and its frontier. A smoke run has nothing shorter."""
    if quick:
        print("demo: no quick form")
        return
    with tempfile.TemporaryDirectory() as folder:
        demo = [*COMMAND, "demo", "--store", folder, "-o", f"{folder}/out"]
        wall, memory = watched(demo)
        again, _ = watched(demo)
        told = subprocess.run(
            [*COMMAND, "frontier", "demo", "--json", "--store", folder],
            capture_output=True,
            text=True,
            check=False,
        )
        apart = differences(api.load("demo", Path(folder)))
    found = json.loads(told.stdout)
    base, members = found["baseline"], found["members"]
    results.row(what="demo", members=[row(m) for m in members], baseline=row(base))
    results.figure("the demo's job", wall, "<= 240", wall <= 240, "s")
    results.figure("the demo again", again, "<= 15", again <= 15, "s")
    gigabytes = memory / 1e9
    results.figure(
        "peak memory of the demo", gigabytes, "<= 2.5", gigabytes <= 2.5, "GB"
    )
    count = len(members)
    results.figure("members of its frontier, certified", count, ">= 6", count >= 6)
    cost = found["cost"]
    share = cost["overhead_s"] / cost["wall_s"]
    results.figure("search overhead of the demo", share, "<= 0.05", share <= 0.05)
    small = [
        m
        for m in members
        if value(m, "size") <= value(base, "size") / 8
        and value(m, "latency_p50") <= value(base, "latency_p50") / 2
    ]
    best = max((value(m, "accuracy") for m in small), default=0.0)
    lost = 100 * (value(base, "accuracy") - best)
    results.figure(
        "accuracy lost (test) at size/8 and latency/2", lost, "<= 1.0", lost <= 1, "pt"
    )
    kept = [n for n, (low, _) in apart.items() if n and low >= -MARGIN]
    equal = [n for n, (low, high) in apart.items() if n and low <= 0 <= high]
    results.row(what="accuracy lost on test, paired", intervals=apart)
    results.figure(
        "smaller members not worse by 1 pt or more (paired 95 %, test)",
        len(kept),
        ">= 1",
        bool(kept),
    )
    results.figure(
        "smaller members not distinguishable from the baseline (test)",
        len(equal),
        ">= 1",
        bool(equal),
    )


def differences(study: Study) -> dict[int, tuple[float, float]]:
    """95 % intervals of member - baseline in accuracy, on the same test samples."""
    base = study.certified[0]["accuracy"].replicates
    found = {}
    for trial in frontier(study).members:
        apart = study.certified[trial.number]["accuracy"].replicates - base
        low, high = np.percentile(apart, (2.5, 97.5))
        found[trial.number] = (float(low), float(high))
    return found


def row(member: dict[str, Any]) -> dict[str, Any]:
    metrics = ("accuracy", "size", "latency_p50", "peak_memory")
    return {"recipe": member["recipe"]} | {
        name: member["metrics"][name] for name in metrics if name in member["metrics"]
    }


def value(member: dict[str, Any], metric: str) -> float:
    return float(member["metrics"][metric]["value"])


def watched(command: list[str]) -> tuple[float, int]:
    """(wall seconds, largest sum of the proportional sizes of all its processes)."""
    begin = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    largest = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            largest[0] = max(largest[0], sum(map(size, family(process.pid))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.wait()
    done.set()
    watcher.join()
    return time.monotonic() - begin, largest[0]


def family(root: int) -> list[int]:
    """The process and all that descend from it."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
    found = {root}
    while more := {p for p, parent in parents.items() if parent in found} - found:
        found |= more
    return list(found)


def size(process: int) -> int:
    """Bytes of its proportional set size; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(x.split()[1]) * 1024 for x in lines if x.startswith("Pss:"))
