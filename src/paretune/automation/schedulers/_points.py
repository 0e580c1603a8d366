"""Trials at a rung as points: a row each, a column an objective, lower is better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paretune.core.budget import FOOTPRINT
from paretune.core.strategy import History, Objective
from paretune.core.trial import Trial

WORST = 1e300  # of a figure that isn't there


def points(trials: Sequence[Trial], history: History, index: int | None) -> np.ndarray:
    """Figures of trials; the logarithm of those of the footprint.

    Args:
        trials: one row each.
        history: the objectives.
        index: of the rung that quality is taken from; None: from the end.
    """
    columns = [
        [_figure(trial, objective, index) for trial in trials]
        for objective in history.objectives
    ]
    return np.array(columns, float).T.reshape(len(trials), len(columns))


def _figure(trial: Trial, objective: Objective, index: int | None) -> float:
    name = objective.metric
    sign = 1.0 if objective.better == "lower" else -1.0
    if name not in FOOTPRINT and index is not None:
        value = float(trial.rungs[index]["quality"].get(name, np.nan))
    elif name in trial.measurements:
        value = trial.measurements[name].value
        if name in FOOTPRINT and value > 0:
            value = float(np.log(value))
    else:
        return WORST
    return sign * value if np.isfinite(value) else WORST


def nondominated(figures: np.ndarray) -> np.ndarray:
    """A mask of the rows that no other row beats: no worse anywhere, better somewhere.

    Example:
        >>> nondominated(np.array([[1, 2], [2, 1], [2, 2]])).tolist()
        [True, True, False]
    """
    alive = np.lexsort(figures.T[::-1])  # what beats a row comes before it
    found = np.zeros(len(figures), bool)
    while len(alive):
        first, rest = alive[0], alive[1:]
        found[first] = True
        own, others = figures[first], figures[rest]
        beaten = (own <= others).all(1) & (own < others).any(1)
        alive = rest[~beaten]
    return found
