"""Trials as points: a row each, a column an objective, lower is better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paretune.automation._outlook import Figures
from paretune.core.budget import FOOTPRINT
from paretune.core.strategy import History, Objective
from paretune.frontier import reference

WORST = 1e300  # of a figure that isn't there


def points(found: Sequence[Figures], history: History) -> np.ndarray:
    """Figures as points; of those of the footprint the logarithm.

    Args:
        found: by metric, one row each.
        history: the objectives.
    """
    columns = [
        [_figure(figures.get(o.metric, np.nan), o) for figures in found]
        for o in history.objectives
    ]
    return np.array(columns, float).T.reshape(len(found), len(columns))


def corner(history: History) -> np.ndarray | None:
    """The point that hypervolume is measured from: the limits, where there are any.

    Where the budget says nothing, as `Frontier.reference` has it. None while there is
    no baseline with all of the objectives.
    """
    base = history.baseline.values if history.baseline else {}
    if any(o.metric not in base for o in history.objectives):
        return None
    found = []
    for o in history.objectives:
        limit = reference(o, base, history.budget)
        own = [
            c.limit(base) for c in history.budget.constraints if c.metric == o.metric
        ]
        found.append(min(_figure(value, o) for value in (limit, *own)))
    return np.array(found)


def _figure(value: float, objective: Objective) -> float:
    if objective.metric in FOOTPRINT and value > 0:
        value = float(np.log(value))
    sign = 1.0 if objective.better == "lower" else -1.0
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
