"""Differences of two models, with intervals that say what their tests say."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from paretune.core._resampling import Z, bca, bca_p, resampled_means, skewed, tail
from paretune.core._shares import is_binary, mcnemar, share_interval

FEW = 30  # samples below which resampling is too sure of itself
OPEN = math.ulp(0.0)  # an end as near to 0 as can be that leaves 0 out

Ends = tuple[float, float]


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
    return settled(found, z)


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
    return settled(Difference(value, *ends, bca_p(value, replicates, acceleration)), z)


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


def settled(found: Difference, z: float = Z) -> Difference:
    """With an interval that says of 0 what the p-value says of it."""
    if found.p > 2 * tail(z) or found.value == 0:
        low, high = min(found.low, 0.0), max(found.high, 0.0)
    elif found.value > 0:
        low, high = max(found.low, OPEN), found.high
    else:
        low, high = found.low, min(found.high, -OPEN)
    return replace(found, low=low, high=high)
