"""`verdict` of many pairs at once: the same answers, by arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paretune.core.statistics import Z
from paretune.core.study import Study
from paretune.frontier._columns import (
    EXACT,
    ODD,
    SHARE,
    SPAN,
    TIMES,
    Axis,
    Columns,
    margin,
)
from paretune.frontier._compare import verdict
from paretune.frontier._quality import ERROR

NORMAL = 1.95  # less than any 97.5 % quantile of Student's t
FEW = 4  # samples: a lead that is no larger is never told from luck
PART = 2**22  # bytes of samples' bits that are looked at at once

Pairs = tuple[np.ndarray, np.ndarray]


def verdicts(
    study: Study,
    on: Sequence[Axis],
    one: Columns,
    other: Columns,
    pairs: Pairs,
) -> np.ndarray:
    """1 where a row of `one` dominates a row of `other`, -1 where it is the reverse.

    Args:
        study: that the trials are of.
        on: its axes.
        one: trials.
        other: trials, the same ones or others.
        pairs: rows of `one`, and the row of `other` beside each.

    Returns:
        Shape (pairs,), int8; 0 where neither does.
    """
    left, right = pairs
    found = np.zeros(len(left), dtype=np.int8)
    won, lost = np.zeros((2, len(left)), dtype=bool)
    odd = np.zeros(len(left), dtype=bool)
    index = np.arange(len(left))
    for k, axis in enumerate(on):
        i, j = left[index], right[index]
        kinds = one.kinds[k, i]
        same = (kinds == other.kinds[k, j]) & (kinds != ODD)
        odd[index] |= ~same
        if axis.quality:  # whoever leads by footprint must not be far behind here
            near = _near(axis, k, one, other, (i, j))
            ahead = won[index] & same & ~near[0]
            behind = lost[index] & same & ~near[1]
            hopeless = ahead | behind
            index, same = index[~hopeless], same[~hopeless]
            i, j, kinds = left[index], right[index], kinds[~hopeless]
        signs = np.zeros(len(index))
        for kind, sign in SIGNS.items():
            which = np.flatnonzero(same & (kinds == kind))
            if which.size:
                signs[which] = sign(axis, k, one, other, (i[which], j[which]))
        won[index] |= signs > 0
        lost[index] |= signs < 0
        index = index[~(won[index] & lost[index])]
    strange = index[odd[index]]
    for n in strange.tolist():
        found[n] = verdict(one.trials[left[n]], other.trials[right[n]], study)
    plain = index[~odd[index]]
    up, down = plain[won[plain]], plain[lost[plain]]
    found[up[_allowed(on, one, other, (left[up], right[up]))]] = 1
    found[down[_allowed(on, other, one, (right[down], left[down]))]] = -1
    return found


def hopeful(on: Sequence[Axis], rows: Columns, row: int) -> np.ndarray:
    """Which rows may dominate that one, judged by little; shape (rows,)."""
    from scipy.special import stdtrit

    found: np.ndarray = rows.meets | ~rows.meets[row]
    for k, axis in enumerate(on):
        kind, mine = rows.kinds[k, row], rows.figures[k, row]
        if kind == ODD:
            continue
        theirs = rows.figures[k]
        gains = axis.up * (theirs[:, 0] - mine[0])
        if kind == EXACT:
            fine = gains >= 0
        elif kind == TIMES:
            # Of two, degrees of freedom are no fewer than the fewer of theirs.
            some = (rows.kinds[k] == kind) & (theirs[:, 1] > 0)
            least = theirs[:, 2].min(where=some, initial=np.inf)
            most = float(stdtrit(least, 0.975)) if some.any() else 0.0
            wide = (most + 1e-6) * np.sqrt(theirs[:, 1] + mine[1])
            fine = gains >= -np.maximum(wide, axis.noise)
        elif axis.quality and axis.samples:
            count = axis.samples[0]
            fine = gains > -count * margin(axis, mine[:1] / count) - 1e-9
        else:
            continue
        found &= fine | (rows.kinds[k] != kind)
    found[row] = False
    return found


def _near(
    axis: Axis, k: int, one: Columns, other: Columns, pairs: Pairs
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the first of each pair isn't far behind, and whether the second isn't."""
    i, j = pairs
    count = axis.samples[0] if axis.samples else 1
    whole = np.where(one.kinds[k, i] == SHARE, count, 1)
    a, b = one.figures[k, i, 0] / whole, other.figures[k, j, 0] / whole
    slack = 1e-12
    return (
        axis.up * (a - b) > -margin(axis, b) - slack,
        axis.up * (b - a) > -margin(axis, a) - slack,
    )


