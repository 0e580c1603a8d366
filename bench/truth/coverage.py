"""95 % intervals of quality: how often do they hold the figure on all the data?

The population is either the answers of the built-in task's model to its whole test
split, or simulated. A test set is drawn from it with replacement: it stands for a draw
from all data there could be, of which a split is no large share. A draw without
replacement of a tenth of the split varies less, and the intervals hold a little more
often; that figure is printed beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from bench._results import Results
from bench.truth._candidates import outcomes
from paretune.core.measurement import Measurement
from paretune.core.statistics import wilson
from paretune.frontier import difference

SETS = 500
COUNTS = (100, 1_000, 10_000)
ACCURACIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99)
GOAL, LEAST, MOST = "0.92-0.98", 0.92, 0.98


def measured(scores: np.ndarray) -> Measurement:
    values = tuple(scores.astype(float).tolist())
    return Measurement("accuracy", "1", "higher", values, "samples", split="test")


def answers() -> np.ndarray:
    """Which images of its test split the built-in model has right, bool."""
    import torch

    from paretune.engine.tasks import find_task

    torch.set_num_threads(1)
    task = find_task("fashion")
    model = task.model()
    right = []
    with torch.inference_mode():
        for images, labels in task.batches("test"):
            outputs = model(torch.as_tensor(images)).numpy()
            right.append(task.quality(outputs, labels)["accuracy"])
    return np.concatenate(right)


def held(sets: Iterable[np.ndarray], truth: float) -> float:
    """The share of test sets whose interval holds the truth."""
    ends = [measured(scores).interval for scores in sets]
    return sum(e.low <= truth <= e.high for e in ends) / len(ends)


def exact(count: int) -> tuple[float, float]:
    """(smallest, largest) coverage, computed, of accuracies from 0.5 to 0.99."""
    from scipy.stats import binom

    right = np.arange(count + 1)
    low, high = np.array([wilson(r, count) for r in right]).T
    shares = np.linspace(0.5, 0.99, 491)
    found = [
        binom.pmf(right, count, p)[(low <= p + 1e-12) & (p - 1e-12 <= high)].sum()
        for p in shares
    ]
    return float(min(found)), float(max(found))


def run(results: Results, quick: bool) -> None:
    rng = np.random.default_rng(0)
    counts = COUNTS[:2] if quick else COUNTS
    _real(results, rng, SETS, (100, 500, 1_000)[: 2 if quick else 3])
    _simulated(results, rng, SETS, counts)
    _paired(results, rng, SETS, counts)
    _amounts(results, rng, SETS, counts)


def _real(
    results: Results, rng: np.random.Generator, sets: int, counts: tuple[int, ...]
) -> None:
    right = answers()
    truth = float(right.mean())
    for count in counts:
        share = held((rng.choice(right, count) for _ in range(sets)), truth)
        _figure(results, f"real answers ({truth:.3f} right), {count} samples", share)
    apart = held((rng.choice(right, 500, False) for _ in range(sets)), truth)
    print(f"without replacement, 500 of {len(right)}: {apart:.3f}", flush=True)
    results.row(what="real answers, 500, without replacement", covered=apart)


def _simulated(
    results: Results, rng: np.random.Generator, sets: int, counts: tuple[int, ...]
) -> None:
    """By 500 draws of each, and computed: in 500 a share of 0.92 may look like 0.90."""
    inside = 0
    for count in counts:
        for truth in ACCURACIES:
            share = held((rng.random(count) < truth for _ in range(sets)), truth)
            inside += LEAST <= share <= MOST
            what = f"accuracy {truth}, {count} samples"
            results.row(what=what, covered=share, sets=sets)
            print(what, share, flush=True)
        what = f"accuracy, {count} samples, every share from 0.5 to 0.99, computed"
        for which, share in zip(("smallest", "largest"), exact(count), strict=True):
            _figure(results, f"{what}: {which}", share)
    every = len(counts) * len(ACCURACIES)
    results.figure(
        f"of {every} accuracies and sizes, {sets} test sets each: within {GOAL}",
        inside,
        f"== {every}",
        inside == every,
    )


def _paired(
    results: Results, rng: np.random.Generator, sets: int, counts: tuple[int, ...]
) -> None:
    """Two models of equal accuracy, and two that are 1 point apart."""
    for count in counts:
        for apart in (0.0, 0.01):
            hit = 0
            for _ in range(sets):
                first, second = outcomes(rng, 2, count)
                second &= rng.random(count) >= apart / 0.9
                told = difference(measured(first), measured(second))
                hit += told.low <= apart <= told.high
            what = f"paired difference of {100 * apart:g} pt, {count} samples"
            share = hit / sets
            # At 100 samples two models differ on a handful: exact tests are careful.
            results.figure(what, share, ">= 0.92", share >= LEAST)


def _amounts(
    results: Results, rng: np.random.Generator, sets: int, counts: tuple[int, ...]
) -> None:
    """Errors that are skewed, as absolute ones are: the bootstrap's intervals."""
    truth = math.exp(0.5)
    for count in counts[:2]:
        drawn = (rng.lognormal(0.0, 1.0, count) for _ in range(sets))
        share = held(drawn, truth)
        what = f"mean of skewed errors, {count} samples"
        results.figure(what, share, ">= 0.9", share >= 0.9)


def _figure(results: Results, what: str, share: float) -> None:
    results.figure(
        f"{what}: intervals that hold it", share, GOAL, LEAST <= share <= MOST
    )
