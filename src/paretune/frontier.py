"""Which of the trials are worth having: dominance that takes noise for noise.

y dominates x if y is better than x, or can't be told from it, on every axis, and is
certainly better on one. On quality, not to be told apart is not enough, since too few
samples would make everything equal: y must be shown to be no worse by 1 % of the
baseline or more. "Can't be told apart" is not transitive, so dominance is judged for
each pair by itself and never chained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from paretune.core.budget import FOOTPRINT, Budget
from paretune.core.measurement import Interval, Measurement
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.trial import Trial

RESAMPLES = 1_000
COST_MARGIN = 1.1  # the reference point's cost, over the baseline's
QUALITY_DROP = 0.1  # and its quality below the baseline's, where no budget says
SOLID = 0.95  # a member at least this probable is a solid one
INFERIOR = 0.01  # of the baseline's quality: MLPerf's 99 %
LEAST_COST = 1e-6  # of the baseline's: costs below it count as it, for the logarithm


def compare(x: Trial, y: Trial, objective: Objective, noise: float = 0.0) -> int:
    """1 if x is certainly better than y on this axis, -1 if worse, 0 if it's a tie.

    Exact figures are compared as they are. Times: the 95 % interval of log(x/y)
    excludes 0, and the ratio is beyond `noise`. Quality on the same samples: the
    95 % interval of the paired difference excludes 0. Anything else: the intervals
    don't overlap. No figure at all is worse than any figure.

    Args:
        x: a trial; number 0 is the baseline, whose ratio to itself is 1.
        y: another.
        objective: the axis.
        noise: the share by which one model differs from itself on this host.
    """
    a, b = (t.measurements.get(objective.metric) for t in (x, y))
    if a is None or b is None:
        return (b is None) - (a is None)
    if a.kind == b.kind == "exact":
        low = high = a.value - b.value
    elif a.kind == b.kind == "launches":
        low, high = _log_ratio(x, a, y, b)
        if abs(low + high) / 2 <= noise:
            return 0
    elif _paired(a, b):
        difference = a.replicates - b.replicates
        few = 0.025 * len(difference)
        low = float(np.count_nonzero(difference <= 0) <= few)
        high = -float(np.count_nonzero(difference >= 0) <= few)
    else:
        low = a.interval.low - b.interval.high
        high = a.interval.high - b.interval.low
    above = int(low > 0) - int(high < 0)
    return above if objective.better == "higher" else -above


def _paired(a: Measurement, b: Measurement) -> bool:
    """Whether their replicates are of the same resamples, and enough for 95 %."""
    same = (a.kind, len(a.values), a.split) == (b.kind, len(b.values), b.split)
    return same and a.kind in ("samples", "resamples") and len(a.replicates) >= 40


def _log_ratio(
    x: Trial, a: Measurement, y: Trial, b: Measurement
) -> tuple[float, float]:
    """95 % interval of log(a/b): Welch's if both were measured beside the baseline."""
    one, two = _mean_log_ratio(x, a), _mean_log_ratio(y, b)
    if one is None or two is None:
        low = _log(a.interval.low) - _log(b.interval.high)
        return low, _log(a.interval.high) - _log(b.interval.low)
    from scipy.special import stdtrit

    middle, variance = one[0] - two[0], one[1] + two[1]
    if variance == 0:
        return middle, middle
    freedom = variance**2 / sum(v**2 / df for _, v, df in (one, two) if v)
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(variance)
    return middle - half, middle + half


def _mean_log_ratio(trial: Trial, m: Measurement) -> tuple[float, float, int] | None:
    """(mean of log(figure/baseline), its variance, degrees of freedom)."""
    if trial.number == 0:
        return 0.0, 0.0, 1
    return _mean_log(m.ratios) if len(m.ratios) > 1 else None


