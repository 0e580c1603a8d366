"""The figure that decides: what a search costs beside the loop that an expert writes.

CPU-seconds until 95 % of the reference hypervolume, which is what the loop comes to by
its end, the median of three seeds; and the hypervolume of random search at equal cost,
with everything of the engine's but its proposals. All of all runs on a task together
is no reference: with the luck of every training in it, no run comes near.

A run is kept in the user's cache folder as it goes, so that the comparison may be
stopped and started again; a change of the code begins it anew. One piece of one run,
of 15 minutes at most:

python -m bench.search.compare fashion loop 0
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench._results import Results
from bench.search import reference
from bench.search.reference import Event

SEEDS = (0, 1, 2)
SHARES = (0.8, 0.9, 0.95)
DECIDES = 0.95
GOAL = 5.0
LIMIT_S = {"loop": 1200.0, "ours": 400.0}  # CPU-seconds; of other methods, as ours
PIECE_S = 900.0
QUICK_S, QUICK_EPOCHS = 16.0, 1

METHODS = (
    "loop",
    "ours",
    "random",
    "no sharing",
    "no screening",
    "no halving",
    "with supernet",
)

Runs = dict[tuple[str, int], list[Event]]


def run(results: Results, quick: bool) -> None:
    """All runs of the loop, of the search and of random search; their figures."""
    for task in ["fashion"] if quick else reference.TASKS:
        if missing(task):
            print(f"{task}: left out, its data is not there; set PARETUNE_DATA")
            continue
        seeds = SEEDS[:1] if quick else SEEDS
        runs = gather(task, METHODS[:2] if quick else METHODS, seeds, quick)
        _figures(results, task, runs, seeds)


def missing(task: str) -> bool:
    """Whether the task's data isn't there."""
    return task == "activity" and not os.environ.get("PARETUNE_DATA")


def gather(
    task: str, methods: Iterable[str], seeds: Iterable[int], quick: bool
) -> Runs:
    """The runs of these methods; those not done yet run in processes of their own."""
    wanted = [(method, seed) for seed in seeds for method in methods]
    for method, seed in wanted:
        path = where(task, method, seed, quick)
        while not reference.read(path)[1]:
            command = [sys.executable, "-m", "bench.search.compare"]
            command += [task, method, str(seed), *["--quick"] * quick]
            one = {**os.environ, "OMP_NUM_THREADS": "1"}
            subprocess.run(command, check=True, env=one)
    return {
        (method, seed): reference.read(where(task, method, seed, quick))[0]
        for method, seed in wanted
    }


def where(task: str, method: str, seed: int, quick: bool) -> Path:
    name = f"{task}-{method.replace(' ', '_')}-{seed}.json"
    return reference.folder(method, quick) / name


def piece(task: str, method: str, seed: int, quick: bool) -> None:
    """Goes on with one run."""
    path = where(task, method, seed, quick)
    limit = QUICK_S if quick else LIMIT_S.get(method, LIMIT_S["ours"])
    epochs = QUICK_EPOCHS if quick else reference.EPOCHS
    if method == "loop":
        from bench.search.loop import Loop

        Loop(task, seed, epochs, path).run(limit, PIECE_S)
    else:
        from bench.search.ours import VARIANTS, search

        search(task, VARIANTS[method], seed, epochs, path, limit)


def all_runs(task: str, quick: bool) -> list[list[Event]]:
    """Every finished run of a task, of all methods."""
    paths = [where(task, m, s, quick) for m in METHODS for s in SEEDS]
    return [events for events, done in map(reference.read, paths) if done]


def standard(task: str, quick: bool) -> tuple[dict[str, float], float]:
    """(latencies by structure, the reference hypervolume) of a task."""
    shared = reference.latencies(all_runs(task, quick))
    loops = [where(task, "loop", seed, quick) for seed in SEEDS]
    ended = [events for events, done in map(reference.read, loops) if done]
    volumes = [_volume(events, shared) for events in ended]
    return shared, statistics.median(volumes) if volumes else 0.0


def _figures(results: Results, task: str, runs: Runs, seeds: Sequence[int]) -> None:
    shared, whole = standard(task, results.quick)
    for (method, seed), events in runs.items():
        row = told(events, shared, whole)
        results.row(task=task, method=method, seed=seed, **row)
        print(f"{task}: {method}, seed {seed}: {row}", flush=True)
    ratios = [times(runs, "loop", "ours", seed, shared, whole) for seed in seeds]
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    results.figure(
        f"{task}: CPU-seconds to 95 % of the hypervolume, optuna loop / paretune",
        middle,
        f">= {GOAL:g}",
        middle >= GOAL,
        "times",
        low,
        high,
    )
    if ("random", seeds[0]) not in runs:
        return
    final, by_chance = (
        [_final(runs, method, seed, shared) for seed in seeds]
        for method in ("ours", "random")
    )
    better = [
        mine / max(drawn, 1e-9) for mine, drawn in zip(final, by_chance, strict=True)
    ]
    results.figure(
        f"{task}: final hypervolume, paretune / random search of equal cost",
        statistics.median(better),
        "> 1, the worst seed above the best of random",
        min(final) > max(by_chance),
        "times",
        min(better),
        max(better),
    )


def told(
    events: Sequence[Event], shared: dict[str, float], whole: float
) -> dict[str, float | None]:
    """A run in figures; None for a share that it never reached."""
    reached = {
        f"cpu_s_to_{100 * share:.0f}": reference.time_to(events, shared, share * whole)
        for share in SHARES
    }
    return {
        "trials": len({e.number for e in events}) - 1,
        "cpu_s": events[-1].cpu_s,
        "hypervolume_share": _volume(events, shared) / whole if whole else 0.0,
        **{k: s if s < float("inf") else None for k, s in reached.items()},
    }


def times(
    runs: Runs,
    slow: str,
    fast: str,
    seed: int,
    shared: dict[str, float],
    whole: float,
) -> float:
    """Time of one method over that of another, to 95 % of the hypervolume `whole`.

    At least that, where the first never got there; 0 where the second never did.
    """
    wanted = DECIDES * whole
    first, second = (
        reference.time_to(runs[m, seed], shared, wanted) for m in (slow, fast)
    )
    if second == float("inf") or not whole:
        return 0.0
    return min(first, runs[slow, seed][-1].cpu_s) / second


def _final(runs: Runs, method: str, seed: int, shared: dict[str, float]) -> float:
    """The hypervolume at the cost that both of ours and random search came to."""
    both = min(runs[m, seed][-1].cpu_s for m in ("ours", "random"))
    return reference.at(runs[method, seed], shared, both)


def _volume(events: Sequence[Event], shared: dict[str, float]) -> float:
    return reference.volume(reference.gains(events, shared))


if __name__ == "__main__":
    _task, _method, _seed, *_rest = sys.argv[1:]
    piece(_task, _method, int(_seed), "--quick" in _rest)
