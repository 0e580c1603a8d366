"""Quality against labels: figures with intervals, from what each seed came to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.statistics import LEVEL, Difference, holm, settled

DRAWS = 2_000
ALPHA = 1 - LEVEL
LEAST_P = 1e-12
# What differences from one and the same thing have in common at the least.
LEAST_ALIKE = 0.25


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
    freedom: float

    def half(self, p: float) -> float:
        """Half of the interval that misses in a share `p` of cases, by Student's t."""
        from scipy.special import stdtrit

        if not self.freedom:
            return 0.0
        return -float(stdtrit(self.freedom, p / 2)) * self.error


def alike(rows: Sequence[Mapping[str, np.ndarray]]) -> float:
    """How much methods tell the same of the seeds: the squared correlation of two.

    The mean of correlations over shares is what a few seeds can tell of it. What two
    of the same seeds have in common (the labels, the first weights, the model that
    both are compared with) makes them tell less than two would.

    Args:
        rows: for each share of the labels, values by seed of each method.

    Example:
        >>> round(alike([{"a": np.array([0.8, 0.9]), "b": np.array([0.7, 0.6])}]), 3)
        1.0
    """
    found: dict[tuple[str, str], list[float]] = {}
    for methods in rows:
        for one, other in combinations(sorted(methods), 2):
            value = _correlation(methods[one], methods[other])
            found.setdefault((one, other), []).append(value)
    if not found:
        return 1.0
    mean = float(np.mean([np.mean(values) ** 2 for values in found.values()]))
    return min(max(mean, LEAST_ALIKE), 1.0)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    one, two = first - first.mean(), second - second.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(two))
    return float(one @ two) / size if size else 1.0


def spread(rows: Sequence[np.ndarray], same: float = 1.0) -> Spread:
    """Of means over seeds that are taken to spread alike.

    Seeds are few: two or three tell next to nothing of how much they differ. Methods
    with the same labels are judged by what all of them tell, which counts for as many
    as they are only where they tell different things.

    Args:
        rows: of each method, a value a seed.
        same: how much they tell the same, 0 to 1: see `alike`.

    Source: Satterthwaite 1946, Biometrics Bulletin 2:110 (degrees of freedom).

    Example:
        >>> rows = [np.array([0.8, 0.82]), np.array([0.7, 0.72])]
        >>> spread(rows).freedom, spread(rows, 0.0).freedom
        (1.0, 2.0)
        >>> spread([np.array([0.8])])
        Spread(error=0.0, freedom=0)
    """
    count = len(rows[0])
    if count < 2:
        return Spread(0.0, 0)
    variance = float(np.mean([r.var(ddof=1) for r in rows]))
    freedom = (count - 1) * len(rows) / (1 + (len(rows) - 1) * same)
    return Spread(math.sqrt(variance / count), freedom)


def estimate(value: float, replicates: np.ndarray, seeds: Spread) -> Difference:
    """A mean over seeds: what other samples and what other seeds would change.

    The two are independent, so that their squares add up.

    Args:
        value: the mean.
        replicates: of it, on resamples of the samples.
        seeds: its spread over seeds.

    Returns:
        It with its 95 % interval, and p of the widest interval that leaves 0 out.

    Example:
        >>> found = estimate(0.8, np.array([0.79, 0.81]), Spread(0.0, 0))
        >>> round(found.low, 3), round(found.high, 3)
        (0.78, 0.82)
    """
    from scipy.optimize import brentq
    from scipy.special import ndtri

    error = float(replicates.std())

    def half(p: float) -> float:
        return math.hypot(float(ndtri(p / 2)) * error, seeds.half(p))

    ends = value - half(ALPHA), value + half(ALPHA)
    if value == 0 or half(LEAST_P) <= abs(value):
        return Difference(value, *ends, 1.0 if value == 0 else LEAST_P)
    p = float(brentq(lambda p: half(p) - abs(value), LEAST_P, 1.0))
    return Difference(value, *ends, p)


def together(gains: Sequence[Difference]) -> list[Difference]:
    """Differences that are told from 0 all at once, by Holm's p-values.

    An interval is that of its difference alone, and widened to hold 0 where it can't
    be told.

    Example:
        >>> gains = [Difference(1.0, 0.1, 1.9, 0.03), Difference(2.0, 1.0, 3.0, 0.001)]
        >>> [(g.low, g.sign) for g in together(gains)], together(gains * 2)[0].low
        ([(0.1, 1), (1.0, 1)], 0.0)
    """
    adjusted = holm([g.p for g in gains])
    return [settled(replace(g, p=p)) for g, p in zip(gains, adjusted, strict=True)]


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
