"""The figures that decide between trials, as arrays: a row a trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier._compare import INFERIOR, mean_log_ratio

ODD, EXACT, SPAN, TIMES, SHARE = range(5)  # kinds of figures; ODD: none of these


@dataclass(frozen=True)
class Axis:
    """One objective, as arrays are compared on it.

    Attributes:
        metric: its name.
        up: 1.0 if higher is better, -1.0 if lower.
        noise: the share by which one model differs from itself.
        quality: whether it is the model's quality, where no loss is allowed.
        whole: the baseline's quality; NaN if that isn't known.
        samples: how many there are and of which split, for shares of samples.
    """

    metric: str
    up: float
    noise: float
    quality: bool
    whole: float
    samples: tuple[int, str | None] | None = None


def axes(study: Study, trials: Sequence[Trial]) -> tuple[Axis, ...]:
    """The study's, footprints first; samples are those of the first trial with any."""
    base = study.baseline
    known = (base, *trials) if base else trials
    found = []
    for objective in sorted(study.objectives, key=lambda o: o.metric in study.metrics):
        name = objective.metric
        figures = (t.measurements.get(name) for t in known)
        shares = (m for m in figures if m is not None and m.binary)
        first = next(shares, None)
        found.append(
            Axis(
                name,
                1.0 if objective.better == "higher" else -1.0,
                study.floor(name),
                name in study.metrics,
                base.values.get(name, np.nan) if base else np.nan,
                None if first is None else (len(first.values), first.split),
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class Columns:
    """Some trials by rows.

    Attributes:
        trials: themselves.
        meets: whether each meets the budget.
        kinds: of the figures, shape (axes, trials).
        figures: shape (axes, trials, 3). Exact: the value. Spans: the interval's
            ends. Times: mean, variance and degrees of freedom of the logarithm beside
            the baseline's. Shares: how many samples are right.
        right: for each axis which samples are, as `Measurement.right`: (trials, bytes).
    """

    trials: tuple[Trial, ...]
    meets: np.ndarray
    kinds: np.ndarray
    figures: np.ndarray
    right: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, study: Study, on: Sequence[Axis], trials: Sequence[Trial]) -> Columns:
        count = len(trials)
        kinds = np.zeros((len(on), count), dtype=np.int8)
        figures = np.zeros((len(on), count, 3))
        right = []
        for i, axis in enumerate(on):
            width = (axis.samples[0] + 7) // 8 if axis.samples else 0
            bits = np.zeros((count, width), dtype=np.uint8)
            for j, trial in enumerate(trials):
                m = trial.measurements.get(axis.metric)
                if m is not None:
                    kinds[i, j], figures[i, j] = _numbers(trial, m, axis)
                    if kinds[i, j] == SHARE:
                        bits[j] = m.right
            right.append(bits)
        meets = np.array([study.meets(t) for t in trials], dtype=bool)
        return cls(tuple(trials), meets, kinds, figures, tuple(right))

    def __len__(self) -> int:
        return len(self.trials)

    def at(self, rows: np.ndarray) -> Columns:
        """Some of the rows, by their indices."""
        return Columns(
            tuple([self.trials[i] for i in rows.tolist()]),
            self.meets[rows],
            self.kinds[:, rows],
            self.figures[:, rows],
            tuple(bits[rows] for bits in self.right),
        )

    def join(self, other: Columns) -> Columns:
        """These rows, and then the other's."""
        both = zip(self.right, other.right, strict=True)
        return replace(
            self,
            trials=(*self.trials, *other.trials),
            meets=np.concatenate((self.meets, other.meets)),
            kinds=np.concatenate((self.kinds, other.kinds), axis=1),
            figures=np.concatenate((self.figures, other.figures), axis=1),
            right=tuple(np.concatenate(bits) for bits in both),
        )


def _numbers(
    trial: Trial, m: Measurement, axis: Axis
) -> tuple[int, tuple[float, float, float]]:
    """(the kind, the numbers) of a figure."""
    if m.kind == "exact":
        return EXACT, (m.value, 0.0, 0.0)
    if m.kind == "peak" and not axis.quality:
        return SPAN, (m.interval.low, m.interval.high, 0.0)
    if m.kind == "launches" and not axis.quality:
        if (times := mean_log_ratio(trial, m)) is not None:
            return TIMES, times
    elif m.binary and (len(m.values), m.split) == axis.samples:
        return SHARE, (float(np.bitwise_count(m.right).sum()), 0.0, 0.0)
    return ODD, (0.0, 0.0, 0.0)


def margin(axis: Axis, figures: np.ndarray) -> np.ndarray:
    """By how much worse than these a trial's quality may be that dominates them."""
    if np.isnan(axis.whole):
        return np.asarray(INFERIOR * np.abs(figures))
    return np.full(figures.shape, INFERIOR * abs(axis.whole))