def _exact(
    axis: Axis, k: int, one: Columns, other: Columns, pairs: Pairs
) -> np.ndarray:
    i, j = pairs
    return np.asarray(axis.up * np.sign(one.figures[k, i, 0] - other.figures[k, j, 0]))


def _spans(
    axis: Axis, k: int, one: Columns, other: Columns, pairs: Pairs
) -> np.ndarray:
    i, j = pairs
    a, b = one.figures[k, i], other.figures[k, j]
    above = (a[:, 0] > b[:, 1]).astype(float) - (a[:, 1] < b[:, 0])
    return np.asarray(axis.up * above)


def _times(
    axis: Axis, k: int, one: Columns, other: Columns, pairs: Pairs
) -> np.ndarray:
    from scipy.special import stdtrit

    i, j = pairs
    a, b = one.figures[k, i], other.figures[k, j]
    middle, variance = a[:, 0] - b[:, 0], a[:, 1] + b[:, 1]
    size = np.abs(middle)
    clear = (size > axis.noise) & (size > NORMAL * np.sqrt(variance))
    looked = np.flatnonzero(clear & (variance > 0))
    a, b, total = a[looked], b[looked], variance[looked]
    freedom = total**2 / (a[:, 1] ** 2 / a[:, 2] + b[:, 1] ** 2 / b[:, 2])
    clear[looked] = size[looked] > stdtrit(freedom, 0.975) * np.sqrt(total)
    return np.where(clear, axis.up * np.sign(middle), 0.0)


def _shares(
    axis: Axis, k: int, one: Columns, other: Columns, pairs: Pairs
) -> np.ndarray:
    from scipy.special import bdtr

    i, j = pairs
    lead = one.figures[k, i, 0] - other.figures[k, j, 0]
    signs = np.zeros(len(lead))
    looked = np.flatnonzero(np.abs(lead) > FEW)
    won, lost = _apart(k, one, other, (i[looked], j[looked]))
    few, many = np.minimum(won, lost), won + lost
    below = np.where(few > 0, bdtr(np.maximum(few - 1, 0), many, 0.5), 0.0)
    certain = below + bdtr(few, many, 0.5) <= ERROR
    signs[looked[certain]] = axis.up * np.sign(lead[looked[certain]])
    return signs


def _apart(
    k: int, one: Columns, other: Columns, pairs: Pairs
) -> tuple[np.ndarray, np.ndarray]:
    """(samples that only the first has right, that only the second has), by pair."""
    i, j = pairs
    won = np.zeros(len(i), dtype=int)
    step = max(1, PART // max(1, one.right[k].shape[1]))
    for start in range(0, len(i), step):
        some = slice(start, start + step)
        only = one.right[k][i[some]] & ~other.right[k][j[some]]
        won[some] = np.bitwise_count(only).sum(axis=1)
    lead = one.figures[k, i, 0] - other.figures[k, j, 0]
    return won, won - lead.astype(int)


def _allowed(
    on: Sequence[Axis], one: Columns, other: Columns, pairs: Pairs
) -> np.ndarray:
    """Whether the first of each pair may dominate the second; see `allowed`."""
    i, j = pairs
    found: np.ndarray = one.meets[i] | ~other.meets[j]
    for k, axis in enumerate(on):
        if not axis.quality:
            continue
        exact = one.kinds[k, i] == EXACT
        a, b = one.figures[k, i, 0], other.figures[k, j, 0]
        found &= ~exact | (a == b) | (axis.up * (a - b) > -margin(axis, b))
        which = np.flatnonzero(~exact)
        if which.size and axis.samples:
            count = axis.samples[0]
            won, lost = _apart(k, one, other, (i[which], j[which]))
            lead = won - lost
            spread = np.sqrt(np.maximum(won + lost - lead**2 / count, 0.0))
            lowest = (axis.up * lead - Z * spread) / count
            found[which] &= lowest > -margin(axis, b[which] / count)
    return found


SIGNS = {EXACT: _exact, SPAN: _spans, TIMES: _times, SHARE: _shares}
