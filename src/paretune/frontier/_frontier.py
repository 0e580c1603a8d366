"""The frontier: its members, what they are worth, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from paretune.core.budget import FOOTPRINT, Budget
from paretune.core.measurement import Interval
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier._compare import dominates
from paretune.frontier._figures import (
    RESAMPLES,
    distinct,
    draw,
    figures,
    reference,
    signs,
)

SOLID = 0.95  # a member at least this probable is a solid one
LEAST_COST = 1e-6  # of the baseline's: costs below it count as it, for the logarithm


@dataclass(frozen=True)
class Frontier:
    """The trials that no other makes pointless; `frontier` finds them.

    Attributes:
        study: that it is of.
        members: best quality first, then the smallest.
        dominated: the other trials that are ok, by number.
    """

    study: Study
    members: tuple[Trial, ...]
    dominated: tuple[Trial, ...]

    def dominates(self, y: Trial, x: Trial) -> bool:
        """Whether y makes x pointless."""
        return dominates(y, x, self.study)

    def within(self, budget: Budget | None = None) -> tuple[Trial, ...]:
        """The members that meet a budget; without one, the study's own."""
        budget = self.study.budget if budget is None else budget
        base = self.study.baseline
        values = base.values if base else {}
        return tuple(t for t in self.members if base and budget.meets(t.values, values))

    def knee(self, among: Sequence[Trial] | None = None) -> Trial | None:
        """The best bargain: the trial whose own box above the reference is largest.

        Args:
            among: whom to choose from; by default the members that meet the budget,
                or all of them if none does.

        Returns:
            None if none of them is better than the reference point on every axis.
        """
        trials = (self.within() or self.members) if among is None else tuple(among)
        volumes = self.volumes(trials)
        if not (volumes > 0).any():
            return None
        return trials[int(volumes.argmax())]

    def volumes(self, trials: Sequence[Trial]) -> np.ndarray:
        """What each trial's box above the reference holds, shape (trials,)."""
        return np.asarray(self._boxes(figures(self.study, trials)).prod(axis=1))

    def likely(self, above: float) -> list[Trial]:
        """The members, and all others that are on it in more than that share."""
        others = (t for t in self.dominated if self.probability[t.number] > above)
        return [*self.members, *others]

    @cached_property
    def reference(self) -> Mapping[str, float]:
        """By metric, the point that hypervolume is measured from.

        Quality: the budget's limit if the baseline is better than it, else a tenth of
        the baseline's own away. Costs: 1.1 times the baseline's. Hypervolumes that
        have different reference points can't be compared.
        """
        base = self.study.baseline
        if base is None:
            return {}
        return {
            o.metric: reference(o, base.values, self.study.budget)
            for o in self.study.objectives
            if o.metric in base.values
        }

    @cached_property
    def hypervolume(self) -> float:
        """The volume that the trials' figures span above the reference point.

        Footprints count by their logarithm; the unit is the baseline's own box, so a
        study that found nothing has 1. NaN if there is no baseline to measure from.
        """
        return self._volume(figures(self.study, distinct(self.study)))

    @cached_property
    def hypervolume_interval(self) -> Interval:
        """95 %, from resamples of the members' figures, centred on the hypervolume."""
        if math.isnan(self.hypervolume):
            return Interval(math.nan, math.nan)
        numbers = {t.number for t in self.members}
        chosen = [t.number in numbers for t in distinct(self.study)]
        volumes = [self._volume(figures[chosen]) for figures in self._replicates]
        # The best of noisy figures is biased upwards, in a resample once more.
        low, high = np.percentile(volumes, (2.5, 97.5)) - np.median(volumes)
        return Interval(self.hypervolume + float(low), self.hypervolume + float(high))

    @cached_property
    def probability(self) -> Mapping[int, float]:
        """By number: the share of resamples in which no other trial beats this one.

        In a resample a trial has one figure an axis and plain dominance holds.
        Quality figures share their resamples; times are drawn trial by trial.
        """
        import moocore

        trials = distinct(self.study)
        meets = np.array([self.study.meets(t) for t in trials], dtype=bool)
        kept = np.zeros(len(trials))
        for gains in self._replicates * signs(self.study):
            free = moocore.is_nondominated(gains, maximise=True, keep_weakly=True)
            if meets.any():
                free[meets] = moocore.is_nondominated(
                    gains[meets], maximise=True, keep_weakly=True
                )
            kept += free
        shares = (kept / RESAMPLES).tolist()
        return {t.number: share for t, share in zip(trials, shares, strict=True)}

    @cached_property
    def _replicates(self) -> np.ndarray:
        """Figures, shape (RESAMPLES, trials, axes)."""
        axes = list(enumerate(self.study.objectives))
        trials = distinct(self.study)
        drawn = [[draw(t, o, i, self.study) for i, o in axes] for t in trials]
        shape = len(trials), len(axes), RESAMPLES
        return np.moveaxis(np.array(drawn).reshape(shape), 2, 0)

    def _boxes(self, figures: np.ndarray) -> np.ndarray:
        """Gains above the reference point on each axis: 0 there, 1 at the baseline."""
        base = self.study.baseline
        if base is None or len(self.reference) < len(self.study.objectives):
            return np.full(figures.shape, np.nan)
        gains = np.zeros(figures.shape)
        for i, o in enumerate(self.study.objectives):
            column: np.ndarray = figures[..., i]
            zero, one = self.reference[o.metric], base.values[o.metric]
            if o.metric in FOOTPRINT and one > 0:
                column = np.log(np.maximum(column, LEAST_COST * one))
                zero, one = math.log(zero), math.log(one)
            if one != zero:
                gains[..., i] = (column - zero) / (one - zero)
        return np.maximum(gains, 0.0)

    def _volume(self, figures: np.ndarray) -> float:
        import moocore

        boxes = self._boxes(figures)
        if not boxes.size or np.isnan(boxes).any():
            return math.nan
        return float(moocore.hypervolume(boxes, ref=0.0, maximise=True))
