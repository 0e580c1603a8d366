"""What each technique contributed: in a terminal, a pipe or a page."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paretune.core.measurement import Interval
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.report import _figures as f
from paretune.report import _html as h
from paretune.report import _words as w
from paretune.report._importanceplot import importances
from paretune.report._whywords import join, points, spread, step_name
from paretune.report.verdict import closest, pick

WIDTH = 100

Told = Mapping[str, Any]


def attribution(study: Study) -> str:
    """The section of the page; empty where no trial but the baseline has a file."""
    if study.baseline is None or not any(t.ok and t.number for t in study.trials):
        return ""
    trials = {t.number: t for t in study.trials}
    parts = [
        _block(study, trials[number], told)
        for number, told in sorted(study.attributions.items())
        if number in trials
    ]
    return "".join(parts or [_remedy(study)]) + importances(study)


def plain(study: Study, trial: Trial, told: Told) -> str:
    """As text, without colour or frames.

    Args:
        study: of the trial.
        trial: whose recipe it is.
        told: what `api.attribute` gave.
    """
    lines = [*textwrap.wrap(_lead(trial, told), WIDTH), ""]
    head = _head(told)
    rows = [head, *([c or "–" for c in _cells(study, s, told)] for s in told["steps"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, strict=True)
        lines.append("  ".join(c.ljust(width) for c, width in cells).rstrip())
    lines.append("")
    for step in told["steps"]:
        said = f"{_name(trial, step)}: {meaning(study, step)}"
        lines += textwrap.wrap(said, WIDTH, subsequent_indent="  ")
    along = path(study, trial)
    if along:
        lines += ["", *textwrap.wrap(along, WIDTH)]
    lines += ["", *textwrap.wrap(_note(told), WIDTH)]
    return "\n".join(map(w.printable, lines))


def meaning(study: Study, step: Told) -> str:
    """What a step contributes, in words.

    Args:
        study: whose metrics these are.
        step: one of the record that `api.attribute` gave.
    """
    if step["state"] == "refused":
        return f"it can't be left out: {step['error']}"
    if step["state"] != "ok":
        return f"the recipe fails without it: {step['error']}"
    change: Mapping[str, Told] = step["change"]
    called = [m for m in change if change[m]["verdict"]]
    if not called:
        if not change:
            return "nothing that was measured can be compared without it."
        return (
            "no difference without it could be told from chance on this many samples, "
            "which doesn't prove that there is none."
        )
    made = [_made(step, m) for m in called if change[m]["kind"] == "ratio"]
    parts = [f"makes {join(made)}"] if made else []
    parts += [_quality(study, step, m) for m in called if m in study.metrics]
    said = f"it {join(parts)}"
    if all(change[m]["verdict"] > 0 for m in called):
        said += ", and brings nothing in return"
    if same := [w.label(m) for m in change if m not in called]:
        said += f"; {join(same)} can't be told from what {_it(same)} without it"
    return f"{said}."


def path(study: Study, trial: Trial) -> str:
    """What the quality was along the recipe, in a sentence; empty if not noted."""
    metric = next(iter(study.metrics), "")
    noted = [
        (step_name(str(node["step"])), node["quality"][metric])
        for node in trial.trace
        if metric in (node.get("quality") or {})
    ]
    if len(noted) < 2:
        return ""
    told = [f"{points(study, metric, v)} after {name}" for name, v in noted[1:]]
    final = trial.measurements.get(metric)
    end = ""
    if final is not None:
        whole = points(study, metric, final.value)
        end = f"; the deployed file has {whole} on all of it"
    return (
        f"Along the recipe {w.label(metric)} went from "
        f"{points(study, metric, noted[0][1])} to {join(told)}, on the first samples "
        f"of the validation split{end}. What a step changes there is not what it "
        "contributes in the end: later steps make up for some of it."
    )


def _made(step: Told, metric: str) -> str:
    """What the step does to a footprint: "the file 3.9× smaller"."""
    told, figure = step["change"][metric], step["figures"].get(metric, {})
    words = f.DIRECTIONS.get(metric) or f.DIRECTIONS[figure.get("unit", "1")]
    value = max(told["value"], 1 / told["value"])
    named = {"size": "the file", "latency_p50": "calls"}.get(metric, w.label(metric))
    return f"{named} {_factor(value, told)}× {words[told['verdict'] > 0]}"


def _quality(study: Study, step: Told, metric: str) -> str:
    """What the step does to a quality: "adds 3.1 pt of accuracy"."""
    told, name = step["change"][metric], w.label(metric)
    size = _signed(study, metric, told).lstrip("+−")
    if study.metrics[metric] == "higher":
        return f"{'adds' if told['verdict'] < 0 else 'costs'} {size} of {name}"
    return f"{'lowers' if told['verdict'] < 0 else 'raises'} {name} by {size}"


def _signed(study: Study, metric: str, told: Told) -> str:
    half = ((told["high"] or 0.0) - (told["low"] or 0.0)) / 2
    return f.signed(told["value"], half, f.is_share(study, metric))


def _it(names: Sequence[str]) -> str:
    return "it is" if len(names) == 1 else "they are"


def _factor(value: float, told: Told) -> str:
    low, high = told["low"], told["high"]
    if low is None or high is None or low <= 0:
        return w.digits(value, 2)
    half = value * (high / low - 1) / 2
    if half <= 0:
        return w.fixed(value, 2 if value < 10 else 1)
    return w.fixed(value, max(0, min(w.decimals(half), 2)))


def _lead(trial: Trial, told: Told) -> str:
    return (
        f"Trial {trial.number}, {w.short(trial.steps)}: the recipe without each of its "
        "steps in turn, beside the whole recipe."
    )


def _note(told: Told) -> str:
    timed = (
        "Times are of the full protocol"
        if told["protocol"] == "full"
        else "Times are of the screening protocol, which sees large differences only"
    )
    return (
        f"{timed}, all files in turns with the baseline. Quality is that on the "
        "validation split, compared sample by sample; ≈ says that a difference can't "
        "be told from none (95 %). Contributions don't add up: steps build on one "
        "another."
    )


def _head(told: Told) -> list[str]:
    return ["without", *(w.label(m) for m in told["figures"])]


def _cells(study: Study, step: Told, told: Told) -> list[str]:
    return [
        _label(step),
        *(_cell(study, step, metric) for metric in told["figures"]),
    ]


def _label(step: Told) -> str:
    return step_name(step["technique"])


def _name(trial: Trial, step: Told) -> str:
    """A step with its first parameter, with a capital."""
    said = w.short(trial.steps[step["index"] : step["index"] + 1])
    return said[:1].upper() + said[1:]


def _cell(study: Study, step: Told, metric: str) -> str:
    """How a figure changes without the step: "−3.10 pt", "2.1×", "≈"."""
    told = step["change"].get(metric)
    if told is None:
        return ""
    if told["kind"] == "difference":
        said = _signed(study, metric, told)
        return said if told["verdict"] else f"{said} ≈"
    said = f"{_factor(told['value'], told)}×"
    if told["verdict"]:
        return said
    return "same" if told["low"] == told["high"] else f"{said} ≈"


def _interval(study: Study, step: Told, metric: str) -> str:
    """The 95 % interval of that; empty for exact figures."""
    told = step["change"].get(metric)
    if told is None or told["low"] == told["high"]:
        return ""
    if told["kind"] == "difference":
        return spread(study, metric, told)
    ends = Interval(told["low"] or 0.0, told["high"] or float("inf"))
    if ends.low <= 0 or ends.high == float("inf"):
        return "too few launches for an interval"
    if ends.high / ends.low > 10:
        return "hardly known"
    return f"{w.digits(ends.low, 3)} to {w.digits(ends.high, 3)}×"


def _block(study: Study, trial: Trial, told: Told) -> str:
    metrics = list(told["figures"])
    head = ["without", *map(w.label, metrics), "what the step does"]
    numeric = [False, *(True for _ in metrics), False]
    rows = [
        h.row(
            [
                h.text(_label(step)),
                *_figures(study, step, metrics),
                h.text(_capital(meaning(study, step))),
            ],
            numeric,
        )
        for step in told["steps"]
    ]
    along = path(study, trial)
    return (
        h.table(_lead(trial, told), head, rows, numeric)
        + (f"<p>{h.text(along)}</p>" if along else "")
        + f'<p class="note">{h.text(_note(told))}</p>'
    )


def _figures(study: Study, step: Told, metrics: Sequence[str]) -> Iterator[str]:
    for metric in metrics:
        told = step["change"].get(metric)
        tone = {1: "good", -1: "bad"}.get(told["verdict"] if told else 0, "")
        said = h.text(_cell(study, step, metric) or "–")
        marked = f'<span class="{tone}">{said}</span>' if tone else said
        yield marked + h.small(_interval(study, step, metric))


def _remedy(study: Study) -> str:
    """How to have it measured."""
    best = pick(study) or closest(study)[0]
    chosen = f" --pick {best.number}" if best is not None and best.number else ""
    command = f"paretune attribute {shlex.quote(study.name)}{chosen}"
    return (
        '<p class="soft">What does each step of the chosen recipe contribute? Run '
        f"<code>{h.text(command)}</code>: it runs the recipe without each of them in "
        "turn, and this page shows the result.</p>"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
