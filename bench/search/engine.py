"""What the engine costs a trial, over ten thousand of them.

A search runs as ever: strategy, claims, experiment, store, frontier and events. Only
the worker is replaced by one that answers at once, with figures of its own on the null
runtime, in the JSON text that a worker's pipe carries. So what is left between two
trials is the engine alone. No process is started, no model is exported and nothing is
measured; the time in which the worker makes up its answer is taken off.

The store is in memory, where that can be had: what a disk takes to sync is the disk's,
and is told by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench._results import Results
from paretune import studies
from paretune.automation.samplers.random_search import RandomSearch
from paretune.core.budget import Budget
from paretune.core.limits import Limits
from paretune.core.measurement import Measurement
from paretune.core.recipe import Recipe, canonical
from paretune.core.space import Real
from paretune.core.strategy import History, Strategy
from paretune.core.target import Target
from paretune.core.technique import Technique, param
from paretune.core.trial import Trial
from paretune.core.worker import Job, Worker
from paretune.course import Course
from paretune.experiment import Experiment
from paretune.ledger import Ledger
from paretune.search import Search
from paretune.store.artifacts import Artifacts
from paretune.store.trials import Trials

TRIALS, ENDS = 10_000, 1_000
SAMPLES = 1_000
SYNCED = 200  # trials whose commits are timed on a disk
SPEC = {
    "task": "none",
    "metrics": {"accuracy": "higher"},
    "target": Target("null").to_json(),
    "strategy": "anything",
    "objectives": [["accuracy", "higher"], ["size", "lower"], ["latency_p50", "lower"]],
    "require": "accuracy>=baseline-2pt",
}


@dataclass(frozen=True)
class Idle(Technique):
    """Leaves a model as it is."""

    source: ClassVar[str] = "none"

    share: float = param(0.5, Real(0.0, 1.0))


@dataclass(frozen=True)
class Anything(Strategy):
    """Whatever random search draws that was not tried yet."""

    source: ClassVar[str] = "none"

    def recipes(self) -> tuple[Recipe, ...]:
        share: Any = Real(0.0, 1.0)  # a domain in the place of a value
        free = Idle(share)
        return Recipe((free,)), Recipe((free, free))

    def next(self, history: History, rng: np.random.Generator) -> Recipe | None:
        while True:
            recipe = RandomSearch().next(self.recipes(), history, rng)
            if not history.seen(recipe):
                return recipe


class Instant(Worker):
    """Makes up its answers.

    Attributes:
        seconds: that this has taken.
        used: likewise, of processor time.
    """

    def __init__(self) -> None:
        super().__init__(Job(None, Target("null"), Path()), lambda *_: None)
        self.seconds = self.used = 0.0

    def do(
        self,
        operation: str,
        arguments: Mapping[str, Any],
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        begin, used = time.perf_counter(), time.thread_time()
        told = realised(arguments) if operation == "realise" else measured(arguments)
        answer: dict[str, Any] = json.loads(json.dumps(told))
        self.seconds += time.perf_counter() - begin
        self.used += time.thread_time() - used
        return answer

    def close(self) -> None: ...


def realised(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A file whose size the steps decide, and its accuracy but for what luck takes."""
    steps = arguments["steps"]
    kept = float(np.prod([s["share"] for s in steps])) if steps else 1.0
    digest = hashlib.sha256(canonical(steps).encode()).hexdigest()
    name = f"{round(kept * 2**28):08x}{digest[8:]}"
    rng = np.random.default_rng(int(name, 16))
    figures = [
        exact("size", 1e5 + 9e5 * kept, "byte"),
        exact("macs", 1e6 * kept),
        exact("parameters", 1e5 * kept),
        exact("transfer_size", 9e4 + 8e5 * kept, "byte"),
    ]
    if arguments["judge"]:
        likely = 0.92 - 0.3 * (1 - kept) ** 2 - 0.1 * rng.random()
        right = rng.random(SAMPLES) < likely
        scores = tuple(right.astype(float).tolist())
        figures.append(
            Measurement(
                "accuracy", "1", "higher", scores, "samples", split="validation"
            )
        )
    return {
        "measurements": {m.metric: m.to_json() for m in figures},
        "artifact": name,
        "format": "onnx",
        "parity": {"max_abs": 0.0, "relative": 0.0, "agreement": 1.0},
        "cost": {"train_s": 0.0, "export_s": 0.0, "judge_s": 0.0, "cpu_s": 0.0},
        "trace": [{"step": "baseline", "parameters": 1, "seconds": 0.0}],
    }


