"""What came of trials, as numbers that samplers compare."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from paretune.automation._outlook import outlook
from paretune.core.strategy import History
from paretune.core.trial import INFEASIBLE, Trial

BROKEN = 1e-9  # the least violation that counts as one


def losses(history: History, trials: Sequence[Trial]) -> np.ndarray:
    """What to minimise, shape (trials, objectives): ranks from 1 (best) to 2 (worst).

    Ranks keep who dominates whom, and keep one collapsed model, or the units of an
    axis, from deciding what counts as spread. A figure that wasn't taken (a footprint
    that broke the budget was never trained; a failure has none) counts as the worst
    seen: nothing speaks for it.
    """
    known = outlook(history, trials)
    found = np.full((len(trials), len(history.objectives)), 2.0)
    for column, objective in enumerate(history.objectives):
        sign = 1.0 if objective.better == "lower" else -1.0
        taken = {
            row: sign * figures[objective.metric]
            for row, figures in enumerate(known)
            if objective.metric in figures
        }
        _, ranks = np.unique(list(taken.values()), return_inverse=True)
        worst = max(1, int(ranks.max(initial=0)))
        found[list(taken), column] = 1.0 + ranks / worst
    return found


def violations(history: History, trials: Sequence[Trial]) -> list[float]:
    """By how much each trial breaks the budget; above 0 where it does.

    The shares by which limits are missed, added up. One that was left for its
    prediction, with no figure, counts as a usual miss. Trials that failed are broken
    worse than any other.
    """
    base = history.baseline.values if history.baseline else {}
    found: list[float] = []
    for trial, figures in zip(trials, outlook(history, trials), strict=True):
        broken = BROKEN if trial.state == INFEASIBLE else 0.0
        for constraint in history.budget.constraints:
            value = figures.get(constraint.metric)
            known = constraint.metric in base or not constraint.relation
            if value is not None and known and not constraint.met(value, base):
                limit = constraint.limit(base)
                missed = abs(value - limit) / max(abs(limit), 1e-12)
                broken += max(missed, BROKEN)
        found.append(broken)
    worst = max(found, default=0.0)
    usual = median([v for v in found if v > BROKEN] or [1.0])
    return [
        worst + 1.0
        if trial.state.startswith("failed")
        else max(broken, usual)
        if trial.foreseen
        else broken
        for broken, trial in zip(found, trials, strict=True)
    ]
