"""What came of trials, as numbers that samplers compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

from paretune.core.strategy import History
from paretune.core.trial import INFEASIBLE, Trial

BROKEN = 1e-9  # the least violation that counts as one

Figures = Mapping[str, float]


def values(history: History, trials: Sequence[Trial]) -> list[Figures]:
    """The trials' figures, with the quality that a halted one may be expected to reach.

    That is its quality at its last rung and what finished trials gained from there to
    the end, half of them more and half less; while none has finished, that at the rung.
    """
    ended = [t for t in history.trials if t.ok and t.rungs] if _halts(trials) else []
    gains: dict[tuple[int, str], float] = {}

    def gain(rung: int, metric: str) -> float:
        if (rung, metric) not in gains:
            found = [
                t.values[metric] - float(t.rungs[rung]["quality"][metric])
                for t in ended
                if len(t.rungs) > rung
                and metric in t.values
                and metric in t.rungs[rung]["quality"]
            ]
            gains[rung, metric] = median(found) if found else 0.0
        return gains[rung, metric]

    def expected(trial: Trial) -> Figures:
        if not trial.halted or not trial.rungs:
            return trial.values
        rung = len(trial.rungs) - 1
        reached = trial.rungs[rung]["quality"]
        guess = {m: float(value) + gain(rung, m) for m, value in reached.items()}
        return {**guess, **trial.values}

    return [expected(t) for t in trials]


def _halts(trials: Sequence[Trial]) -> bool:
    return any(t.halted for t in trials)


def losses(history: History, trials: Sequence[Trial]) -> np.ndarray:
    """What to minimise, shape (trials, objectives): ranks from 1 (best) to 2 (worst).

    Ranks keep who dominates whom, and keep one collapsed model, or the units of an
    axis, from deciding what counts as spread. A figure that wasn't taken (a footprint
    that broke the budget was never trained; a failure has none) counts as the worst
    seen: nothing speaks for it.
    """
    known = values(history, trials)
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
    for trial, figures in zip(trials, values(history, trials), strict=True):
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
