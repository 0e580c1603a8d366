"""The bootstrap: resamples that models of one split share, and what they tell."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

RESAMPLES = 2_000
GROUPS = 10_000  # of samples that are drawn together, where there are more samples
Z = 1.959963984540054  # of the normal distribution, two-sided 95 %


def resampled_means(values: np.ndarray) -> np.ndarray:
    """Means of bootstrap resamples, shape (RESAMPLES,).

    Two models that were judged on the same samples get the same resamples, so the
    difference of their means is a paired one. For scores that are all 0 or 1 a
    resampled sum is binomial, but drawing it would break the pairing, so the samples
    themselves are drawn. Of more than GROUPS samples, groups are drawn that were put
    together at random.

    Args:
        values: one score a sample, shape (samples,).

    Example:
        >>> bool((resampled_means(np.full(10, 0.5)) == 0.5).all())
        True
    """
    count = len(values)
    whole = bool(((values == 0) | (values == 1)).all())
    # About the mean, what single precision loses is small beside the spread.
    middle = 0.0 if whole else float(values.mean())
    apart = values - middle
    if count <= GROUPS:
        sums = _times_drawn(count) @ apart.astype(np.float32)
        return np.asarray(middle + sums.astype(float) / count)
    order, starts = _groups(count)
    times = _times_drawn(GROUPS)
    sums = times @ np.add.reduceat(apart[order], starts).astype(np.float32)
    sizes = times @ np.diff(starts, append=count).astype(np.float32)
    return np.asarray(middle + sums.astype(float) / sizes)


def _drawn(count: int) -> Iterator[tuple[int, np.ndarray]]:
    """(index of its first resample, which samples are in each) of a hundred a time."""
    rng = np.random.default_rng(count)
    for start in range(0, RESAMPLES, 100):
        yield start, rng.integers(0, count, (100, count), np.int32)


@lru_cache(maxsize=2)
def _times_drawn(count: int) -> np.ndarray:
    """How often each sample is in each resample, shape (RESAMPLES, count).

    Kept, since a study resamples hundreds of candidates; exact for scores of 0 and 1.
    """
    times = np.empty((RESAMPLES, count), np.float32)
    for start, rows in _drawn(count):
        flat = rows + count * np.arange(len(rows))[:, None]
        found = np.bincount(flat.ravel(), minlength=rows.size)
        times[start : start + len(rows)] = found.reshape(rows.shape)
    return times


@lru_cache(maxsize=2)
def _groups(count: int) -> tuple[np.ndarray, np.ndarray]:
    """(the samples in an order of chance, where in it each of GROUPS begins)."""
    order = np.random.default_rng(count).permutation(count)
    return order, np.arange(GROUPS) * count // GROUPS


def tail(z: float) -> float:
    """The share of the normal distribution above z."""
    return math.erfc(z / math.sqrt(2)) / 2


def skewed(values: np.ndarray) -> float:
    """The acceleration of a mean, from the jackknife; 0 for values that are all equal.

    Example:
        >>> skewed(np.array([1.0, 2.0, 3.0]))
        0.0
    """
    apart = values - values.mean()
    squares = float((apart**2).sum())
    return float((apart**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0


def bca(
    value: float, replicates: np.ndarray, acceleration: float = 0.0
) -> tuple[float, float]:
    """95 % bias-corrected and accelerated bootstrap interval; percentiles if undefined.

    Source: Efron 1987, JASA 82:171.

    Args:
        value: the figure on all samples.
        replicates: the figure on resamples, shape (resamples,).
        acceleration: as `skewed` gives it for a mean; 0 if it is not known.

    Example:
        >>> low, high = bca(0.0, np.linspace(-1, 1, 2001))
        >>> round(low, 3), round(high, 3)
        (-0.95, 0.95)
    """
    from scipy.special import ndtr

    parts = np.array([tail(Z), 1 - tail(Z)])
    bias = _bias(value, replicates)
    if bias is not None:
        moved = bias + np.array([-Z, Z])
        steady = 1 - acceleration * moved
        if (steady > 0).all():
            parts = ndtr(bias + moved / steady)
    low, high = np.quantile(replicates, parts)
    return min(float(low), value), max(float(high), value)


def bca_p(value: float, replicates: np.ndarray, acceleration: float = 0.0) -> float:
    """Two-sided p-value that the figure is 0: where the BCa interval ends at 0.

    Beyond the resamples, where none reaches 0, the normal distribution's.

    Args:
        value: the figure on all samples.
        replicates: the figure on resamples, shape (resamples,).
        acceleration: as `skewed` gives it for a mean; 0 if it is not known.

    Example:
        >>> bca_p(0.0, np.linspace(-1, 1, 2001))
        1.0
    """
    from scipy.special import ndtri

    spread = float(replicates.std())
    if spread == 0 or not math.isfinite(spread):
        return float(value == 0)
    below = _below(0.0, replicates)
    bias = _bias(value, replicates)
    if not 0 < below < 1 or bias is None:
        return min(2 * tail(abs(value) / spread), 1 / len(replicates))
    moved = float(ndtri(below)) - bias
    z = moved / (1 + acceleration * moved) - bias
    return min(1.0, 2 * tail(abs(z)))


def _bias(value: float, replicates: np.ndarray) -> float | None:
    """The z of the share of replicates below the figure; None at an end."""
    from scipy.special import ndtri

    below = _below(value, replicates)
    return float(ndtri(below)) if 0 < below < 1 else None


def _below(value: float, replicates: np.ndarray) -> float:
    lower = np.count_nonzero(replicates < value)
    return float((lower + np.count_nonzero(replicates <= value)) / 2 / len(replicates))
