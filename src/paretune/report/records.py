"""The frontier as one JSON object: the contract for scripts.

Version 1::

    {"version": 1, "study", "task", "target": {...}, "strategy",
     "certified": whether the members' quality is that of the test split,
     "certifications": how often the test split has been read,
     "baseline": MEMBER or null, "members": [MEMBER, ...],
     "budget": the constraints as the user wrote them,
     "hypervolume", "hypervolume_interval": [low, high],
     "reference_point": {metric: value},
     "trials": {"done", "failed", "stopped", "infeasible", "halted", "foreseen": those
                of the infeasible that a prediction passed over},
     "warm_start": null, or {"studies": [name, ...], "trials": [number, ...] taken over
                   from them, "members": how many of those are on the frontier,
                   "hypervolume_share": of the hypervolume, what they have alone with
                   the baseline, "baseline_share": what the baseline has by itself},
     "cost": {"wall_s", "train_s", "measure_s", "overhead_s", ..., "cpu_s", "energy_j",
              "energy_source": "rapl", "nvml", "metered", "estimate" or "none",
              "co2e_g", "grid": {"intensity": g/kWh, "year", "source", ...} or null},
     "attribution": {a trial's number as text: what `paretune attribute` found of it;
                     see `api.attribute`}, only if it was run}

    MEMBER: {"id": the trial's number as text,
     "recipe": [{"technique", parameter: value, ...}, ...],
     "artifact": path or null, "sha256" or null,
     "metrics": {name: {"value", "low", "high", "unit", "split" or null,
                        "ratio": {"value", "low", "high"} to the baseline, if paired}},
     "parity": {"max_abs", "agreement", ...},
     "optimism_gap": {"value", "low", "high"} or null if it is not certified: by how
                     much its main quality looked better on the validation split than
                     it is on the test split (validation less test, the other way
                     round if lower is better),
     "probability": the share of resamples in which it is on the frontier,
     "break_even": {"inferences", "low", "high", "by": "cpu_s" or "energy"}, after which
                   the search is repaid; null if never, or not known,
     "meets_budget"}

Figures are in SI base units. A figure that is unknown or not finite is null. Quality
is that of the test split where that has been read, else of the validation split.
"low" and "high" are the ends of 95 % intervals; those of quality on the test split hold
for all certified models at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from paretune.core.measurement import Interval, Measurement
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import Frontier, frontier
from paretune.report._certified import interval, optimism
from paretune.report._costs import break_even, spent
from paretune.report._figures import meets, shown
from paretune.report._warm import warm_start
from paretune.report.verdict import counts

VERSION = 1


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
        "trials": {
            **counts(study),
            "foreseen": sum(t.foreseen for t in study.trials),
        },
        "warm_start": plain(warm_start(study, found)),
        "cost": plain(spent(study)),
        **_attribution(study),
    }


def _attribution(study: Study) -> dict[str, Any]:
    """What `paretune attribute` found, if it was run."""
    found = {str(n): plain(told) for n, told in sorted(study.attributions.items())}
    return {"attribution": found} if found else {}


def member(study: Study, trial: Trial, found: Frontier) -> dict[str, Any]:
    """One trial as JSON values: MEMBER above."""
    path, even = study.path(trial), break_even(study, trial)
    return {
        "id": str(trial.number),
        "recipe": plain(trial.steps),
        "artifact": None if path is None else str(path),
        "sha256": trial.artifact,
        "metrics": {
            k: metric(m, interval(study, m)) for k, m in shown(study, trial).items()
        },
        "parity": plain(trial.parity),
        "optimism_gap": _optimism(study, trial),
        "probability": found.probability.get(trial.number),
        "break_even": None if even is None else plain(even.to_json()),
        "meets_budget": meets(study, trial),
    }


def _optimism(study: Study, trial: Trial) -> dict[str, Any] | None:
    gap = optimism(study, trial, next(iter(study.metrics), ""))
    if gap is None:
        return None
    ends = {"low": finite(gap.low), "high": finite(gap.high)}
    return {"value": finite(gap.value), **ends}


def metric(m: Measurement, interval: Interval | None = None) -> dict[str, Any]:
    """One figure with its 95 % interval, and its ratio to the baseline if paired.

    Args:
        m: the figure.
        interval: to give in place of its own.
    """
    ends = interval or m.interval
    record: dict[str, Any] = {
        "value": finite(m.value),
        "low": finite(ends.low),
        "high": finite(ends.high),
        "unit": m.unit,
        "split": m.split,
    }
    if m.ratio is not None:
        middle, around = m.ratio
        low, high = finite(around.low), finite(around.high)
        record["ratio"] = {"value": finite(middle), "low": low, "high": high}
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
