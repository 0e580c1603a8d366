"""Two trials side by side: on one axis, and on all."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier._quality import lowest, paired, sign

INFERIOR = 0.01  # of the baseline's quality: MLPerf's 99 %


def compare(x: Trial, y: Trial, objective: Objective, noise: float = 0.0) -> int:
    """1 if x is certainly better than y on this axis, -1 if worse, 0 if it's a tie.

    Exact figures are compared as they are. Times: the 95 % interval of log(x/y)
    excludes 0, and the ratio is beyond `noise`. Quality on the same samples: they are
    compared sample by sample, scores of 0 and 1 by mid-p McNemar, others by the paired
    bootstrap. Anything else: the intervals don't overlap. No figure at all is worse
    than any figure, unless a trial was only screened so far, which is too short for
    some.

    Args:
        x: a trial; number 0 is the baseline, whose ratio to itself is 1.
        y: another.
        objective: the axis.
        noise: the share by which one model differs from itself on this host.
    """
    a, b = (t.measurements.get(objective.metric) for t in (x, y))
    if a is None or b is None:
        if any(map(screened, (x, y))):
            return 0
        return (b is None) - (a is None)
    if a.kind == b.kind == "exact":
        low = high = a.value - b.value
    elif a.kind == b.kind == "launches":
        low, high = _log_ratio(x, a, y, b)
        if abs(low + high) / 2 <= noise:
            return 0
    elif paired(a, b):
        low = high = float(sign(a, b))
    else:
        low = a.interval.low - b.interval.high
        high = a.interval.high - b.interval.low
    above = int(low > 0) - int(high < 0)
    return above if objective.better == "higher" else -above


def screened(trial: Trial) -> bool:
    """Whether only the screening protocol has been run on it."""
    return any("screening" in m.flags for m in trial.measurements.values())


def _log_ratio(
    x: Trial, a: Measurement, y: Trial, b: Measurement
) -> tuple[float, float]:
    """95 % interval of log(a/b): Welch's if both were measured beside the baseline."""
    one, two = mean_log_ratio(x, a), mean_log_ratio(y, b)
    if one is None or two is None:
        low = _log(a.interval.low) - _log(b.interval.high)
        return low, _log(a.interval.high) - _log(b.interval.low)
    from scipy.special import stdtrit

    middle, variance = one[0] - two[0], one[1] + two[1]
    if variance == 0:
        return middle, middle
    freedom = variance**2 / sum(v**2 / df for _, v, df in (one, two) if v)
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(variance)
    return middle - half, middle + half


def mean_log_ratio(trial: Trial, m: Measurement) -> tuple[float, float, int] | None:
    """(mean of log(figure/baseline), its variance, degrees of freedom)."""
    if trial.number == 0:
        return 0.0, 0.0, 1
    return _mean_log(m.ratios) if len(m.ratios) > 1 else None


@lru_cache(maxsize=10_000)
def _mean_log(values: tuple[float, ...]) -> tuple[float, float, int]:
    logs = np.log(np.maximum(values, 1e-30))
    return float(logs.mean()), float(logs.var(ddof=1)) / len(logs), len(logs) - 1


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def dominates(y: Trial, x: Trial, study: Study) -> bool:
    """Whether y makes x pointless.

    A trial that breaks the budget never dominates one that meets it: else the best
    point within the budget could be lost to a tie with one that is of no use.
    """
    return verdict(y, x, study) > 0


def verdict(y: Trial, x: Trial, study: Study) -> int:
    """1 if y dominates x, -1 if x dominates y, else 0."""
    won = lost = False
    quick_first = sorted(study.objectives, key=lambda o: o.metric in study.metrics)
    for objective in quick_first:
        match compare(y, x, objective, study.floor(objective.metric)):
            case 1:
                won = True
            case -1:
                lost = True
        if won and lost:
            return 0
    if won:
        return int(allowed(y, x, study))
    return -int(lost and allowed(x, y, study))


def allowed(y: Trial, x: Trial, study: Study) -> bool:
    """Whether y may dominate x: it meets the budget if x does, and is no worse."""
    if study.meets(x) and not study.meets(y):
        return False
    axes = (o for o in study.objectives if o.metric in study.metrics)
    return all(_not_inferior(y, x, o, study) for o in axes)


def _not_inferior(y: Trial, x: Trial, objective: Objective, study: Study) -> bool:
    """Whether y's quality is x's, or less by under 1 % of the baseline's, at 97.5 %."""
    a, b = (t.measurements.get(objective.metric) for t in (y, x))
    if a is None or b is None:
        return b is None
    base = study.baseline
    whole = base.values.get(objective.metric, b.value) if base else b.value
    margin = INFERIOR * abs(whole)
    up = 1.0 if objective.better == "higher" else -1.0
    if paired(a, b):
        return lowest(a, b, up) > -margin
    worst = a.interval.low if up > 0 else a.interval.high
    return a.value == b.value or up * (worst - b.value) > -margin
