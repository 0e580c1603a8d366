"""Shares of samples: scores that are all 0 or 1, as of accuracy."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from paretune.core._resampling import Z


def is_binary(scores: np.ndarray) -> bool:
    """Whether all scores are 0 or 1.

    Example:
        >>> is_binary(np.array([0.0, 1.0])), is_binary(np.array([0.5]))
        (True, False)
    """
    return bool(((scores == 0) | (scores == 1)).all())


def wilson(right: float, count: int, z: float = Z) -> tuple[float, float]:
    """The score interval of a share.

    Source: Wilson 1927, JASA 22:209; Brown, Cai, DasGupta 2001, Statistical Science
    16:101. Its coverage stays within 92 to 98 % for every share from 0.5 to 0.99 at
    100 samples and more, where Jeffreys' and the mid-p interval reach 88 or 99 %.

    Args:
        right: how many scores are 1.
        count: of how many, at least 1.
        z: quantile of the normal distribution that belongs to the level.

    Example:
        >>> tuple(round(v, 3) for v in wilson(90, 100))
        (0.826, 0.945)
    """
    share, wide = right / count, z * z / count
    middle = (share + wide / 2) / (1 + wide)
    half = z * math.sqrt(share * (1 - share) / count + wide / (4 * count)) / (1 + wide)
    low = 0.0 if right == 0 else middle - half
    high = 1.0 if right == count else middle + half
    return min(low, share), max(high, share)


@lru_cache(maxsize=100_000)
def mcnemar(won: int, lost: int) -> float:
    """Two-sided mid-p value of McNemar's test that two models are as often right.

    Source: Fagerland, Lydersen, Laake 2013, BMC Medical Research Methodology 13:91.

    Args:
        won: samples that only the first has right.
        lost: samples that only the second has right.

    Example:
        >>> mcnemar(5, 0), mcnemar(7, 7)
        (0.03125, 1.0)
    """
    from scipy.special import bdtr

    if won == lost:
        return 1.0
    few, many = min(won, lost), won + lost
    below = float(bdtr(few - 1, many, 0.5)) if few else 0.0
    return min(1.0, below + float(bdtr(few, many, 0.5)))


def share_score(won: int, lost: int, count: int, against: float) -> float:
    """Tango's score statistic of a paired difference of shares, against a value.

    Standard normal if the difference is `against`; falls as `against` rises.

    Source: Tango 1998, Statistics in Medicine 17:891.

    Args:
        won: samples that only the first has right.
        lost: samples that only the second has right.
        count: all samples.
        against: the difference to test, from -1 to 1.

    Example:
        >>> round(share_score(30, 10, 100, 0.0), 3)  # McNemar's: (30 - 10) / sqrt(40)
        3.162
    """
    b = (2 * count - won + lost) * against - won - lost
    c = -lost * against * (1 - against)
    root = math.sqrt(max(b * b - 8 * count * c, 0.0))
    variance = (root - b) / 2 + count * against * (1 - against)
    apart = won - lost - count * against
    if variance <= 0:
        return math.copysign(math.inf, apart) if apart else 0.0
    return apart / math.sqrt(variance)


def share_interval(
    won: int, lost: int, count: int, z: float = Z
) -> tuple[float, float]:
    """Tango's score interval of a paired difference of shares.

    Args:
        won: samples that only the first has right.
        lost: samples that only the second has right.
        count: all samples.
        z: quantile of the normal distribution that belongs to the level.

    Example:
        >>> tuple(round(v, 4) for v in share_interval(30, 10, 1000))
        (0.008, 0.0336)
    """
    value = (won - lost) / count

    def end(outside: float) -> float:
        inside = value
        for _ in range(60):
            middle = (inside + outside) / 2
            if abs(share_score(won, lost, count, middle)) <= z:
                inside = middle
            else:
                outside = middle
        return inside

    return end(-1.0), end(1.0)
