"""Does the quality that a subnet inherits tell the quality that it has once tuned?"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.stats import kendalltau

from bench._results import Results
from bench.techniques._deck import TASKS, store
from paretune.automation.supernet import SHARES
from paretune.core.target import Target
from paretune.engine.bench import Bench
from paretune.engine.tasks import find_task

SUBNETS, DRAWS = 20, 2000
# Trainings by task: epochs of the supernet, and of the tuning of each subnet.
EPOCHS = {"fashion": (5, 1), "cifar10": (10, 3)}
GOAL = 0.7


def run(results: Results, quick: bool) -> None:
    """Kendall's tau over random subnets of `fashion`."""
    agreement(results, "fashion", quick)


def run_cifar10(results: Results, quick: bool) -> None:
    """The same on `cifar10`, whose data lie in PARETUNE_DATA."""
    agreement(results, "fashion" if quick else "cifar10", quick)


def agreement(results: Results, name: str, quick: bool) -> None:
    """Rows of inherited and tuned quality on validation, and tau with its interval.

    Args:
        results: where figures go.
        name: of the task.
        quick: three subnets, one epoch each.
    """
    long, short = (1, 1) if quick else EPOCHS[name]
    root = store(f"supernet-{name}{'-quick' if quick else ''}")
    bench = Bench(find_task(TASKS[name]), Target(), root)
    known = bench.preflight()["fingerprint"]
    metric = bench.task.metric
    pairs = []
    for early, middle, late in drawn(3 if quick else SUBNETS):
        steps = [
            {"technique": "supernet", "epochs": long},
            {"technique": "subnet", "early": early, "middle": middle, "late": late},
            {"technique": "distillation", "epochs": short},
        ]
        inherited, tuned = (
            bench.realise(steps[:n], known)["measurements"][metric] for n in (2, 3)
        )
        pair = tuple(float(np.mean(m["values"])) for m in (inherited, tuned))
        pairs.append(pair)
        results.row(
            task=name,
            early=early,
            middle=middle,
            late=late,
            inherited=pair[0],
            tuned=pair[1],
        )
        print(f"{name}: {early} {middle} {late}: {pair[0]:.4f} {pair[1]:.4f}")
    before, after = np.array(pairs).T
    value, low, high = tau(before, after)
    spread = f"tuned {after.min():.3f} to {after.max():.3f}"
    results.figure(
        f"{name}, {len(pairs)} subnets ({spread}): Kendall's tau, inherited and tuned",
        value,
        f">= {GOAL}",
        value >= GOAL,
        "",
        low,
        high,
    )
    for what, values in (("inherited", before), ("tuned", after)):
        points = 100 * float(np.ptp(values))
        results.figure(
            f"{name}: spread of {what} quality", points, ">= 3", points >= 3, "pt"
        )


def drawn(count: int) -> list[tuple[float, float, float]]:
    """Different random widths of the three thirds, the same in every run."""
    every = list(itertools.product(SHARES, repeat=3))
    chosen = np.random.default_rng(0).choice(len(every), count, replace=False)
    return [every[number] for number in chosen]


def tau(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Kendall's tau-b, and its 95 % interval by bootstrap over the pairs."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(DRAWS):
        rows = rng.integers(0, len(one), len(one))
        found.append(kendalltau(one[rows], other[rows]).statistic)
    low, high = np.nanpercentile(found, (2.5, 97.5))
    return float(kendalltau(one, other).statistic), float(low), float(high)
