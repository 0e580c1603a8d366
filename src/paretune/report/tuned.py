"""The best way to train that a search of hyper-parameters has found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paretune.core.errors import StoreError
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.learning.fine_tuning import FineTuning
from paretune.report import _figures as f
from paretune.report._words import label
from paretune.report.records import metric, plain
from paretune.report.table import short

VERDICTS = {1: "better", 0: "tie", -1: "worse"}


def best(study: Study) -> Trial:
    """The trial of the best quality on the validation split, the baseline left out.

    Raises:
        StoreError: no trial has been judged.
    """
    axis = study.objectives[0]
    sign = -1.0 if axis.better == "higher" else 1.0
    judged = [t for t in study.trials if t.number and t.ok and axis.metric in t.values]
    if not judged:
        raise StoreError(
            "tune-empty",
            f"no trial of study {study.name!r} has been judged; give it more --trials "
            "or --budget.",
        )
    return min(judged, key=lambda t: (sign * t.values[axis.metric], t.number))


def record(study: Study) -> dict[str, Any]:
    """What was found, as JSON values.

    Returns:
        {"study", "metric", "tried": settings judged, halted ones too, "best": {"trial",
        "recipe", "figure"}, "against_baseline" and "against_default": {"value", "low",
        "high", "verdict": "better", "tie" or "worse"}, or null where there is none}.
    """
    name, found = study.objectives[0].metric, best(study)
    return {
        "study": study.name,
        "metric": name,
        "tried": _tried(study),
        "best": {
            "trial": found.number,
            "recipe": plain(found.steps),
            "figure": metric(found.measurements[name]),
        },
        "against_baseline": _json(_beside(study, found, study.baseline)),
        "against_default": _json(_beside(study, found, _default(study))),
    }


def lines(study: Study) -> Iterator[str]:
    """The same in words."""
    name, found = study.objectives[0].metric, best(study)
    figure = f.words(study, found.measurements[name])
    yield f"Best {label(name)} on validation: {figure} (trial {found.number})."
    yield f"  {short(found.steps)}"
    for step in found.steps:
        values = ", ".join(
            f"{k} {_value(v)}" for k, v in step.items() if k != "technique"
        )
        yield f"  {step['technique']}: {values}"
    default = _default(study)
    yield _compared("the baseline", _beside(study, found, study.baseline))
    if default is None:
        yield "The default setting has no figure to compare with."
    elif default.number == found.number:
        halted = any(t.halted for t in study.trials)
        which = "no other that trained to its end" if halted else "no other"
        yield f"It is the default setting itself: {which} was better."
    else:
        yield _compared("the default setting", _beside(study, found, default))
    count = _tried(study)
    if count > 1:
        yield (
            f"Chosen among {count} on the validation split, it looks better there than "
            f"it is; 'paretune frontier {study.name} --certify' reads the test split."
        )


def _compared(with_what: str, change: f.Change | None) -> str:
    if change is None:
        return f"Against {with_what}: not known."
    ends = f"95 %: {change.interval.low:+.4f} to {change.interval.high:+.4f}"
    said = "a tie" if change.verdict == 0 else VERDICTS[change.verdict]
    return f"Against {with_what}: {change.plain}, {said} ({ends.replace('-', '−')})."


def _beside(study: Study, trial: Trial, other: Trial | None) -> f.Change | None:
    name = study.objectives[0].metric
    if other is None or other.number == trial.number or name not in other.measurements:
        return None
    return f.between(study, trial.measurements[name], other.measurements[name])


def _default(study: Study) -> Trial | None:
    """The trial of the setting that nobody would have to search for, if it is ok."""
    return next((t for t in study.trials if t.ok and _is_default(t.steps)), None)


def _is_default(steps: Sequence[Mapping[str, Any]]) -> bool:
    if len(steps) != 1 or steps[0]["technique"] != FineTuning.name():
        return False
    (step,) = steps
    return (
        dict(step) == FineTuning(epochs=step["epochs"], start=step["start"]).to_json()
    )


def _tried(study: Study) -> int:
    return sum(t.number > 0 and (t.ok or t.halted) for t in study.trials)


def _json(change: f.Change | None) -> dict[str, Any] | None:
    if change is None:
        return None
    ends = {"low": change.interval.low, "high": change.interval.high}
    return {
        **plain({"value": change.amount, **ends}),
        "verdict": VERDICTS[change.verdict],
    }


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
