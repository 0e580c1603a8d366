"""What a halted trial may still add to the frontier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from paretune.automation._outlook import outlook, told
from paretune.automation._points import WORST, corner, nondominated, points
from paretune.core.budget import FOOTPRINT
from paretune.core.strategy import History
from paretune.core.trial import Trial

SPREADS = 2.0  # standard deviations that a guess is optimistic by


@dataclass
class Promise:
    """Halted trials beside the finished ones, at an optimistic guess of their quality.

    Args:
        trials: halted at one rung, one or more.
        history: with the finished trials.
        index: of the rung.
    """

    trials: Sequence[Trial]
    history: History
    index: int
    _told: bool = field(init=False)
    _guesses: np.ndarray = field(init=False)  # shape (trials, objectives)
    _known: np.ndarray = field(init=False)  # of finished trials that no other beats
    _limits: np.ndarray | None = field(init=False)
    _quality: np.ndarray = field(init=False)  # of the objectives, those that are

    def __post_init__(self) -> None:
        history = self.history
        self._told = told(history, self.index)
        spreads = SPREADS if self._told else 0.0
        self._guesses = points(outlook(history, self.trials, spreads), history)
        found = points([t.values for t in history.trials if t.ok], history)
        found = found[(found < WORST).all(1)]
        self._known = found[nondominated(found)]
        self._limits = corner(history)
        self._quality = np.array(
            [o.metric not in FOOTPRINT for o in history.objectives]
        )

    def greatest(self) -> Trial | None:
        """The trial that may add most to the volume that finished ones span.

        Within the budget's limits; None if nothing is added by any.
        """
        if self._limits is None:
            return None
        # What isn't known before the end, such as how weights compress, is left out.
        there = self._quality | (self._guesses < WORST).all(0)
        guesses, limits = self._guesses[:, there], self._limits[there]
        known = self._known[:, there]
        free = np.flatnonzero(nondominated(guesses) & (guesses < limits).all(1))
        if not free.size:
            return None
        volumes = [_volume(np.vstack((known, row)), limits) for row in guesses[free]]
        best = int(np.argmax(volumes))
        if volumes[best] <= _volume(known, limits):
            return None
        return self.trials[int(free[best])]

    def hopeful(self) -> list[Trial]:
        """Those that may yet reach the frontier; all, while few have finished.

        Once a finished trial is within the limits, whoever adds nothing to the volume
        within them may not; before, those that a finished one dominates.
        """
        if not self._told:
            return list(self.trials)
        unknown = ~self._quality & (self._guesses >= WORST)
        within = self._limits is not None and _volume(self._known, self._limits) > 0
        if within and not unknown.any():
            return []
        guesses = np.where(unknown, -np.inf, self._guesses)  # may be the best
        lost = np.zeros(len(self.trials), bool)
        for row in self._known:
            lost |= (row <= guesses).all(1) & (row < guesses).any(1)
        return [t for t, gone in zip(self.trials, lost, strict=True) if not gone]


def _volume(figures: np.ndarray, limits: np.ndarray) -> float:
    import moocore

    if not len(figures):
        return 0.0
    return float(moocore.hypervolume(figures, ref=limits))
