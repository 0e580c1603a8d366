"""The frontier as one JSON object: the contract for scripts.

Version 1::

    {"version": 1, "study", "task", "target": {...}, "strategy",
     "certified": whether the members' quality is that of the test split,
     "certifications": how often the test split has been read,
     "baseline": MEMBER or null, "members": [MEMBER, ...],
     "budget": the constraints as the user wrote them,
     "hypervolume", "hypervolume_interval": [low, high],
     "reference_point": {metric: value},
     "trials": {"done", "failed", "stopped", "infeasible"},
     "cost": {"wall_s", "train_s", "measure_s", "overhead_s", ..., "energy_j",
              "energy_source": "none"}}

    MEMBER: {"id": the trial's number as text,
     "recipe": [{"technique", parameter: value, ...}, ...],
     "artifact": path or null, "sha256" or null,
     "metrics": {name: {"value", "low", "high", "unit", "split" or null,
                        "ratio": {"value", "low", "high"} to the baseline, if paired}},
     "parity": {"max_abs", "agreement", ...},
     "probability": the share of resamples in which it is on the frontier,
     "meets_budget"}

Figures are in SI base units. A figure that is unknown or not finite is null. Quality
is that of the test split where that has been read, else of the validation split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from paretune.core.measurement import Measurement
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import Frontier, frontier
from paretune.report._figures import meets, shown
from paretune.report.verdict import counts

VERSION = 1
SPENT = ("wall_s", "train_s", "measure_s", "overhead_s")


def records(study: Study) -> dict[str, Any]:
    """The study's frontier as JSON values; see the contract above."""
    found = frontier(study)
    base = study.baseline
    interval = found.hypervolume_interval
    members = {t.number for t in found.members}
    return {
        "version": VERSION,
        "study": study.name,
        "task": study.task,
        "target": study.target.to_json(),
        "strategy": study.strategy,
        "certified": bool(members) and members <= study.certified.keys(),
        "certifications": study.certifications,
        "baseline": member(study, base, found) if base else None,
        "members": [member(study, t, found) for t in found.members],
        "budget": [c.text for c in study.budget.constraints],
        "hypervolume": finite(found.hypervolume),
        "hypervolume_interval": [finite(interval.low), finite(interval.high)],
        "reference_point": {k: finite(v) for k, v in found.reference.items()},
        "trials": counts(study),
        "cost": _cost(study.cost),
    }


def member(study: Study, trial: Trial, found: Frontier) -> dict[str, Any]:
    """One trial as JSON values: MEMBER above."""
    path = study.path(trial)
    return {
        "id": str(trial.number),
        "recipe": plain(trial.steps),
        "artifact": None if path is None else str(path),
        "sha256": trial.artifact,
        "metrics": {k: metric(m) for k, m in shown(study, trial).items()},
        "parity": plain(trial.parity),
        "probability": found.probability.get(trial.number),
        "meets_budget": meets(study, trial),
    }


def metric(m: Measurement) -> dict[str, Any]:
    """One figure with its 95 % interval, and its ratio to the baseline if paired."""
    record: dict[str, Any] = {
        "value": finite(m.value),
        "low": finite(m.interval.low),
        "high": finite(m.interval.high),
        "unit": m.unit,
        "split": m.split,
    }
    if m.ratio is not None:
        middle, interval = m.ratio
        ends = {"low": finite(interval.low), "high": finite(interval.high)}
        record["ratio"] = {"value": finite(middle), **ends}
    return record


def finite(value: float) -> float | None:
    """The value; None in place of NaN and infinity, which JSON doesn't have."""
    return float(value) if math.isfinite(value) else None


def plain(value: Any) -> Any:
    """As JSON values, whatever was put in: None for what is not finite.

    Example:
        >>> plain({"a": (1, float("nan"))})
        {'a': [1, None]}
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return str(value)


def _cost(cost: Mapping[str, float]) -> dict[str, Any]:
    spent = {k: finite(cost.get(k, 0.0)) for k in dict.fromkeys((*SPENT, *cost))}
    return {**spent, "energy_j": 0.0, "energy_source": "none"}
