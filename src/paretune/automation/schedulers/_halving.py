"""Which halted trial goes on: the one that promises the frontier most."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from paretune.automation._outlook import ENOUGH, outlook
from paretune.automation._points import nondominated, points
from paretune.automation.schedulers._promise import Promise
from paretune.core.recipe import SHORT
from paretune.core.strategy import History
from paretune.core.trial import Trial

LEAST = 0.5  # epochs of the lowest rung

Rungs = Callable[[int], tuple[float, ...]]
Level = tuple[float, int]  # the lowest share of a ladder, and the index of a rung


def ladder(epochs: int, eta: int) -> tuple[float, ...]:
    """Shares of a training, each `eta` times the one before, up to 1.0.

    Args:
        epochs: of the training; a short one has no rungs.
        eta: 2 or more.

    Example:
        >>> ladder(20, 3)
        (0.037037037037037035, 0.1111111111111111, 0.3333333333333333, 1.0)
    """
    if epochs <= SHORT:
        return (1.0,)
    count = math.floor(math.log(epochs / LEAST, eta) + 1e-9)
    return (*(eta**-n for n in range(count, 0, -1)), 1.0)


def promoted(history: History, rungs: Rungs, eta: int, curves: bool) -> int | None:
    """The number of the halted trial that goes on; None if no place is free.

    At each rung, the highest first, one place in `eta` is free to go on, and at least
    one. It is given to the trial that may add most to the hypervolume of the finished
    ones within the budget's limits; if none may, to the one of the best quality that
    no other halted there beats. Trials that break the budget by their footprint come
    last. While fewer than four have gone on, whoever may add something does: what
    halted trials come to is told by those that were finished.

    Args:
        history: of the search.
        rungs: the ladder of a trial, by its number.
        eta: of so many trials, one goes on.
        curves: whether those are passed over that can't reach the frontier any more.
    """
    there: Mapping[Level, list[Trial]] = _levels(history, rungs)
    under_way = {t.number for t in history.reopened}
    for level in sorted(there, key=lambda found: -found[1]):
        index, trials = level[1], there[level]
        waiting = [
            t
            for t in trials
            if t.halted and len(t.rungs) == index + 1 and t.number not in under_way
        ]
        halted = {t.number for t in waiting}
        went = len(trials) - len(halted)
        full = went >= max(1, len(trials) // eta)
        if not waiting or (full and went >= ENOUGH):
            continue
        promise = Promise(_fitting(waiting, history), history, index)
        if (greatest := promise.greatest()) is not None:
            return greatest.number
        left = promise.hopeful() if curves else promise.trials
        if left and not full:
            return _best(left, history).number
    return None


def _levels(history: History, rungs: Rungs) -> dict[Level, list[Trial]]:
    """The trials that have reached each rung of each ladder."""
    found: dict[Level, list[Trial]] = defaultdict(list)
    for trial in (*history.trials, *history.reopened):
        if trial.rungs:
            lowest = rungs(trial.number)[0]
            for index in range(len(trial.rungs)):
                found[lowest, index].append(trial)
    return found


def _fitting(trials: list[Trial], history: History) -> list[Trial]:
    """Those whose footprint meets the budget; all if none does."""
    base = history.baseline
    if base is None or not history.budget.constraints:
        return trials
    values = base.values
    found = [t for t in trials if not history.budget.broken(t.values, values)]
    return found or trials


def _best(trials: Sequence[Trial], history: History) -> Trial:
    """Of those that none beats, the one of the best quality."""
    figures = points(outlook(history, trials), history)
    free = np.flatnonzero(nondominated(figures))
    return trials[int(free[np.argmin(figures[free, 0])])]