def measured(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Six launches of each file, beside a baseline of 1 ms.

    A file that is smaller is faster, give or take a fifth.
    """
    told = []
    for name in arguments["artifacts"]:
        rng = np.random.default_rng([int(name, 16), 1])
        middle = 0.1 + 0.9 * left(name)
        middle *= 1.0 if name == arguments["baseline"] else rng.uniform(0.8, 1.2)
        ratios = tuple((middle * np.exp(rng.normal(0, 0.01, 6))).tolist())
        timed = Measurement(
            "latency_p50",
            "s",
            "lower",
            tuple(1e-3 * r for r in ratios),
            "launches",
            ratios,
            flags=("screening",),
        )
        memory = exact("peak_memory", 1e7, "byte")
        wanted = {"latency": timed, "peak_memory": memory}
        figures = [wanted[m] for m in arguments["meters"]]
        told.append({m.metric: m.to_json() for m in figures})
    return {"measurements": told, "cost": {"measure_s": 0.0, "cpu_s": 0.0}}


def left(name: str) -> float:
    """The share of the model that is left, which the file's name begins with."""
    return int(name[:8], 16) / 2**28


def exact(metric: str, value: float, unit: str = "1") -> Measurement:
    return Measurement(metric, unit, "lower", (value,), "exact")


@dataclass
class Watch:
    """Listens to a search: when each trial ended, and what memory there was.

    Attributes:
        worker: whose own time is taken off.
        ends: seconds of the engine alone when each trial ended, by the clock.
        used: likewise, of processor time, which a busy machine doesn't stretch.
        resident: bytes, every hundred trials.
    """

    worker: Instant
    ends: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)

    def __call__(self, kind: str, facts: Mapping[str, Any]) -> None:
        if kind == "trial":
            self.ends.append(time.perf_counter() - self.worker.seconds)
            self.used.append(time.process_time() - self.worker.used)
            if len(self.ends) % 100 == 0:
                self.resident.append(resident())


def search(root: Path, trials: int) -> Watch:
    """A whole search of that many trials in a new store."""
    store = Trials.open(root)
    store.create_study("s", SPEC)
    course = Course(
        store,
        Artifacts(root),
        store.acquire("s", "bench"),
        partial(studies.load_study, "s", store, root),
    )
    worker = Instant()
    watch = Watch(worker)
    budget = Budget.parse(str(SPEC["require"]), ["accuracy"])
    wanted = "size", "latency_p50"
    experiment = Experiment("none", budget, wanted, Ledger(1), quick=True)
    limits = Limits(None, trials, True)
    Search(course, Anything(), [worker], experiment, limits, 0, watch).run()
    return watch


def run(results: Results, quick: bool) -> None:
    """Milliseconds a trial, at the beginning and at the end; memory; the disk."""
    trials, ends = (1_000, 100) if quick else (TRIALS, ENDS)
    with folder(memory=True) as root:
        watch = search(root, trials)
    spent = np.diff(watch.ends)
    first, last = spent[:ends].mean(), spent[-ends:].mean()
    mean = 1e3 * float(spent.mean())
    processor = 1e3 * float(np.diff(watch.used).mean())
    results.figure(f"engine, {trials} trials", mean, "<= 5", mean <= 5, "ms")
    flat = float(last / first)
    what = f"the last {ends} trials over the first {ends}"
    results.figure(what, flat, "<= 1.3", flat <= 1.3)
    tenth = len(watch.resident) // 10
    early, late = watch.resident[tenth], watch.resident[-1]
    grown = (late - early) / (trials * 0.9)
    results.figure(
        "resident memory at the end over that after a tenth of the trials",
        late / early,
        "<= 1.3",
        late / early <= 1.3,
    )
    results.row(
        what="engine",
        trials=trials,
        processor_ms=processor,
        first_ms=1e3 * float(first),
        last_ms=1e3 * float(last),
        p99_ms=1e3 * float(np.percentile(spent, 99)),
        resident_early=early,
        resident_late=late,
        grown_per_trial=grown,
    )
    print(f"processor time {processor:.2f} ms a trial")
    print(f"first {1e3 * first:.2f} ms, last {1e3 * last:.2f} ms")
    print(f"memory {early / 1e6:.0f} to {late / 1e6:.0f} MB, {grown:.0f} bytes a trial")
    for memory in (True, False):
        with folder(memory) as root:
            claim, finish = commits(root, 50 if quick else SYNCED)
        where = "memory" if memory else "disk"
        results.row(what=f"commits in {where}", claim_s=claim, finish_s=finish)
        print(f"in {where}: claim {1e3 * claim:.2f} ms, finish {1e3 * finish:.2f} ms")


def commits(root: Path, trials: int) -> tuple[float, float]:
    """Median seconds of a claim and of a finish."""
    store = Trials.open(root)
    store.create_study("s", SPEC)
    lease = store.acquire("s", "bench")
    spent = []
    for _ in range(trials):
        begin = time.perf_counter()
        claim = store.claim("s", [], lease)
        middle = time.perf_counter()
        store.finish(claim, Trial(claim.number, (), "ok"))
        spent.append((middle - begin, time.perf_counter() - middle))
    claimed, finished = np.median(spent, axis=0).tolist()
    return claimed, finished


@contextmanager
def folder(memory: bool) -> Any:
    """A new folder, in memory or on the disk."""
    shm = Path("/dev/shm")
    where = shm if memory and os.access(shm, os.W_OK) else Path(__file__).parent
    with tempfile.TemporaryDirectory(dir=where, prefix=".bench-") as name:
        yield Path(name)


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
