"""What came out of all trainings, as JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from paretune.core.measurement import Measurement
from paretune.engine.labels.curve import (
    Estimate,
    Point,
    Spread,
    estimate,
    needed,
    spread,
)
from paretune.engine.labels.plan import METHODS, Cell

STUDY, READING = "study", "reading"

Known = Mapping[str, Mapping[str, Any]]
Points = Mapping[tuple[str, float], Point]  # by method and share


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
        "validation", "gain": {"value", "low", "high", "verdict"} | None, "teachers"}],
        "quality", "needed": [{"method", "labels", "low", "high", "at_most"}],
        "missing": {method: why}}. A gain is over plain training with the same labels,
        as a difference of the metric; its verdict is 1 for better, -1 for worse, 0 for
        not distinguishable. A number of labels is None where none of those that were
        tried reaches the quality.
    """
    study = known[STUDY]
    metric = next(iter(study["metrics"]))
    better = study["metrics"][metric]
    points = {
        (m, s): p for m in METHODS for s in shares if (p := _point(known, m, s, seeds))
    }
    spreads = {
        s: spread([p.values for (_, at), p in points.items() if at == s])
        for s in {at for _, at in points}
    }
    told = [_told(known, m, s, seeds, points, spreads[s], better) for m, s in points]
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
    }


def _point(known: Known, method: str, share: float, seeds: int) -> Point | None:
    cells = [Cell(method, share, seed) for seed in range(seeds)]
    taken = [
        Measurement.from_json(known[test_key(c)]["test"])
        for c in cells
        if test_key(c) in known
    ]
    if len(taken) < len(cells):
        return None
    labels = [known[c.key]["labels"] for c in cells]
    return Point(round(sum(labels) / len(labels)), taken)


def _told(
    known: Known,
    method: str,
    share: float,
    seeds: int,
    points: Points,
    over_seeds: Spread,
    better: str,
) -> dict[str, Any]:
    point = points[method, share]
    records = [known[Cell(method, share, s).key] for s in range(seeds)]
    checked = [Measurement.from_json(r["validation"]).value for r in records]
    return {
        "method": method,
        "share": share,
        "labels": point.labels,
        **_ends(estimate(point.value, point.replicates, over_seeds)),
        "by_seed": point.values.tolist(),
        "validation": sum(checked) / len(checked),
        "gain": _gain(method, share, points, better),
        "teachers": sorted({r["teacher"] for r in records if r.get("teacher")}),
    }


def _ends(found: Estimate) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}


def _gain(
    method: str, share: float, points: Points, better: str
) -> dict[str, Any] | None:
    """Over plain training with the same labels, seed by seed and sample by sample."""
    base, point = points.get(("plain", share)), points[method, share]
    if base is None or method == "plain":
        return None
    others = [p for (m, s), p in points.items() if s == share and m != "plain"]
    found = estimate(
        point.value - base.value,
        point.replicates - base.replicates,
        spread([p.values - base.values for p in others]),
    )
    sign = 1 if better == "higher" else -1
    return {**_ends(found), "verdict": sign * found.sign}


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
