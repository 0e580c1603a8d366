"""Who is on the frontier."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier._columns import Axis, Columns, axes
from paretune.frontier._compare import allowed
from paretune.frontier._figures import distinct, figures, signs
from paretune.frontier._frontier import Frontier
from paretune.frontier._verdicts import hopeful, verdicts

CHAMPIONS, BLOCK = 64, 1024  # trials that all others are held against, these at once


def frontier(study: Study) -> Frontier:
    """The trials that no other dominates, of those that are ok.

    Of trials that gave the very same file one counts. Where verdicts run
    in a circle (a beats b, b beats c and c beats a, each on another axis, all else
    tied) and nothing outside it beats any of them, the plain figures decide among
    the circle. So there is a member if any trial is ok, and whatever isn't a member
    is dominated by some trial, or a copy of one.
    """
    trials = distinct(study)
    if not trials:
        return assembled(study, (), np.zeros(0, dtype=bool))
    return assembled(study, trials, undominated(study, trials))


def undominated(study: Study, trials: Sequence[Trial]) -> np.ndarray:
    """Which of the trials are members, shape (trials,).

    Most are beaten by one of a few, so those are looked at first, and a trial is done
    with once something beats it. Whoever descends from an unbeaten trial is no part of
    a circle that counts; only the rest, mostly none, are compared among themselves.
    """
    on = axes(study, trials)
    rows = Columns.of(study, on, trials)
    order = np.argsort(-_strength(study, rows), kind="stable")
    rows = rows.at(order)
    parents = _beaten_by(study, on, rows)
    free = parents < 0
    found = free.copy()
    rest = _not_below(parents, free)
    beats: dict[int, np.ndarray] = {}
    while rest.size:
        for row in rest.tolist():
            if row not in beats:
                beats[row] = _all_over(study, on, rows, row)
        within = np.zeros(len(rows), dtype=bool)
        within[rest] = True
        stay = [r for r in rest.tolist() if within[beats[r]].all()]
        if len(stay) == len(rest):
            among = np.zeros((len(stay), len(stay)), dtype=bool)
            place = {row: i for i, row in enumerate(stay)}
            for row in stay:
                among[[place[w] for w in beats[row].tolist()], place[row]] = True
            found[rest] = kept(study, [rows.trials[r] for r in stay], among)
            break
        rest = np.array(stay, dtype=int)
    members = np.zeros(len(rows), dtype=bool)
    members[order] = found
    return members


def _strength(study: Study, rows: Columns) -> np.ndarray:
    """Who is likely to beat many, shape (trials,): the mean of its ranks by figure."""
    gains = figures(study, rows.trials) * signs(study)
    return np.asarray(gains.argsort(axis=0).argsort(axis=0).min(axis=1))


def _beaten_by(study: Study, on: Sequence[Axis], rows: Columns) -> np.ndarray:
    """For each row one that dominates it, -1 where none does."""
    parents = np.full(len(rows), -1)
    left = np.arange(len(rows))
    first = np.arange(min(CHAMPIONS, len(rows)))
    for start in range(0, len(rows), BLOCK):
        some = left[start : start + BLOCK]
        winner, loser = np.tile(first, len(some)), np.repeat(some, len(first))
        apart = winner != loser
        winner, loser = winner[apart], loser[apart]
        found = verdicts(study, on, rows, rows, (winner, loser)) > 0
        parents[loser[found]] = winner[found]
    left = np.flatnonzero(parents < 0)
    for start in range(0, len(left), CHAMPIONS):
        some = left[start : start + CHAMPIONS]
        rivals = [np.flatnonzero(hopeful(on, rows, row)) for row in some.tolist()]
        winner = np.concatenate(rivals)
        loser = np.repeat(some, [len(r) for r in rivals])
        fresh = winner >= len(first)
        winner, loser = winner[fresh], loser[fresh]
        found = verdicts(study, on, rows, rows, (winner, loser)) > 0
        parents[loser[found]] = winner[found]
    return parents


def _not_below(parents: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The rows whose line of parents doesn't lead up to a free one."""
    up = np.where(free, np.arange(len(parents)), parents)
    for _ in range(len(parents).bit_length()):
        up = up[up]
    return np.flatnonzero(~free[up])


def _all_over(study: Study, on: Sequence[Axis], rows: Columns, row: int) -> np.ndarray:
    """All rows that dominate this one."""
    rivals = np.flatnonzero(hopeful(on, rows, row))
    here = np.full(len(rivals), row)
    return rivals[verdicts(study, on, rows, rows, (rivals, here)) > 0]


def kept(study: Study, trials: Sequence[Trial], beats: np.ndarray) -> np.ndarray:
    """Which of the trials are members, shape (trials,), given who dominates whom.

    Args:
        study: that they are of.
        trials: all that dominate any of them among them.
        beats: shape (trials, trials): whether the row's dominates the column's.
    """
    found: np.ndarray = np.logical_not(beats.any(axis=0))
    if circles := _circles(beats):
        gains = figures(study, trials) * signs(study)
        for circle in circles:
            for i in circle:
                found[i] = not any(
                    (gains[j] >= gains[i]).all()
                    and (gains[j] > gains[i]).any()
                    and allowed(trials[j], trials[i], study)
                    for j in circle
                )
    return found


def assembled(study: Study, trials: Sequence[Trial], members: np.ndarray) -> Frontier:
    """The frontier of which these are the members."""
    chosen = [t for t, keep in zip(trials, members, strict=True) if keep]
    numbers = {t.number for t in chosen}
    rest = (t for t in study.trials if t.ok and t.number not in numbers)
    return Frontier(
        study,
        tuple(sorted(chosen, key=lambda t: rank(t, study))),
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


def rank(trial: Trial, study: Study) -> tuple[float, float, int]:
    """What members are sorted by: the best quality first, then the smallest."""
    metric, better = next(iter(study.metrics.items()), ("", "higher"))
    quality = trial.values.get(metric, -math.inf if better == "higher" else math.inf)
    size = trial.values.get("size", math.inf)
    return (-quality if better == "higher" else quality), size, trial.number
