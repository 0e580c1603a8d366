"""The figures of a study that are shown, and how they differ from the baseline's."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from paretune.core.budget import Constraint
from paretune.core.measurement import Interval, Measurement
from paretune.core.statistics import Difference, detectable_difference
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import compare, difference, paired
from paretune.report._certified import interval, optimism, together
from paretune.report._words import Figure, decimals, digits, figure, fixed

# Words in the names of metrics that are shares of something, and of errors that aren't.
SHARES = frozenset(
    {"accuracy", "acc", "precision", "recall", "sensitivity", "specificity", "f1"}
    | {"auc", "auroc", "auprc", "roc", "iou", "miou", "dice", "jaccard", "map", "map50"}
    | {"ap", "top1", "top5"}
)
AMOUNTS = frozenset({"mae", "mse", "rmse", "mape", "loss"})


def reads_as_share(m: Measurement) -> bool:
    """Whether a quality reads best per cent: it is known to be a share.

    Scores that are all 0 or 1 are. Of a float nothing is known but its name: an R2 or
    a correlation of 0.9 is no 90 %, an F1 or an AUC is read as one.

    Example:
        >>> r2 = Measurement("r2", "1", "higher", (0.9,), "exact")
        >>> f1 = Measurement("macro_f1", "1", "higher", (0.9,), "exact")
        >>> reads_as_share(r2), reads_as_share(f1)
        (False, True)
    """
    if m.unit != "1" or _named(m.metric, AMOUNTS):
        return False
    if m.binary:
        return True
    within = bool(m.scores.min() >= 0 and m.scores.max() <= 1)
    return m.better == "higher" and within and _named(m.metric, SHARES)


def _named(metric: str, words: frozenset[str]) -> bool:
    return not words.isdisjoint(re.split(r"[^a-z0-9]+", metric.lower()))


def is_share(study: Study, metric: str) -> bool:
    """Whether a quality metric of this study reads best per cent, in every trial."""
    if metric not in study.metrics:
        return False
    taken = [t.measurements.get(metric) for t in study.trials]
    taken += [c.get(metric) for c in study.certified.values()]
    known = [m for m in taken if m is not None]
    return bool(known) and all(map(reads_as_share, known))


def words(study: Study, m: Measurement) -> Figure:
    """A measurement of this study in words."""
    return figure(m, is_share(study, m.metric), interval(study, m))


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
        text: in words: "8.3× smaller", "−0.4 pt", "−0.02 (better)", "not
            distinguishable".
        brief: for a table, as a gain: "8.3×", "−0.4 pt", "−0.02 better", "≈".
        plain: the difference of quality alone, as signed as it is.
    """

    amount: float
    interval: Interval
    verdict: int
    text: str
    brief: str
    plain: str = ""


DIRECTIONS = {
    "s": ("faster", "slower"),
    "byte": ("less", "more"),
    "1": ("fewer", "more"),
    "1/s": ("more", "less"),
    "J": ("less", "more"),
    "size": ("smaller", "larger"),
}


def change(
    study: Study, trial: Trial, metric: str, certified: bool = True
) -> Change | None:
    """The trial beside the baseline on one metric; None if either has no figure.

    The interval leaves out the baseline's own figure if and only if the verdict calls
    them different. On the test split both hold for all certified models at once.

    Args:
        study: with the baseline.
        trial: any but the baseline.
        metric: its name.
        certified: take the test split's figures where both have them.
    """
    base = study.baseline
    both = _both(study, trial, metric, certified)
    if base is None or both is None:
        return None
    mine, its = both
    if metric in study.metrics:
        found = None
        if _proven(study, trial, certified):
            found = together(study, metric).differences.get(trial.number)
        elif paired(mine, its):
            found = difference(mine, its)
        return _difference(mine, found or _apart(mine, its), is_share(study, metric))
    axis = Objective(metric, mine.better)
    verdict = compare(_only(trial, mine), _only(base, its), axis, study.floor(metric))
    return _ratio(mine, its, verdict)


def between(study: Study, mine: Measurement, its: Measurement) -> Change:
    """One quality of two models beside the other, of the same split."""
    found = difference(mine, its) if paired(mine, its) else _apart(mine, its)
    return _difference(mine, found, is_share(study, mine.metric))


def _proven(study: Study, trial: Trial, certified: bool) -> bool:
    return certified and trial.number in study.certified and 0 in study.certified


def _both(
    study: Study, trial: Trial, metric: str, certified: bool
) -> tuple[Measurement, Measurement] | None:
    """(the trial's figure, the baseline's), of one split."""
    base = study.baseline
    if base is None or trial.number == 0:
        return None
    proven = _proven(study, trial, certified)
    mine, its = (
        (shown(study, t) if proven else t.measurements).get(metric)
        for t in (trial, base)
    )
    return None if mine is None or its is None else (mine, its)


def detectable(study: Study, trial: Trial, metric: str) -> float | None:
    """The true difference from the baseline that these samples find 4 times in 5.

    For one comparison by itself; None if the two are not paired.
    """
    both = _both(study, trial, metric, True)
    if both is None or not paired(*both):
        return None
    mine, its = both
    if mine.kind == "resamples":
        return detectable_difference(float((mine.replicates - its.replicates).std()), 1)
    spread = float((mine.scores - its.scores).std())
    return detectable_difference(spread, len(mine.values))


def _only(trial: Trial, m: Measurement) -> Trial:
    return Trial(trial.number, trial.steps, trial.state, {m.metric: m})


def _apart(mine: Measurement, its: Measurement) -> Difference:
    """On different samples: apart only if the two intervals are."""
    low = mine.interval.low - its.interval.high
    high = mine.interval.high - its.interval.low
    return Difference(mine.value - its.value, low, high, math.nan)


def _difference(mine: Measurement, found: Difference, share: bool) -> Change:
    verdict = found.sign if mine.better == "higher" else -found.sign
    said = signed(found.value, (found.high - found.low) / 2, share)
    text, brief = said, said if verdict else f"{said} ≈"
    if mine.better == "lower" and verdict:
        which = "better" if verdict > 0 else "worse"
        text, brief = f"{said} ({which})", f"{said} {which}"
    ends = Interval(found.low, found.high)
    return Change(found.value, ends, verdict, text, brief, said)


def signed(amount: float, half: float, share: bool) -> str:
    """A difference of quality, with the digits that its half-width carries.

    Example:
        >>> signed(-0.0042, 0.004, True), signed(0.0312, 0.002, False)
        ('−0.4 pt', '+0.031')
    """
    times, unit = (100, " pt") if share else (1, "")
    if half * times > 1e-9:
        said = fixed(amount * times, decimals(half * times), "+")
    else:
        said = f"{'-' if amount < 0 else '+'}{digits(abs(amount) * times)}"
    return f"{said}{unit}".replace("-", "−")


def gap(study: Study, trial: Trial, metric: str) -> str:
    """The optimism gap in words, "+0.6 pt (−0.3 to +1.5 pt)"; empty if not known."""
    found = optimism(study, trial, metric)
    if found is None:
        return ""
    half, share = (found.high - found.low) / 2, is_share(study, metric)
    middle, low, high = (
        signed(v, half, share) for v in (found.value, found.low, found.high)
    )
    return f"{middle} ({low.removesuffix(' pt')} to {high})"


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
    if verdict == 0:  # what lies within the host's noise is no difference
        interval = Interval(min(interval.low, 1.0), max(interval.high, 1.0))
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
        "energy",
    )
    taken = {m for t in study.trials if t.ok for m in t.measurements}
    return tuple(m for m in dict.fromkeys(wanted) if m in taken)
