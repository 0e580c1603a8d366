"""What each step of a recipe did to the quality, and to which samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.statistics import mcnemar
from paretune.core.task import Task
from paretune.core.trial import Trial
from paretune.engine.explain._judge import Figures, Judge, differences, targets
from paretune.engine.explain._states import States
from paretune.engine.realise import TRACED_SAMPLES

SHOWN = 20  # samples of each kind
CLASSES = 12


def steps(
    states: States, judge: Judge, member: Trial, baseline: Trial
) -> list[dict[str, Any]]:
    """Quality on the whole validation split after each step of the recipe.

    The first and the last figure are those of the deployed files, as the study has
    them; states between come from the cache, and nothing is trained to get one.

    Returns:
        {"step", "format", "judged", "quality": {metric: {"value", "low", "high"}},
        "change": {metric: ...}} each; `judged` says in what: "runtime", "torch" or
        "trace", a note of the search on the first samples, for a state that is gone.
    """
    first = {"step": "baseline", "format": baseline.format, "judged": "runtime"}
    start = quality_of(baseline, judge.task)
    found = [{**first, "quality": _told(start), "change": {}}]
    before: Figures | None = start
    ends = [
        i for i, n in enumerate(states.path) if n.step not in ("baseline", "export")
    ]
    for number in ends:
        node = states.path[number]
        record: dict[str, Any] = {"step": node.step, "format": node.format}
        candidate = None if number == ends[-1] else states.get(number)
        now: Figures | None = None
        if number == ends[-1]:
            now, record["judged"] = quality_of(member, judge.task), "runtime"
        elif candidate is not None:
            now = judge.candidate(candidate)
            record["judged"] = "torch" if node.format == "torch" else "runtime"
        if now is None:
            record |= {"judged": "trace", "quality": _traced(member, number)}
        else:
            record["quality"] = _told(now)
        record["change"] = differences(now, before) if now and before else {}
        found.append(record)
        before = now
    return found


def quality_of(trial: Trial, task: Task) -> dict[str, Measurement]:
    """The figures of a trial on the validation split."""
    return {k: m for k, m in trial.measurements.items() if k in task.metrics}


def _told(figures: Figures) -> dict[str, dict[str, float]]:
    return {
        k: {"value": m.value, "low": m.interval.low, "high": m.interval.high}
        for k, m in figures.items()
    }


def _traced(trial: Trial, number: int) -> dict[str, dict[str, float]]:
    """What the search noted of the node, on the first samples of the split."""
    if number >= len(trial.trace):
        return {}
    noted: Mapping[str, float] = trial.trace[number].get("quality") or {}
    return {k: {"value": v, "samples": TRACED_SAMPLES} for k, v in noted.items()}


def flips(task: Task, member: Trial, baseline: Trial) -> dict[str, Any]:
    """Samples that were right and are wrong now, and the reverse.

    For scores that are not 0 or 1: the samples whose score changed most.
    """
    metric = task.metric
    mine, its = (quality_of(t, task).get(metric) for t in (member, baseline))
    if mine is None or its is None or mine.kind != "samples" or its.kind != "samples":
        return unavailable(f"{metric} gives no score for each sample.")
    if len(mine.values) != len(its.values):
        return unavailable("the trial was judged on other samples than the baseline.")
    now, before = np.asarray(mine.values), np.asarray(its.values)
    sign = 1.0 if mine.better == "higher" else -1.0
    apart = sign * (now - before)
    found: dict[str, Any] = {"metric": metric, "samples": len(now), "classes": []}
    if np.isin(now, (0, 1)).all() and np.isin(before, (0, 1)).all():
        lost, won = np.flatnonzero(apart < 0), np.flatnonzero(apart > 0)
        found |= {
            "lost": {"count": len(lost), "samples": lost[:SHOWN].tolist()},
            "won": {"count": len(won), "samples": won[:SHOWN].tolist()},
            "p": mcnemar(len(won), len(lost)),
            "classes": _by_class(task, apart),
        }
    else:
        order = np.argsort(apart, kind="stable")
        worst = [int(i) for i in order[:SHOWN] if apart[i] < 0]
        best = [int(i) for i in order[::-1][:SHOWN] if apart[i] > 0]
        found |= {
            "worse": _scores(worst, before, now),
            "better": _scores(best, before, now),
        }
    return found


def _scores(rows: list[int], before: np.ndarray, now: np.ndarray) -> dict[str, Any]:
    return {
        "samples": rows,
        "before": before[rows].tolist(),
        "after": now[rows].tolist(),
    }


def _by_class(task: Task, apart: np.ndarray) -> list[dict[str, Any]]:
    """Gains and losses of each class, the most net loss first; [] without classes."""
    labels = list(targets(task).values())
    whole = len(labels) == 1 and labels[0].dtype.kind in "iu"
    if not whole or labels[0].shape != apart.shape:
        return []
    found = [
        {
            "class": int(label),
            "samples": int((labels[0] == label).sum()),
            "lost": int((apart[labels[0] == label] < 0).sum()),
            "won": int((apart[labels[0] == label] > 0).sum()),
        }
        for label in np.unique(labels[0])
    ]
    if len(found) > len(apart) // 2:
        return []  # numbers that are no classes
    return sorted(found, key=lambda c: c["won"] - c["lost"])[:CLASSES]


def unavailable(why: str) -> dict[str, Any]:
    """A part of an explanation that can't be given, and why in a sentence.

    Example:
        >>> unavailable("the file is gone")
        {'unavailable': 'the file is gone.'}
    """
    return {"unavailable": why.rstrip(".") + "."}
