"""The figures of trials as numbers, and what else they could have been."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from paretune.core.budget import FOOTPRINT, Budget
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier._compare import mean_log_ratio

RESAMPLES = 1_000
COST_MARGIN = 1.1  # the reference point's cost, over the baseline's
QUALITY_DROP = 0.1  # and its quality below the baseline's, where no budget says


def distinct(study: Study) -> tuple[Trial, ...]:
    """The trials that are ok, by number, one of each file.

    Of copies the first, or the first that meets the budget: two readings of one file
    may lie either side of a limit, and the budget must not lose what can meet it.
    """
    trials = [t for t in study.trials if t.ok]
    trials.sort(key=lambda t: (not study.meets(t), t.number), reverse=True)
    kept = {t.artifact or f"trial {t.number}": t for t in trials}
    return tuple(sorted(kept.values(), key=lambda t: t.number))


def reference(o: Objective, base: Mapping[str, float], budget: Budget) -> float:
    value, sign = base[o.metric], 1.0 if o.better == "higher" else -1.0
    if o.metric in FOOTPRINT:
        return value / COST_MARGIN if sign > 0 else value * COST_MARGIN
    limits = [c.limit(base) for c in budget.constraints if c.metric == o.metric]
    below = [limit for limit in limits if sign * (value - limit) > 0]
    if below:
        return max(below, key=lambda limit: sign * limit)
    return value - sign * QUALITY_DROP * (abs(value) or 1.0)


def signs(study: Study) -> np.ndarray:
    return np.array([1.0 if o.better == "higher" else -1.0 for o in study.objectives])


def figures(study: Study, trials: Sequence[Trial]) -> np.ndarray:
    """Shape (trials, axes)."""
    rows = [[figure(t, o, study) for o in study.objectives] for t in trials]
    return np.array(rows, dtype=float).reshape(len(trials), len(study.objectives))


def figure(trial: Trial, objective: Objective, study: Study) -> float:
    """A time beside the baseline's is its ratio's: the host may have drifted since."""
    m = trial.measurements.get(objective.metric)
    if m is None:
        return -math.inf if objective.better == "higher" else math.inf
    base = study.baseline
    if trial.number and m.ratio and base and objective.metric in base.values:
        return base.values[objective.metric] * m.ratio[0]
    return m.value


def draw(trial: Trial, objective: Objective, axis: int, study: Study) -> np.ndarray:
    """RESAMPLES figures that this one could have been."""
    m = trial.measurements.get(objective.metric)
    middle = figure(trial, objective, study)
    if m is None or m.kind == "exact":
        return np.full(RESAMPLES, middle)
    if m.kind in ("samples", "resamples"):
        return np.resize(m.replicates, RESAMPLES)
    rng = np.random.default_rng((trial.number, axis))
    paired = mean_log_ratio(trial, m)
    if m.kind == "peak" or paired is None:
        return np.resize(rng.permutation(m.replicates), RESAMPLES)
    _, variance, freedom = paired
    drawn = rng.standard_t(freedom, RESAMPLES) * math.sqrt(variance)
    return np.asarray(
        middle * np.exp(drawn.clip(-50.0, 50.0))
    )  # two launches draw far out
