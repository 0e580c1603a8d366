"""Searches in which nothing is better: how often is "better" said all the same?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench._results import Results
from bench.truth._candidates import certified, search
from paretune.frontier import difference, frontier
from paretune.report._figures import change
from paretune.report.verdict import pick

SEEDS, CANDIDATES, VALIDATION, TEST = 200, 100, 3_000, 5_000


@dataclass(frozen=True)
class Found:
    """What one search over equal candidates ended with.

    Attributes:
        members: of its frontier, that were certified.
        better: members called better than the baseline in accuracy, on test.
        worse: likewise, worse.
        chosen: the one that is handed over; its verdict in accuracy on test.
        naive: whether the luckiest is significantly better by McNemar, on validation.
        gain: of the luckiest over the baseline on validation, a share.
    """

    members: int
    better: int
    worse: int
    chosen: int
    naive: bool
    gain: float


def one(seed: int, candidates: int, validation: int, test: int) -> Found:
    """One search, its certification and what is then said of the members."""
    rng = np.random.default_rng(seed)
    study = search(rng, candidates, validation)
    base = study.trials[0].measurements["accuracy"]
    lucky = max(study.trials[1:], key=lambda t: t.values["accuracy"])
    apart = difference(lucky.measurements["accuracy"], base)
    proven = certified(study, rng, test)
    found = frontier(proven)
    changes = [change(proven, t, "accuracy") for t in found.members if t.number]
    verdicts = [c.verdict for c in changes if c is not None]
    best = pick(proven, found)
    said = change(proven, best, "accuracy") if best else None
    return Found(
        len(found.members),
        sum(v > 0 for v in verdicts),
        sum(v < 0 for v in verdicts),
        said.verdict if said else 0,
        apart.p <= 0.05 and apart.value > 0,
        apart.value,
    )


def run(results: Results, quick: bool) -> None:
    """Many searches over equal candidates, each certified on samples of its own."""
    seeds, candidates = (10, 20) if quick else (SEEDS, CANDIDATES)
    found = [one(seed, candidates, VALIDATION, TEST) for seed in range(seeds)]
    for seed, each in enumerate(found):
        results.row(what=f"{candidates} equal candidates", seed=seed, **vars(each))
    wrong = sum(f.better > 0 for f in found) / seeds
    results.figure(
        f'searches of {candidates} equal candidates that claim "better" on test',
        wrong,
        "<= 0.05",
        wrong <= 0.05,
    )
    wrong = sum(f.chosen > 0 for f in found) / seeds
    results.figure(
        'such searches that call the chosen model "better" on test',
        wrong,
        "<= 0.05",
        wrong <= 0.05,
    )
    naive = sum(f.naive for f in found) / seeds
    gain = 100 * float(np.mean([f.gain for f in found]))
    members = float(np.mean([f.members for f in found]))
    print(
        f"on validation the luckiest gains {gain:+.2f} pt, and McNemar's test of it "
        f"alone claims better in {naive:.0%} of the searches; {members:.1f} members "
        "are certified on average"
    )