@lru_cache(maxsize=10_000)
def _mean_log(values: tuple[float, ...]) -> tuple[float, float, int]:
    logs = np.log(np.maximum(values, 1e-30))
    return float(logs.mean()), float(logs.var(ddof=1)) / len(logs), len(logs) - 1


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def dominates(y: Trial, x: Trial, study: Study) -> bool:
    """Whether y makes x pointless.

    A trial that breaks the budget never dominates one that meets it: else the best
    point within the budget could be lost to a tie with one that is of no use.
    """
    return _verdict(y, x, study) > 0


def _verdict(y: Trial, x: Trial, study: Study) -> int:
    """1 if y dominates x, -1 if x dominates y, else 0."""
    won = lost = False
    quick_first = sorted(study.objectives, key=lambda o: o.metric in study.metrics)
    for objective in quick_first:
        match compare(y, x, objective, study.noise):
            case 1:
                won = True
            case -1:
                lost = True
        if won and lost:
            return 0
    return _allowed(y, x, study) * won - _allowed(x, y, study) * lost


def _allowed(y: Trial, x: Trial, study: Study) -> bool:
    """Whether y may dominate x: it meets the budget if x does, and is no worse."""
    if study.meets(x) and not study.meets(y):
        return False
    axes = (o for o in study.objectives if o.metric in study.metrics)
    return all(_not_inferior(y, x, o, study) for o in axes)


def _not_inferior(y: Trial, x: Trial, objective: Objective, study: Study) -> bool:
    """Whether y's quality is x's, or less by under 1 % of the baseline's, at 97.5 %."""
    a, b = (t.measurements.get(objective.metric) for t in (y, x))
    if a is None or b is None:
        return b is None
    base = study.baseline
    whole = base.values.get(objective.metric, b.value) if base else b.value
    margin = INFERIOR * abs(whole)
    sign = 1.0 if objective.better == "higher" else -1.0
    if _paired(a, b):
        apart = sign * (a.replicates - b.replicates)
        return int(np.count_nonzero(apart <= -margin)) <= 0.025 * len(apart)
    worst = a.interval.low if sign > 0 else a.interval.high
    return a.value == b.value or sign * (worst - b.value) > -margin


def frontier(study: Study) -> Frontier:
    """The trials that no other dominates, of those that are ok.

    Of trials that gave the very same file one counts. Where verdicts run
    in a circle (a beats b, b beats c and c beats a, each on another axis, all else
    tied) and nothing outside it beats any of them, the plain figures decide among
    the circle. So there is a member if any trial is ok, and whatever isn't a member
    is dominated by some trial, or a copy of one.
    """
    trials = _distinct(study)
    count = len(trials)
    beats = np.zeros((count, count), dtype=bool)
    for i in range(count):
        for j in range(i):
            verdict = _verdict(trials[i], trials[j], study)
            beats[i, j], beats[j, i] = verdict > 0, verdict < 0
    kept: np.ndarray = np.logical_not(beats.any(axis=0))
    if circles := _circles(beats):
        gains = _figures(study, trials) * _signs(study)
        for circle in circles:
            for i in circle:
                kept[i] = not any(
                    (gains[j] >= gains[i]).all()
                    and (gains[j] > gains[i]).any()
                    and _allowed(trials[j], trials[i], study)
                    for j in circle
                )
    members = [t for t, keep in zip(trials, kept, strict=True) if keep]
    numbers = {t.number for t in members}
    rest = (t for t in study.trials if t.ok and t.number not in numbers)
    return Frontier(
        study,
        tuple(sorted(members, key=lambda t: _rank(t, study))),
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


def _distinct(study: Study) -> tuple[Trial, ...]:
    """The trials that are ok, by number, one of each file.

    Of copies the first, or the first that meets the budget: two readings of one file
    may lie either side of a limit, and the budget must not lose what can meet it.
    """
    trials = [t for t in study.trials if t.ok]
    trials.sort(key=lambda t: (not study.meets(t), t.number), reverse=True)
    kept = {t.artifact or f"trial {t.number}": t for t in trials}
    return tuple(sorted(kept.values(), key=lambda t: t.number))


def _rank(trial: Trial, study: Study) -> tuple[float, float, int]:
    metric, better = next(iter(study.metrics.items()), ("", "higher"))
    quality = trial.values.get(metric, -math.inf if better == "higher" else math.inf)
    size = trial.values.get("size", math.inf)
    return (-quality if better == "higher" else quality), size, trial.number


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
        volumes = self._boxes(_figures(self.study, trials)).prod(axis=1)
        if not (volumes > 0).any():
            return None
        return trials[int(volumes.argmax())]

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
            o.metric: _reference(o, base.values, self.study.budget)
            for o in self.study.objectives
            if o.metric in base.values
        }

    @cached_property
    def hypervolume(self) -> float:
        """The volume that the trials' figures span above the reference point.

        Footprints count by their logarithm; the unit is the baseline's own box, so a
        study that found nothing has 1. NaN if there is no baseline to measure from.
        """
        return self._volume(_figures(self.study, _distinct(self.study)))

    @cached_property
    def hypervolume_interval(self) -> Interval:
        """95 %, from resamples of the members' figures, centred on the hypervolume."""
        if math.isnan(self.hypervolume):
            return Interval(math.nan, math.nan)
        numbers = {t.number for t in self.members}
        chosen = [t.number in numbers for t in _distinct(self.study)]
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

        trials = _distinct(self.study)
        meets = np.array([self.study.meets(t) for t in trials], dtype=bool)
        kept = np.zeros(len(trials))
        for gains in self._replicates * _signs(self.study):
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
        trials = _distinct(self.study)
        drawn = [[_draw(t, o, i, self.study) for i, o in axes] for t in trials]
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


