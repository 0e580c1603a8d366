"""What came out of all trainings, as JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.statistics import Difference
from paretune.engine.labels.curve import (
    Point,
    Spread,
    alike,
    estimate,
    needed,
    spread,
    together,
)
from paretune.engine.labels.plan import METHODS, PRETRAINING, Cell, cells

STUDY, READING = "study", "reading"

Known = Mapping[str, Mapping[str, Any]]
At = tuple[str, float]  # method and share
Points = Mapping[At, Point]


def test_key(cell: Cell) -> str:
    """Under which a cell's figure on the test split is kept."""
    return f"test:{cell.key}"


def outcome(
    known: Known, shares: Sequence[float], seeds: int, quality: float | None
) -> dict[str, Any]:
    """The figures on the test split.

    Args:
        known: records by key: the study, its cells, and their figures.
        shares: of the labels, the smallest first.
        seeds: how many.
        quality: of which the labels that it needs are told.

    Returns:
        {"version": 1, "task", "metric", "better", "share": whether it reads per cent,
        "count": labels there are, "steps", "seeds", "teacher", "readings",
        "points": [{"method", "share", "labels", "value", "low", "high", "by_seed",
        "validation", "gain": {"value", "low", "high", "p", "verdict"} | None,
        "teachers"}],
        "quality", "needed": [{"method", "labels", "low", "high", "at_most"}],
        "missing": {method: why}, "failed": [{"method", "share", "seed", "why"}]}. A
        gain is over plain training with the same labels, as a difference of the metric;
        its verdict is 1 for better, -1 for worse, 0 for not distinguishable, with all
        gains judged at once (Holm). A number of labels is None where none of those that
        were tried reaches the quality.
    """
    study = known[STUDY]
    metric = next(iter(study["metrics"]))
    better = study["metrics"][metric]
    points = {
        (m, s): p for m in METHODS for s in shares if (p := _point(known, m, s, seeds))
    }
    spreads = _spreads({at: point.values for at, point in points.items()})
    gains = _gains(points, better)
    told = [_told(known, at, seeds, points[at], spreads, gains) for at in points]
    return {
        "version": 1,
        "task": study["name"],
        "metric": metric,
        "better": better,
        "share": all(t.binary for p in points.values() for t in p.taken),
        "count": study["count"],
        "steps": study["steps"],
        "seeds": seeds,
        "teacher": study["teacher"],
        "readings": known.get(READING, {}).get("number", 0),
        "points": told,
        "quality": quality,
        "needed": []
        if quality is None
        else [
            _needed(m, points, spreads, quality, better)
            for m in dict.fromkeys(m for m, _ in points)
        ],
        "missing": _missing(known),
        "failed": _failed(known, cells(shares, seeds)),
    }


def _point(known: Known, method: str, share: float, seeds: int) -> Point | None:
    every = [Cell(method, share, seed) for seed in range(seeds)]
    taken = [
        Measurement.from_json(known[test_key(c)]["test"])
        for c in every
        if test_key(c) in known
    ]
    if len(taken) < len(every):
        return None
    labels = [known[c.key]["labels"] for c in every]
    return Point(round(sum(labels) / len(labels)), taken)


def _spreads(values: Mapping[At, np.ndarray]) -> dict[float, Spread]:
    """Over seeds, by share; methods with the same labels are taken to spread alike."""
    rows: dict[float, dict[str, np.ndarray]] = {}
    for (method, share), by_seed in values.items():
        rows.setdefault(share, {})[method] = by_seed
    same = alike([*rows.values()])
    return {share: spread([*found.values()], same) for share, found in rows.items()}


def _told(
    known: Known,
    at: At,
    seeds: int,
    point: Point,
    spreads: Mapping[float, Spread],
    gains: Mapping[At, Any],
) -> dict[str, Any]:
    method, share = at
    records = [known[Cell(method, share, s).key] for s in range(seeds)]
    checked = [Measurement.from_json(r["validation"]).value for r in records]
    return {
        "method": method,
        "share": share,
        "labels": point.labels,
        **_ends(estimate(point.value, point.replicates, spreads[share])),
        "by_seed": point.values.tolist(),
        "validation": sum(checked) / len(checked),
        "gain": gains.get(at),
        "teachers": sorted({r["teacher"] for r in records if r.get("teacher")}),
    }


def _ends(found: Difference) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}


def _gains(points: Points, better: str) -> dict[At, dict[str, Any]]:
    """Over plain training with the same labels, seed by seed and sample by sample."""
    bases = {
        (method, share): points["plain", share]
        for method, share in points
        if method != "plain" and ("plain", share) in points
    }
    spreads = _spreads({at: points[at].values - b.values for at, b in bases.items()})
    found = [
        estimate(
            points[at].value - base.value,
            points[at].replicates - base.replicates,
            spreads[at[1]],
        )
        for at, base in bases.items()
    ]
    sign = 1 if better == "higher" else -1
    return {
        at: {**_ends(gain), "p": gain.p, "verdict": sign * gain.sign}
        for at, gain in zip(bases, together(found), strict=True)
    }


def _needed(
    method: str,
    points: Points,
    spreads: Mapping[float, Spread],
    quality: float,
    better: str,
) -> dict[str, Any]:
    shares = sorted(s for m, s in points if m == method)
    curve = [points[method, s] for s in shares]
    found = needed(curve, [spreads[s] for s in shares], quality, better)
    return {
        "method": method,
        "labels": found.labels,
        "low": None if math.isinf(found.low) else found.low,
        "high": None if math.isinf(found.high) else found.high,
        "at_most": found.at_most,
    }


def _missing(known: Known) -> dict[str, str]:
    """Methods that can't be used on this task, and why."""
    return {
        r["method"]: r["unsupported"]
        for r in known.values()
        if "unsupported" in r and r["method"] in METHODS
    }


def _failed(known: Known, plan: Sequence[Cell]) -> list[dict[str, Any]]:
    """Trainings that came to nothing, and why; without them a point has no figure."""
    return [
        {**cell.to_json(), "why": known[cell.key]["failed"]}
        for cell in plan
        if cell.method != PRETRAINING and "failed" in known.get(cell.key, {})
    ]
