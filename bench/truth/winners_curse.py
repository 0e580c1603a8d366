"""The luckiest of many equal candidates: are its certified figures the truth?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench._results import Results
from bench.truth._candidates import TRUTH, certified, search
from paretune.frontier import frontier
from paretune.report._certified import interval, optimism

SIMULATIONS, CANDIDATES, VALIDATION, TEST = 200, 50, 3_000, 5_000


@dataclass(frozen=True)
class Found:
    """What was said of the member that is best on validation, in accuracy.

    Attributes:
        validation: its accuracy there.
        naive: whether that figure's own interval holds the truth.
        test: its accuracy on test.
        holds: whether the certified interval holds the truth.
        gap: the optimism gap.
        gap_holds: whether the interval of the gap holds what it really is: the
            accuracy on validation less the truth.
    """

    validation: float
    naive: bool
    test: float
    holds: bool
    gap: float
    gap_holds: bool


def one(seed: int, candidates: int, validation: int, test: int) -> Found:
    """One search over equal candidates and the certification of its frontier."""
    rng = np.random.default_rng(seed)
    study = certified(search(rng, candidates, validation), rng, test)
    members = (t for t in frontier(study).members if t.number)
    best = max(members, key=lambda t: t.values["accuracy"])
    before = best.measurements["accuracy"]
    after = study.certified[best.number]["accuracy"]
    proven, gap = interval(study, after), optimism(study, best, "accuracy")
    assert gap is not None
    return Found(
        before.value,
        before.interval.low <= TRUTH <= before.interval.high,
        after.value,
        proven.low <= TRUTH <= proven.high,
        gap.value,
        gap.low <= before.value - TRUTH <= gap.high,
    )


def run(results: Results, quick: bool) -> None:
    """Many searches, each certified on samples of its own."""
    times, candidates = (20, 20) if quick else (SIMULATIONS, CANDIDATES)
    found = [one(seed, candidates, VALIDATION, TEST) for seed in range(times)]
    for seed, each in enumerate(found):
        results.row(what=f"best of {candidates} equal", seed=seed, **vars(each))
    holds = sum(f.holds for f in found) / times
    results.figure(
        f"best of {candidates} equal candidates: certified interval holds the truth",
        holds,
        ">= 0.9",
        holds >= 0.9,
    )
    naive = sum(f.naive for f in found) / times
    gap = 100 * float(np.mean([f.gap for f in found]))
    print(
        f"the interval of its validation figure holds the truth in {naive:.0%}; the "
        f"optimism gap is {gap:+.2f} pt on average"
    )
