"""Intervals and tests of quality: of one model, of two, and of many at once.

Everything here is a pure function of scores. Models that were judged on the same
samples are compared sample by sample, and what a test says of a difference its interval
says too: it leaves 0 out if and only if the test tells the two apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from paretune.core._resampling import (
    RESAMPLES,
    Z,
    bca,
    bca_p,
    resampled_means,
    skewed,
    tail,
)
from paretune.core._shares import (
    is_binary,
    mcnemar,
    share_interval,
    share_score,
    wilson,
)

LEVEL = 0.95
FEW = 30  # samples below which resampling is too sure of itself
OPEN = math.ulp(0.0)  # an end as near to 0 as can be that leaves 0 out

Ends = tuple[float, float]

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "Difference",
    "Z",
    "bca",
    "bca_p",
    "bootstrap_difference",
    "detectable_difference",
    "holm",
    "is_binary",
    "joint_z",
    "log_t_interval",
    "mcnemar",
    "mean_interval",
    "paired_difference",
    "resampled_means",
    "share_difference",
    "share_interval",
    "share_score",
    "simultaneous",
    "simultaneous_differences",
    "simultaneous_means",
    "skewed",
    "stretched",
    "unpaired_difference",
    "wilson",
]


@dataclass(frozen=True)
class Difference:
    """A difference with its interval and the p-value of the test that it is 0."""

    value: float
    low: float
    high: float
    p: float

    @property
    def sign(self) -> int:
        """1 if certainly above 0, -1 if certainly below, 0 if it can't be told."""
        return int(self.low > 0) - int(self.high < 0)


def mean_interval(
    scores: np.ndarray, replicates: np.ndarray | None = None, z: float = Z
) -> Ends:
    """Of a mean: Wilson's if all scores are 0 or 1, else the bootstrap's (BCa).

    Args:
        scores: one a sample, shape (samples,).
        replicates: of their mean, if they are at hand.
        z: quantile of the normal distribution that belongs to the level.

    Example:
        >>> tuple(round(v, 3) for v in mean_interval(np.repeat([0.0, 1.0], [10, 90])))
        (0.826, 0.945)
    """
    if is_binary(scores):
        return wilson(float(scores.sum()), len(scores), z)
    value = float(scores.mean())
    drawn = resampled_means(scores) if replicates is None else replicates
    return stretched(value, bca(value, drawn, skewed(scores)), z)


def log_t_interval(values: tuple[float, ...]) -> Ends:
    """95 % t-interval of the median of positive values, through their logarithms.

    With one value there is no spread to judge by: the interval is (0, infinity).

    Args:
        values: one a launch, above 0.

    Example:
        >>> tuple(round(v, 2) for v in log_t_interval((1.0, 1.1, 1.2)))
        (0.87, 1.38)
    """
    if len(values) < 2:
        return 0.0, math.inf
    from scipy.special import stdtrit

    logs = np.log(np.maximum(values, 1e-30))
    half = stdtrit(len(logs) - 1, 0.975) * logs.std(ddof=1) / math.sqrt(len(logs))
    middle = float(np.mean(logs))
    return math.exp(middle - half), math.exp(middle + half)


def stretched(value: float, ends: Ends, z: float) -> Ends:
    """A 95 % interval made as wide as another level wants it, about its value.

    Example:
        >>> stretched(0.0, (-1.0, 2.0), 2 * Z)
        (-2.0, 4.0)
    """
    low, high = ends
    return value - (value - low) * z / Z, value + (high - value) * z / Z


