"""Quality against labels: figures with intervals, from what each seed came to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.statistics import Z

DRAWS = 2_000


@dataclass(frozen=True)
class Point:
    """One method at one number of labels.

    Attributes:
        labels: how many.
        taken: one measurement a seed, on the same samples.
    """

    labels: int
    taken: Sequence[Measurement]

    @property
    def values(self) -> np.ndarray:
        """The metric by seed."""
        return np.array([m.value for m in self.taken])

    @property
    def value(self) -> float:
        return float(self.values.mean())

    @property
    def replicates(self) -> np.ndarray:
        """Of the mean over seeds, on resamples that all points share."""
        return np.asarray(np.mean([m.replicates for m in self.taken], 0))


@dataclass(frozen=True)
class Spread:
    """How much a mean over seeds would differ with other seeds.

    Attributes:
        error: its standard error; 0 where it isn't known.
        freedom: degrees of freedom that it is known by; 0 where it isn't.
    """

    error: float
    freedom: int

    @property
    def half(self) -> float:
        """Half of a 95 % interval, by Student's t."""
        from scipy.special import stdtrit

        if not self.freedom:
            return 0.0
        return float(stdtrit(self.freedom, 0.975)) * self.error


def spread(rows: Sequence[np.ndarray]) -> Spread:
    """Of means over seeds that are taken to spread alike.

    Seeds are few: two or three tell next to nothing of how much they differ. Methods
    with the same labels are judged by what all of them tell.

    Args:
        rows: of each method, a value a seed.

    Example:
        >>> spread([np.array([0.8, 0.82]), np.array([0.7, 0.72])]).freedom
        2
        >>> spread([np.array([0.8])])
        Spread(error=0.0, freedom=0)
    """
    count = len(rows[0])
    if count < 2:
        return Spread(0.0, 0)
    variance = float(np.mean([r.var(ddof=1) for r in rows]))
    return Spread(math.sqrt(variance / count), len(rows) * (count - 1))


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 above 0, -1 below, 0 if the interval holds 0."""
        return int(self.low > 0) - int(self.high < 0)


def estimate(value: float, replicates: np.ndarray, seeds: Spread) -> Estimate:
    """A mean over seeds: what other samples and what other seeds would change.

    The two are independent, so that their squares add up.

    Args:
        value: the mean.
        replicates: of it, on resamples of the samples.
        seeds: its spread over seeds.

    Example:
        >>> found = estimate(0.8, np.array([0.79, 0.81]), Spread(0.0, 0))
        >>> round(found.low, 3), round(found.high, 3)
        (0.78, 0.82)
    """
    half = math.hypot(Z * float(replicates.std()), seeds.half)
    return Estimate(value, value - half, value + half)


@dataclass(frozen=True)
class Needed:
    """How many labels a quality needs.

    Attributes:
        labels: by interpolation; None if all that were tried don't reach it.
        low: end of the 95 % interval; infinite if it isn't reached.
        high: likewise.
        at_most: whether the fewest that were tried reach it already.
    """

    labels: float | None
    low: float
    high: float
    at_most: bool


def needed(
    points: Sequence[Point], spreads: Sequence[Spread], quality: float, better: str
) -> Needed:
    """How many labels a method needs for a quality.

    More labels are taken never to harm: the curve is the nearest monotone one, and runs
    straight between points over the logarithm of the labels.

    Args:
        points: of one method, the fewest labels first.
        spreads: of each over seeds.
        quality: wanted.
        better: "higher" or "lower".
    """
    sign = 1.0 if better == "higher" else -1.0
    logs = np.log([p.labels for p in points])
    rng = np.random.default_rng(0)
    drawn = [_drawn(p, s, rng) for p, s in zip(points, spreads, strict=True)]
    curves = np.stack(drawn, 1) * sign
    crossings = np.array([_crossing(logs, _rising(c), sign * quality) for c in curves])
    own = _rising(np.array([p.value for p in points]) * sign)
    value = _crossing(logs, own, sign * quality)
    low, high = np.quantile(crossings, (0.025, 0.975), method="nearest")
    return Needed(
        None if math.isinf(value) else math.exp(value),
        math.exp(min(low, value)),
        math.exp(max(high, value)),
        bool(value <= logs[0]),
    )


def _drawn(point: Point, seeds: Spread, rng: np.random.Generator) -> np.ndarray:
    """What the point might have come to, shape (DRAWS,)."""
    samples = np.resize(point.replicates, DRAWS)
    if not seeds.freedom:
        return samples
    return np.asarray(samples + seeds.error * rng.standard_t(seeds.freedom, DRAWS))


def _rising(values: np.ndarray) -> np.ndarray:
    from scipy.optimize import isotonic_regression

    return np.asarray(isotonic_regression(values).x)


def _crossing(logs: np.ndarray, values: np.ndarray, level: float) -> float:
    """Where a rising curve first reaches a level; infinite if it doesn't."""
    reached = np.flatnonzero(values >= level)
    if not len(reached):
        return math.inf
    first = int(reached[0])
    if first == 0:
        return float(logs[0])
    before, after = values[first - 1], values[first]
    share = (level - before) / (after - before)
    return float(logs[first - 1] + share * (logs[first] - logs[first - 1]))
