"""Quality side by side: models that were judged on the same samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from paretune.core.measurement import Interval, Measurement
from paretune.core.statistics import (
    Difference,
    Z,
    bootstrap_difference,
    joint_z,
    mcnemar,
    share_difference,
    simultaneous,
    skewed,
    stretched,
    wilson,
)

LEAST = 40  # resamples that a 95 % interval can be read from
ERROR = 0.05


def paired(a: Measurement, b: Measurement) -> bool:
    """Whether they are of the same samples, or of the same and enough resamples."""
    same = (a.kind, len(a.values), a.split) == (b.kind, len(b.values), b.split)
    if a.kind == "resamples":
        return same and len(a.values) > LEAST
    return same and a.kind == "samples" and (len(a.values) > 1 or a.binary)


def difference(a: Measurement, b: Measurement, z: float = Z) -> Difference:
    """a less b, which are `paired`: mid-p McNemar, or the paired bootstrap.

    Args:
        a: quality of a model.
        b: quality of another on the same samples.
        z: quantile of the normal distribution that belongs to the level.
    """
    if a.binary and b.binary:
        return share_difference(*_apart(a, b), len(a.values), z)
    skew = skewed(a.scores - b.scores) if a.kind == "samples" else 0.0
    return bootstrap_difference(a.value - b.value, _replicates(a, b), skew, z)


def sign(a: Measurement, b: Measurement) -> int:
    """The sign of their `difference`, 0 if it can't be told; the same, but quicker."""
    if a.binary and b.binary:
        won, lost = _apart(a, b)
        return 0 if mcnemar(won, lost) > ERROR else int(math.copysign(1, won - lost))
    return difference(a, b).sign


def differences(
    members: Sequence[Measurement], baseline: Measurement
) -> list[Difference]:
    """Each less the baseline: intervals that hold all at once, and Holm's p-values.

    Args:
        members: qualities that are all `paired` with the baseline's.
        baseline: its quality.
    """
    if not members:
        return []
    drawn = np.array([_replicates(m, baseline) for m in members])
    return simultaneous([partial(difference, m, baseline) for m in members], drawn)


def intervals(found: Sequence[Measurement]) -> list[Interval]:
    """Intervals of several models' quality that hold all at once.

    Args:
        found: qualities that are all `paired`.
    """
    z = joint_z(np.array([m.replicates for m in found])) if len(found) > 1 else Z
    ends = []
    for m in found:
        if m.binary:
            low, high = wilson(float(m.scores.sum()), len(m.values), z)
        else:
            low, high = stretched(m.value, (m.interval.low, m.interval.high), z)
        ends.append(Interval(low, high))
    return ends


def lowest(a: Measurement, b: Measurement, up: float) -> float:
    """The 2.5 % point of by how much a is better than b, as the bootstrap has it.

    Two models that answer alike are equal here, however few samples there are: on a
    small set no smaller model could be shown to be as good as a larger one otherwise.

    Args:
        a: quality of a model.
        b: quality of another, `paired` with it.
        up: 1 if higher is better, -1 if lower.
    """
    if a.binary and b.binary:
        won, lost = _apart(a, b)
        count = len(a.values)
        spread = math.sqrt(max(won + lost - (won - lost) ** 2 / count, 0.0))
        return (up * (won - lost) - Z * spread) / count
    return float(np.quantile(up * _replicates(a, b), 0.025))


def _apart(a: Measurement, b: Measurement) -> tuple[int, int]:
    """(samples that only a has right, samples that only b has)."""
    won = int(np.bitwise_count(a.right & ~b.right).sum())
    lost = int(np.bitwise_count(b.right & ~a.right).sum())
    return won, lost


def _replicates(a: Measurement, b: Measurement) -> np.ndarray:
    return np.asarray(a.replicates - b.replicates)