@lru_cache(maxsize=10_000)
def share_difference(won: int, lost: int, count: int, z: float = Z) -> Difference:
    """A paired difference of two shares: Tango's score interval, mid-p McNemar.

    Where the test can't tell the two apart, the interval is widened to hold 0.

    Args:
        won: samples that only the first has right.
        lost: samples that only the second has right.
        count: all samples.
        z: quantile of the normal distribution that belongs to the level.

    Example:
        >>> d = share_difference(30, 10, 1000)
        >>> round(d.value, 3), round(d.low, 4), round(d.high, 4), d.sign
        (0.02, 0.008, 0.0336, 1)
    """
    low, high = share_interval(won, lost, count, z)
    found = Difference((won - lost) / count, low, high, mcnemar(won, lost))
    return _settled(found, z)


def bootstrap_difference(
    value: float, replicates: np.ndarray, acceleration: float = 0.0, z: float = Z
) -> Difference:
    """A difference with its BCa interval, from paired replicates.

    Args:
        value: the difference on all samples.
        replicates: the difference on shared resamples, shape (resamples,).
        acceleration: as `skewed` gives it for a mean; 0 if it is not known.
        z: quantile of the normal distribution that belongs to the level.

    Example:
        >>> bootstrap_difference(0.5, np.linspace(-0.5, 1.5, 201)).sign
        0
    """
    ends = stretched(value, bca(value, replicates, acceleration), z)
    return _settled(Difference(value, *ends, bca_p(value, replicates, acceleration)), z)


def paired_difference(
    first: np.ndarray, second: np.ndarray, z: float = Z
) -> Difference:
    """The difference of two means on the same samples.

    Scores that are all 0 or 1: mid-p McNemar. Others: the paired bootstrap, or
    Student's t for fewer than 30 samples.

    Args:
        first: one score a sample, shape (samples,).
        second: likewise, of the same samples in the same order.
        z: quantile of the normal distribution that belongs to the level.

    Example:
        >>> paired_difference(np.ones(20), np.repeat([0.0, 1.0], [8, 12])).sign
        1
    """
    if is_binary(first) and is_binary(second):
        won = int(np.count_nonzero(first > second))
        lost = int(np.count_nonzero(first < second))
        return share_difference(won, lost, len(first), z)
    apart = first - second
    value = float(apart.mean())
    if len(apart) < FEW:
        return _student(apart, z)
    return bootstrap_difference(value, resampled_means(apart), skewed(apart), z)


def _student(apart: np.ndarray, z: float) -> Difference:
    """By Student's t: so few samples hardly ever resample to the other side of 0."""
    from scipy.special import ndtr, stdtr, stdtrit

    count, value = len(apart), float(apart.mean())
    if count < 2:
        return Difference(value, -math.inf, math.inf, 1.0)
    error = float(apart.std(ddof=1)) / math.sqrt(count)
    if error == 0:
        return Difference(value, value, value, 1.0 if value == 0 else 0.0)
    half = float(stdtrit(count - 1, ndtr(z))) * error
    p = 2 * float(stdtr(count - 1, -abs(value) / error))
    return Difference(value, value - half, value + half, p)


def unpaired_difference(
    first: float, of_first: Ends, second: float, of_second: Ends
) -> Ends:
    """Interval of a difference of figures on different samples, from their own.

    Source: Newcombe 1998, Statistics in Medicine 17:873, method 10; Zou, Donner 2008,
    Statistics in Medicine 27:1693.

    Args:
        first: a figure.
        of_first: its interval.
        second: the figure that is taken from it.
        of_second: its interval, of the same level.

    Example:
        >>> unpaired_difference(5.0, (2.0, 8.0), 1.0, (-3.0, 5.0))
        (-1.0, 9.0)
    """
    value = first - second
    low = math.hypot(first - of_first[0], of_second[1] - second)
    high = math.hypot(of_first[1] - first, second - of_second[0])
    return value - low, value + high


def detectable_difference(spread: float, count: int, power: float = 0.8) -> float:
    """The smallest true difference that a two-sided 5 % test finds with this power.

    Args:
        spread: standard deviation of the difference of two scores of a sample; for
            scores of 0 and 1 about the root of the share that differs.
        count: samples.
        power: the chance to find it.

    Example:
        >>> round(detectable_difference(0.2, 1000), 4)
        0.0177
    """
    from scipy.special import ndtri

    return (Z + float(ndtri(power))) * spread / math.sqrt(count)


