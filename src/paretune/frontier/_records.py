"""The figures of one trial as a record of fixed size, which the store keeps beside it.

So a frontier of a million trials needs the bodies of a few. A store holds these bytes:
whoever changes what they mean raises the version of the store's tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier._compare import mean_log_ratio

ABSENT, EXACT, TIMES, SHARE, OTHER = range(5)


def layout(axes: int) -> np.dtype:
    """The fields of a record.

    number: of the trial. file: digest of its artifact's name, 0 if it has none. And by
    axis: kind, one of the five above; value; of TIMES beside the baseline the mean of
    the log ratio and its variance; samples: degrees of freedom of TIMES, scores of a
    SHARE.

    Args:
        axes: how many metrics there are.
    """
    return np.dtype(
        [
            ("number", "<i8"),
            ("file", "<u8", (2,)),
            ("value", "<f8", (axes,)),
            ("mean", "<f8", (axes,)),
            ("variance", "<f8", (axes,)),
            ("samples", "<i4", (axes,)),
            ("kind", "u1", (axes,)),
        ]
    )


def record(trial: Trial, metrics: Sequence[str]) -> bytes:
    """A trial's figures of these metrics.

    Example:
        >>> size = Measurement("size", "byte", "lower", (1024.0,), "exact")
        >>> kept = record(Trial(3, (), "ok", {"size": size}), ["size", "energy"])
        >>> np.frombuffer(kept, layout(2))["value"].tolist()
        [[1024.0, nan]]
    """
    row = np.zeros(1, layout(len(metrics)))[0]
    row["number"] = trial.number
    if trial.artifact is not None:
        digest = blake2b(trial.artifact.encode(), digest_size=16).digest()
        row["file"] = np.frombuffer(digest, "<u8")
    row["value"] = np.nan
    for axis, metric in enumerate(metrics):
        m = trial.measurements.get(metric)
        if m is None:
            continue
        row["value"][axis] = m.value
        row["kind"][axis] = kind = _kind(trial, m)
        if kind == TIMES:
            found = mean_log_ratio(trial, m)
            assert found is not None
            row["mean"][axis], row["variance"][axis], row["samples"][axis] = found
        elif kind == SHARE:
            row["samples"][axis] = len(m.values)
    kept: bytes = row.tobytes()
    return kept


def right(trial: Trial, metrics: Sequence[str]) -> Mapping[str, bytes]:
    """By metric, which samples the trial has right: bits, eight a byte."""
    found = {k: trial.measurements[k] for k in metrics if k in trial.measurements}
    return {k: m.right.tobytes() for k, m in found.items() if _kind(trial, m) == SHARE}


def _kind(trial: Trial, m: Measurement) -> int:
    if m.kind == "exact":
        return EXACT
    if m.kind == "launches" and mean_log_ratio(trial, m) is not None:
        return TIMES
    if m.split == "validation" and m.binary:
        return SHARE
    return OTHER


def meeting(study: Study, metrics: Sequence[str], records: np.ndarray) -> np.ndarray:
    """Whether each trial meets the budget, shape (trials,); see `Study.meets`.

    Args:
        study: with its baseline.
        metrics: of the records, all that the budget names among them.
        records: as `layout` tells.
    """
    found = np.ones(len(records), dtype=bool)
    base = study.baseline
    values = base.values if base else {}
    for c in study.budget.constraints:
        if base is None or (c.relation and c.metric not in values):
            return np.zeros(len(records), dtype=bool)
        value = records["value"][:, metrics.index(c.metric)]
        limit = c.limit(values)
        slack = 1e-9 * np.maximum(abs(limit), np.abs(value))
        met = value <= limit + slack if c.operator == "<=" else value >= limit - slack
        found &= met  # a figure that isn't there is not a number, and meets nothing
    return found if base else np.zeros(len(records), dtype=bool)


def distinct_rows(records: np.ndarray, meets: np.ndarray) -> np.ndarray:
    """Indices of one trial of each file, as `distinct` chooses it; ascending."""
    files = records["file"]
    named = np.flatnonzero(files.any(axis=1))
    order = named[np.argsort(files[named, 0])]
    same = files[order[1:], 0] == files[order[:-1], 0]
    if not same.any():
        return np.arange(len(records))
    alike = order[np.append(same, False) | np.append(False, same)]
    keys = records["number"][alike], ~meets[alike], *files[alike].T
    alike = alike[np.lexsort(keys)]
    copies = (files[alike[1:]] == files[alike[:-1]]).all(axis=1)
    stay = np.ones(len(records), dtype=bool)
    stay[alike[1:][copies]] = False
    return np.flatnonzero(stay)
