"""What a halted trial may still come to, by what finished ones of the study came to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paretune.automation.schedulers._points import WORST, nondominated, points
from paretune.core.budget import FOOTPRINT
from paretune.core.strategy import History
from paretune.core.trial import Trial

ENOUGH = 4  # finished trials, below which nothing is said
SPREADS = 2.0  # standard deviations that a guess is optimistic by


def hopeless(trials: Sequence[Trial], history: History, index: int) -> np.ndarray:
    """Which of these, halted at a rung, are dominated even by an optimistic guess.

    The guess: the quality at the rung, and what finished trials gained from this rung
    to the end, on the mean and two standard deviations more.

    Args:
        trials: halted at that rung.
        history: with the finished trials.
        index: of the rung.

    Source: Domhan, Springenberg, Hutter 2015, IJCAI (stopping by extrapolation; the
    model of the curve here is the study's own gains).
    """
    ended = [t for t in history.trials if t.ok]
    climbed = [t for t in ended if len(t.rungs) > index]
    if len(climbed) < ENOUGH:
        return np.zeros(len(trials), bool)
    quality = np.array([o.metric not in FOOTPRINT for o in history.objectives])
    gains = points(climbed, history, None) - points(climbed, history, index)
    gain = np.where(quality, gains.mean(0) - SPREADS * gains.std(0, ddof=1), 0.0)
    guess = points(trials, history, index)
    # What isn't known before the end, such as how weights compress, may be the best.
    guess = np.where(~quality & (guess >= WORST), -np.inf, guess + gain)
    known = points(ended, history, None)
    known = known[(known < WORST).all(1)]
    known = known[nondominated(known)]
    lost = np.zeros(len(trials), bool)
    for row in known:
        lost |= (row <= guess).all(1) & (row < guess).any(1)
    return lost
