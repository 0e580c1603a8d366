"""Intervals and tests of quality: of one model, of two, and of many at once.

Everything here is a pure function of scores. Models that were judged on the same
samples are compared sample by sample, and what a test says of a difference its interval
says too: it leaves 0 out if and only if the test tells the two apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from paretune.core._differences import (
    Difference,
    bootstrap_difference,
    paired_difference,
    settled,
    share_difference,
    stretched,
    unpaired_difference,
)
from paretune.core._resampling import (
    RESAMPLES,
    Z,
    bca,
    bca_p,
    resampled_means,
    skewed,
)
from paretune.core._shares import (
    is_binary,
    mcnemar,
    share_interval,
    share_score,
    wilson,
)

LEVEL = 0.95

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
    "settled",
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
    return [settled(replace(d, p=p)) for d, p in zip(found, adjusted, strict=True)]


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