def _reference(o: Objective, base: Mapping[str, float], budget: Budget) -> float:
    value, sign = base[o.metric], 1.0 if o.better == "higher" else -1.0
    if o.metric in FOOTPRINT:
        return value / COST_MARGIN if sign > 0 else value * COST_MARGIN
    limits = [c.limit(base) for c in budget.constraints if c.metric == o.metric]
    below = [limit for limit in limits if sign * (value - limit) > 0]
    if below:
        return max(below, key=lambda limit: sign * limit)
    return value - sign * QUALITY_DROP * (abs(value) or 1.0)


def _signs(study: Study) -> np.ndarray:
    return np.array([1.0 if o.better == "higher" else -1.0 for o in study.objectives])


def _figures(study: Study, trials: tuple[Trial, ...]) -> np.ndarray:
    """Shape (trials, axes)."""
    rows = [[_figure(t, o, study) for o in study.objectives] for t in trials]
    return np.array(rows, dtype=float).reshape(len(trials), len(study.objectives))


def _figure(trial: Trial, objective: Objective, study: Study) -> float:
    """A time beside the baseline's is its ratio's: the host may have drifted since."""
    m = trial.measurements.get(objective.metric)
    if m is None:
        return -math.inf if objective.better == "higher" else math.inf
    base = study.baseline
    if trial.number and m.ratio and base and objective.metric in base.values:
        return base.values[objective.metric] * m.ratio[0]
    return m.value


def _draw(trial: Trial, objective: Objective, axis: int, study: Study) -> np.ndarray:
    """RESAMPLES figures that this one could have been."""
    m = trial.measurements.get(objective.metric)
    middle = _figure(trial, objective, study)
    if m is None or m.kind == "exact":
        return np.full(RESAMPLES, middle)
    if m.kind in ("samples", "resamples"):
        return np.resize(m.replicates, RESAMPLES)
    rng = np.random.default_rng((trial.number, axis))
    paired = _mean_log_ratio(trial, m)
    if m.kind == "peak" or paired is None:
        return np.resize(rng.permutation(m.replicates), RESAMPLES)
    _, variance, freedom = paired
    drawn = rng.standard_t(freedom, RESAMPLES) * math.sqrt(variance)
    return np.asarray(
        middle * np.exp(drawn.clip(-50.0, 50.0))
    )  # two launches draw far out
