"""Who is on the frontier."""

from __future__ import annotations

import math

import numpy as np

from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier._compare import allowed, verdict
from paretune.frontier._figures import distinct, figures, signs
from paretune.frontier._frontier import Frontier


def frontier(study: Study) -> Frontier:
    """The trials that no other dominates, of those that are ok.

    Of trials that gave the very same file one counts. Where verdicts run
    in a circle (a beats b, b beats c and c beats a, each on another axis, all else
    tied) and nothing outside it beats any of them, the plain figures decide among
    the circle. So there is a member if any trial is ok, and whatever isn't a member
    is dominated by some trial, or a copy of one.
    """
    trials = distinct(study)
    count = len(trials)
    beats = np.zeros((count, count), dtype=bool)
    for i in range(count):
        for j in range(i):
            found = verdict(trials[i], trials[j], study)
            beats[i, j], beats[j, i] = found > 0, found < 0
    kept: np.ndarray = np.logical_not(beats.any(axis=0))
    if circles := _circles(beats):
        gains = figures(study, trials) * signs(study)
        for circle in circles:
            for i in circle:
                kept[i] = not any(
                    (gains[j] >= gains[i]).all()
                    and (gains[j] > gains[i]).any()
                    and allowed(trials[j], trials[i], study)
                    for j in circle
                )
    members = [t for t, keep in zip(trials, kept, strict=True) if keep]
    numbers = {t.number for t in members}
    rest = (t for t in study.trials if t.ok and t.number not in numbers)
    return Frontier(
        study,
        tuple(sorted(members, key=lambda t: _rank(t, study))),
        tuple(sorted(rest, key=lambda t: t.number)),
    )


def _circles(beats: np.ndarray) -> list[list[int]]:
    """Groups whose members beat each other in a circle and are beaten by none else."""
    if not beats.any():
        return []
    reach = beats
    while True:
        wider = reach | (reach.astype(np.float32) @ reach.astype(np.float32) > 0)
        if (wider == reach).all():
            break
        reach = wider
    mutual = reach & reach.T
    free = mutual.any(axis=0) & ~(reach & ~reach.T).any(axis=0)
    groups = {tuple(np.flatnonzero(mutual[i]).tolist()) for i in np.flatnonzero(free)}
    return [list(g) for g in sorted(groups)]


def _rank(trial: Trial, study: Study) -> tuple[float, float, int]:
    metric, better = next(iter(study.metrics.items()), ("", "higher"))
    quality = trial.values.get(metric, -math.inf if better == "higher" else math.inf)
    size = trial.values.get("size", math.inf)
    return (-quality if better == "higher" else quality), size, trial.number
