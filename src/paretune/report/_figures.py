"""The figures of a study that are shown, and how they differ from the baseline's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from paretune.core.budget import Constraint
from paretune.core.measurement import Interval, Measurement
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import compare
from paretune.report._words import Figure, decimals, digits, figure, fixed


def is_share(study: Study, metric: str) -> bool:
    """Whether a quality metric reads best per cent: higher is better, all in [0, 1]."""
    if study.metrics.get(metric) != "higher":
        return False
    taken = [t.measurements.get(metric) for t in study.trials]
    taken += [c.get(metric) for c in study.certified.values()]
    return all(0 <= m.value <= 1 for m in taken if m is not None)


def words(study: Study, m: Measurement) -> Figure:
    """A measurement of this study in words."""
    return figure(m, is_share(study, m.metric))


def shown(study: Study, trial: Trial) -> Mapping[str, Measurement]:
    """The trial's figures: quality on the test split once that has been read."""
    return {**trial.measurements, **study.certified.get(trial.number, {})}


def broken(study: Study, trial: Trial) -> tuple[Constraint, ...]:
    """The constraints that the figures shown break.

    A certified trial is judged beside the certified baseline, on the same split.
    """
    base = study.baseline
    if base is None:
        return ()
    proven = trial.number in study.certified and 0 in study.certified
    values, limits = (
        {k: m.value for k, m in shown(study, t).items()} if proven else t.values
        for t in (trial, base)
    )
    return study.budget.broken(values, limits)


def meets(study: Study, trial: Trial) -> bool:
    """Whether the figures shown meet the budget, none missing."""
    known = study.budget.metrics <= shown(study, trial).keys()
    return (
        trial.ok and study.baseline is not None and known and not broken(study, trial)
    )


@dataclass(frozen=True)
class Change:
    """How a figure differs from the baseline's.

    Attributes:
        amount: ratio to the baseline for a footprint, difference for quality.
        interval: its 95 % interval.
        verdict: 1 better, -1 worse, 0 not distinguishable.
        text: in words: "8.3× smaller", "−0.4 pt", "not distinguishable".
        brief: for a table, as a gain: "8.3×", "−0.4 pt", "≈".
    """

    amount: float
    interval: Interval
    verdict: int
    text: str
    brief: str


DIRECTIONS = {
    "s": ("faster", "slower"),
    "byte": ("less", "more"),
    "1": ("fewer", "more"),
    "1/s": ("more", "less"),
    "size": ("smaller", "larger"),
}


def change(
    study: Study, trial: Trial, metric: str, certified: bool = True
) -> Change | None:
    """The trial beside the baseline on one metric; None if either has no figure.

    Args:
        study: with the baseline.
        trial: any but the baseline.
        metric: its name.
        certified: take the test split's figures where both have them.
    """
    base = study.baseline
    if base is None or trial.number == 0:
        return None
    proven = certified and trial.number in study.certified and 0 in study.certified
    mine, its = (
        (shown(study, t) if proven else t.measurements).get(metric)
        for t in (trial, base)
    )
    if mine is None or its is None:
        return None
    axis = Objective(metric, mine.better)
    verdict = compare(_only(trial, mine), _only(base, its), axis, study.noise)
    if metric in study.metrics:
        return _difference(mine, its, verdict, is_share(study, metric))
    return _ratio(mine, its, verdict)


def _only(trial: Trial, m: Measurement) -> Trial:
    return Trial(trial.number, trial.steps, trial.state, {m.metric: m})


def _difference(
    mine: Measurement, its: Measurement, verdict: int, share: bool
) -> Change:
    amount = mine.value - its.value
    drawn = [np.resize(m.replicates, 2_000) for m in (mine, its)]
    low, high = np.percentile(drawn[0] - drawn[1], (2.5, 97.5))
    interval = Interval(float(low), float(high))
    size, unit = (0.01, " pt") if share else (1.0, "")
    half = (interval.high - interval.low) / 2 / size
    exact = f"{'-' if amount < 0 else '+'}{digits(abs(amount) / size)}"
    change = fixed(amount / size, decimals(half), "+") if half > 1e-9 else exact
    text = f"{change}{unit}".replace("-", "−")
    return Change(amount, interval, verdict, text, text if verdict else f"{text} ≈")


def _ratio(mine: Measurement, its: Measurement, verdict: int) -> Change | None:
    if mine.ratio is not None:
        amount, interval = mine.ratio
    elif its.value <= 0 or mine.value <= 0:
        return None
    else:
        amount = mine.value / its.value
        low, high = its.interval.low, its.interval.high
        interval = Interval(
            mine.interval.low / high if high else 0.0,
            mine.interval.high / low if low > 0 else math.inf,
        )
    if verdict == 0:
        text = "same" if amount == 1 else "not distinguishable"
        return Change(amount, interval, verdict, text, "≈" if amount != 1 else "=")
    better = amount < 1 if mine.better == "lower" else amount > 1
    words = DIRECTIONS.get(mine.metric) or DIRECTIONS[mine.unit]
    text = f"{_factor(amount, interval, True)}× {words[not better]}"
    brief = f"{_factor(amount, interval, mine.better == 'lower', False)}×"
    return Change(amount, interval, verdict, text, brief)


def _factor(amount: float, interval: Interval, turn: bool, above: bool = True) -> str:
    """A ratio as a factor: above 1 if asked for, else turned round or not."""
    if amount <= 0:
        return "∞"
    turn = amount < 1 if above else turn
    ends = (interval.low, interval.high)
    if turn:
        amount, ends = 1 / amount, (1 / max(ends[1], 1e-30), 1 / max(ends[0], 1e-30))
    half = (ends[1] - ends[0]) / 2
    places = decimals(half) if half else 2
    return fixed(amount, min(places, 0 if amount >= 99.5 else 1 if amount >= 2 else 2))


def axes(study: Study) -> tuple[str, ...]:
    """The metrics worth a column: quality, then what is searched, limited or basic."""
    wanted: Iterable[str] = (
        *study.metrics,
        "size",
        "latency_p50",
        *(o.metric for o in study.objectives),
        *(c.metric for c in study.budget.constraints),
    )
    taken = {m for t in study.trials if t.ok for m in t.measurements}
    return tuple(m for m in dict.fromkeys(wanted) if m in taken)
