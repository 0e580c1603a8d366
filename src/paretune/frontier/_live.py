"""The frontier of a search under way, trial by trial."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier._columns import Columns, axes
from paretune.frontier._figures import distinct
from paretune.frontier._frontier import Frontier
from paretune.frontier._members import assembled, rank
from paretune.frontier._verdicts import verdicts


class Live:
    """Members so far: a new trial is compared with them alone, and what falls is gone.

    So a trial costs about the same after ten thousand as after ten. Dominance isn't
    transitive, so one may be a member here that only a fallen trial beats: `frontier`
    of the whole study has the last word.

    Args:
        study: without its trials.
    """

    def __init__(self, study: Study) -> None:
        self._study = replace(study, trials=())
        self._baseline: tuple[Trial, ...] = ()
        self._columns: Columns
        self._volumes: np.ndarray
        self._files: dict[str, Trial]
        self._begin(())

    @property
    def members(self) -> tuple[Trial, ...]:
        """So far, in the order in which they came."""
        return self._columns.trials

    @property
    def fits(self) -> bool:
        """Whether a member meets the budget."""
        return bool(self._columns.meets.any())

    @property
    def best(self) -> Trial | None:
        """The best bargain among the members that meet the budget, as `Frontier.knee`.

        The first of them where none is better than the reference; None if none meets.
        """
        volumes = np.where(self._columns.meets, self._volumes, -1.0)
        if not self.fits:
            return None
        if volumes.max() <= 0:
            fit = np.flatnonzero(self._columns.meets).tolist()
            return min((self.members[i] for i in fit), key=lambda t: t.number)
        same = np.flatnonzero(volumes == volumes.max()).tolist()
        return min((self.members[i] for i in same), key=lambda t: rank(t, self._alone))

    def add(self, trial: Trial) -> bool:
        """Whether it becomes a member. The baseline comes first."""
        if not trial.ok:
            return False
        if trial.number == 0:
            self._baseline = (trial,)
            self._begin(self.members)
        elif not self.members:
            self._begin((), trial)
        if self._copied(trial):
            return False
        one = Columns.of(self._alone, self._axes, [trial])
        count = len(self.members)
        pairs = np.zeros(count, dtype=int), np.arange(count)
        found = verdicts(self._alone, self._axes, one, self._columns, pairs)
        if (found < 0).any():
            return False
        stay = np.append(found < 1, True)
        joined = self._columns.join(one)
        self._columns = joined if stay.all() else joined.at(np.flatnonzero(stay))
        self._volumes = np.append(self._volumes, self._worth((trial,)))[stay]
        if trial.artifact is not None:
            self._files[trial.artifact] = trial
        return True

    def frontier(self, *others: Trial) -> Frontier:
        """It so far, of a study of its members, the baseline and `others`."""
        study = self._of((*self.members, *others))
        return assembled(study, self.members, np.ones(len(self.members), dtype=bool))

    def of(self, *trials: Trial) -> Study:
        """The study with these and its baseline alone."""
        return self._of(trials)

    def _copied(self, trial: Trial) -> bool:
        """Whether it is a copy of another that counts; else it takes its place."""
        other = self._files.get(trial.artifact or "")
        if other is None or other.number == trial.number:
            return False
        (first,) = (
            t
            for t in distinct(self._of((other, trial)))
            if t.artifact == trial.artifact
        )
        if first is not trial:
            return True
        stay = np.array([t is not other for t in self.members], dtype=bool)
        self._columns = self._columns.at(np.flatnonzero(stay))
        self._volumes = self._volumes[stay]
        return False

    def _begin(self, members: tuple[Trial, ...], *others: Trial) -> None:
        """Sets up what follows from the baseline, and from the first trials."""
        self._alone = self._of(())
        self._axes = axes(self._alone, (*members, *others))
        self._columns = Columns.of(self._alone, self._axes, members)
        self._whole = Frontier(self._alone, (), ())
        self._volumes = self._worth(members)
        known = (*members, *self._baseline)
        self._files = {t.artifact: t for t in known if t.artifact is not None}

    def _worth(self, trials: tuple[Trial, ...]) -> np.ndarray:
        """Their boxes' volumes, 0 where there is no baseline; shape (trials,)."""
        return np.asarray(np.nan_to_num(self._whole.volumes(trials)))

    def _of(self, trials: tuple[Trial, ...]) -> Study:
        """The study with these and its baseline, by number."""
        known = {t.number: t for t in (*trials, *self._baseline)}
        return replace(self._study, trials=tuple(known[n] for n in sorted(known)))