def holm(p: Sequence[float]) -> list[float]:
    """p-values that hold for all tests at once: each is compared with 0.05 itself.

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def joint_z(replicates: np.ndarray) -> float:
    """The quantile with which that many intervals hold all at once, 95 % (max-T).

    Source: Westfall, Young 1993, Resampling-Based Multiple Testing; never more than
    Bonferroni's, to which it is held where few samples make the resamples heavy-tailed.

    Args:
        replicates: of the figures on shared resamples, shape (figures, resamples).

    Example:
        >>> joint_z(np.random.default_rng(0).normal(size=(1, 100))) == Z
        True
    """
    from scipy.special import ndtri

    spreads = replicates.std(axis=1)
    live = replicates[spreads > 1e-12 * np.abs(replicates).max(axis=1)]
    if len(live) < 2:
        return Z
    apart = live - live.mean(axis=1, keepdims=True)
    largest = np.abs(apart / live.std(axis=1, keepdims=True)).max(axis=0)
    most = -float(ndtri((1 - LEVEL) / 2 / len(live)))
    return min(max(float(np.quantile(largest, LEVEL)), Z), most)


def simultaneous(
    members: Sequence[Callable[[float], Difference]], replicates: np.ndarray
) -> list[Difference]:
    """Differences whose intervals hold all at once, with Holm's p-values.

    Holm's steps tell a little more apart than the intervals alone. Where they do, the
    interval is cut off at 0, which keeps them compatible: Guilbaud 2008, Biometrical
    Journal 50:678.

    Args:
        members: each gives its difference at the level of a quantile.
        replicates: of the differences, shape (members, resamples).
    """
    z = joint_z(replicates) if len(members) > 1 else Z
    found = [member(z) for member in members]
    adjusted = holm([d.p for d in found])
    return [_settled(replace(d, p=p)) for d, p in zip(found, adjusted, strict=True)]


def simultaneous_differences(
    scores: Sequence[np.ndarray], baseline: np.ndarray
) -> list[Difference]:
    """Of the means of several models from the baseline's, on the same samples.

    Args:
        scores: one array of shape (samples,) a model.
        baseline: likewise.

    Example:
        >>> first = np.repeat([0.0, 1.0], [8, 92])
        >>> better, same = simultaneous_differences([np.ones(100), first], first)
        >>> better.sign, same.sign
        (1, 0)
    """
    drawn = [resampled_means(s - baseline) for s in scores]
    members = [partial(paired_difference, s, baseline) for s in scores]
    return simultaneous(members, np.array(drawn).reshape(len(scores), RESAMPLES))


def simultaneous_means(scores: Sequence[np.ndarray]) -> list[Ends]:
    """Intervals of the means of several models that hold all at once.

    Args:
        scores: one array of shape (samples,) a model, all on the same samples.

    Example:
        >>> first = np.repeat([0.0, 1.0], [8, 92])
        >>> (low, high), _ = simultaneous_means([first, first[::-1]])
        >>> low < wilson(92, 100)[0] and wilson(92, 100)[1] < high
        True
    """
    drawn = [resampled_means(s) for s in scores]
    z = joint_z(np.array(drawn).reshape(len(scores), RESAMPLES))
    return [mean_interval(s, d, z) for s, d in zip(scores, drawn, strict=True)]


def _settled(found: Difference, z: float = Z) -> Difference:
    """With an interval that says of 0 what the p-value says of it."""
    if found.p > 2 * tail(z) or found.value == 0:
        low, high = min(found.low, 0.0), max(found.high, 0.0)
    elif found.value > 0:
        low, high = max(found.low, OPEN), found.high
    else:
        low, high = found.low, min(found.high, -OPEN)
    return replace(found, low=low, high=high)
