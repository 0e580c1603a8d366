"""What each idea is worth: the search without it, or with it, beside the whole.

Sharing off: no step's result is kept for another recipe, but for the footprint of a
structure and what the search under way protects. Screening off: everything is trained,
whatever its footprint. Halving off: every training goes to its end. The supernet is no
part of the whole; it is added.
"""

from __future__ import annotations

import statistics

from bench._results import Results
from bench.search import compare, reference

WORTH = 1.2
WITHOUT = {
    "sharing": "no sharing",
    "screening": "no screening",
    "halving": "no halving",
}
ADDED = {"supernet": "with supernet"}
QUICK = ("ours", "no sharing")


def run(results: Results, quick: bool) -> None:
    """By idea, time without it over time with it, on each task."""
    tasks = [t for t in reference.TASKS if not compare.missing(t)]
    seeds = compare.SEEDS[:1] if quick else compare.SEEDS
    found: dict[str, dict[str, list[float]]] = {}
    for task in tasks[:1] if quick else tasks:
        runs = compare.gather(task, QUICK if quick else compare.METHODS, seeds, quick)
        shared, whole = compare.standard(task, quick)
        for (method, seed), events in runs.items():
            row = compare.told(events, shared, whole)
            results.row(task=task, method=method, seed=seed, **row)
        for idea, method in {**WITHOUT, **ADDED}.items():
            pair = ("ours", method) if idea in ADDED else (method, "ours")
            if (method, seeds[0]) in runs:
                found.setdefault(idea, {})[task] = [
                    compare.times(runs, *pair, seed, shared, whole) for seed in seeds
                ]
    for idea, by_task in found.items():
        best = max(by_task, key=lambda task: statistics.median(by_task[task]))
        for task, ratios in by_task.items():
            middle = statistics.median(ratios)
            results.figure(
                f"{task}: CPU-seconds to 95 %, without / with {idea}",
                middle,
                f">= {WORTH:g} on one task at least",
                statistics.median(by_task[best]) >= WORTH,
                "times",
                min(ratios),
                max(ratios),
            )
