"""One trial on the page: its figures, and what each step of its recipe did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from paretune.core.measurement import Measurement
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import SOLID, Frontier
from paretune.report import _figures as f
from paretune.report import _words as w
from paretune.report import why
from paretune.report._html import (
    duration,
    facts,
    row,
    share,
    small,
    table,
    text,
)
from paretune.report._zeros import zeros

FIRST = ("size", "latency_p50", "parameters", "macs")


def article(study: Study, trial: Trial, found: Frontier) -> str:
    """All that is known of a trial that is ok."""
    member = trial in found.members
    badges = []
    if trial.number == 0:
        badges.append('<span class="badge base">baseline</span>')
    if member:
        badges.append('<span class="badge member">on the frontier</span>')
    if study.budget.constraints:
        fits = f.meets(study, trial)
        tone, said = ("good", "meets") if fits else ("bad", "breaks")
        badges.append(f'<span class="badge {tone}">{said} the budget</span>')
    kind = "on-frontier" if member or trial.number == 0 else "off-frontier"
    return (
        f'<article class="{kind}" data-n="{trial.number}" id="trial-{trial.number}">'
        f"<h3>Trial {trial.number} {''.join(badges)}</h3>"
        f'<p class="soft">{text(w.short(trial.steps))}</p>'
        f"{_notes(study, trial, found)}{_figures(study, trial)}{_steps(study, trial)}"
        f"{_why(study, trial)}"
        f"{_facts(study, trial, found)}</article>"
    )


def _why(study: Study, trial: Trial) -> str:
    """Why it is as it is, or how to find out; the baseline is what it is."""
    if trial.number == 0 or study.baseline is None:
        return ""
    return why.block(study, trial, study.explanations.get(trial.number))


def _notes(study: Study, trial: Trial, found: Frontier) -> str:
    said = [*_certainty(study, trial, found), *_surprises(study, trial)]
    said += filter(None, [zeros(study, trial)])
    flagged = [
        f"{w.label(m.metric)} {flag.removeprefix(f'{m.metric}: ')}"
        for m in f.shown(study, trial).values()
        for flag in m.flags
    ]
    said += [f"Flagged: {', '.join(flagged)}."] * bool(flagged)
    return "".join(f'<p class="note">{text(s)}</p>' for s in dict.fromkeys(said))


def _certainty(study: Study, trial: Trial, found: Frontier) -> Iterator[str]:
    chance = found.probability.get(trial.number)
    if trial in found.members and chance is not None and chance < SOLID:
        yield (
            f"On the frontier in {w.percent(chance)} of resamples of the figures: a "
            "narrow one."
        )
    if trial not in found.members:
        by = [t.number for t in found.members if found.dominates(t, trial)]
        if by:
            named = ", ".join(map(str, by[:5])) + (", …" if len(by) > 5 else "")
            yield (
                f"Dominated by trial {named}: no worse on any axis as far as can be "
                "told, and certainly better on one."
            )
    for metric in study.metrics:
        if said := f.gap(study, trial, metric):
            yield f"Optimism gap of {w.label(metric)}: {said}."
        change = f.change(study, trial, metric)
        if change and not change.verdict:
            yield (
                f"Its {w.label(metric)} is not distinguishable from the baseline's: "
                f"the 95 % interval of the difference, {_ends(study, metric, change)}, "
                "holds 0."
            )


def _surprises(study: Study, trial: Trial) -> Iterator[str]:
    """Why it is not as fast as one would think."""
    time, macs = (f.change(study, trial, m) for m in ("latency_p50", "macs"))
    if time is None or macs is None or min(time.amount, macs.amount) <= 0:
        return
    if time.verdict < 0:
        yield (
            f"It is {time.text} than the baseline on this runtime, whatever its size "
            "and MACs promise."
        )
    elif macs.amount < 0.9 and time.amount > 1.5 * macs.amount:
        yield (
            f"MACs fell to 1/{1 / macs.amount:.1f}, the time of a call to "
            f"1/{1 / time.amount:.1f}: the rest goes to what MACs don't count, such as "
            "moving memory, converting number formats and the cost of a call itself."
        )


def _figures(study: Study, trial: Trial) -> str:
    taken = f.shown(study, trial)
    order = [*study.metrics, *FIRST, *taken]
    numeric = (False, True, True, True, False)
    rows = []
    for metric in dict.fromkeys(order):
        if metric not in taken:
            continue
        m = taken[metric]
        versus, tone = "", ""
        if change := f.change(study, trial, metric):
            versus, tone = change.text, _tone(change.verdict)
        earlier = trial.measurements.get(metric)
        where = f"{m.split} split" if m.split else _how(m)
        if earlier is not None and earlier.split != m.split:
            where += f" (validation: {f.words(study, earlier).plain})"
        shown = f.words(study, m)
        cells = (
            f"{text(w.label(metric))}{small(w.about(metric))}",
            f"<b>{text(shown.plain)}</b>",
            text(shown.interval or ("exact" if m.kind == "exact" else "–")),
            f'<span class="{tone}">{text(versus)}</span>',
            text(where),
        )
        rows.append(row(cells, numeric))
    head = ("figure", "value", "95 % interval", "against the baseline", "taken on")
    return table("Figures of the deployed file, in its runtime", head, rows, numeric)


def _how(m: Measurement) -> str:
    if m.kind == "exact":
        return "the file"
    count = len(m.values)
    return f"{count} launch{'' if count == 1 else 'es'}"


def _tone(verdict: int) -> str:
    return {1: "good", -1: "bad"}.get(verdict, "soft")


def _ends(study: Study, metric: str, change: f.Change) -> str:
    size, unit = (0.01, " pt") if f.is_share(study, metric) else (1.0, "")
    low, high = change.interval.low / size, change.interval.high / size
    places = w.decimals((high - low) / 2)
    ends = (w.fixed(v, places, "+") for v in (low, high))
    return f"{' to '.join(ends)}{unit}".replace("-", "−")


@dataclass(frozen=True)
class _Line:
    """What is known after a step: figures in base units by column."""

    name: str
    detail: str
    values: Mapping[str, float]
    seconds: str = ""
    final: bool = False


def _steps(study: Study, trial: Trial) -> str:
    lines = list(_lines(study, trial))
    if len(lines) < 2:
        return ""
    columns = [
        c
        for c in ("parameters", "macs", "size", "latency_p50", *study.metrics)
        if any(c in line.values for line in lines)
    ]
    numeric = (False, *(True for _ in columns), True)
    rows = []
    for i, line in enumerate(lines):
        cells = [f"{text(line.name)}{small(line.detail)}"]
        for column in columns:
            earlier = [x for x in lines[:i] if column in x.values]
            if column in study.metrics:  # figures of as many samples only
                earlier = [x for x in earlier if x.final == line.final]
            before = [x.values[column] for x in earlier]
            cells.append(_cell(study, column, line, before))
        rows.append(row([*cells, text(line.seconds)], numeric))
    head = ("after", *map(w.label, columns), "time spent")
    caption = (
        "What each step did. The first and the last line are of deployed files, on the "
        "whole validation split; all between is the model on its way, and its quality "
        "is that of the first samples of the split alone."
    )
    return table(caption, head, rows, numeric)


def _lines(study: Study, trial: Trial) -> Iterator[_Line]:
    base = study.baseline
    trace = list(trial.trace)
    yield _Line("baseline", "deployed file", base.values if base else {}, "", True)
    if trace and trace[0].get("step") == "baseline":
        yield _Line("the model as it came", "", _traced(trace.pop(0)))
    waiting = [dict(s) for s in trial.steps]
    for node in trace:
        step: dict[str, Any] = {}
        if waiting and node.get("step") == waiting[0].get("technique"):
            step = waiting.pop(0)
        cached = bool(node.get("cached"))
        spent = "shared" if cached else duration(float(node.get("seconds") or 0.0))
        name = str(node.get("step", "?")).replace("_", " ")
        if not step:
            name = f"{name} to {node.get('format', '?')}"
        yield _Line(name, settings(step), _traced(node), spent)
    for step in waiting:
        name = str(step.get("technique", "?")).replace("_", " ")
        yield _Line(name, settings(step), {})
    if trial.number:
        yield _Line("this trial", "deployed file", trial.values, "", True)


def _traced(node: Mapping[str, Any]) -> dict[str, float]:
    names = ("parameters", "macs", "size")
    found = {**{k: node.get(k) for k in names}, **(node.get("quality") or {})}
    return {
        k: float(v)
        for k, v in found.items()
        if isinstance(v, int | float) and math.isfinite(v)
    }


def settings(step: Mapping[str, Any]) -> str:
    """A step's parameters: "amount 0.56 · importance taylor"."""
    pairs = ((k, v) for k, v in step.items() if k != "technique" and v != "")
    return " · ".join(f"{k.replace('_', ' ')} {w.setting(v)}" for k, v in pairs)


def _cell(study: Study, column: str, line: _Line, before: list[float]) -> str:
    if column not in line.values:
        return "–"
    value = line.values[column]
    if column in study.metrics:
        share_ = f.is_share(study, column)
        shown = w.percent(value, 1) if share_ else w.digits(value)
        if not before or value == before[-1] or line.final:
            return shown
        change = value - before[-1]
        said = f"{100 * change:+.1f} pt" if share_ else f"{change:+.2g}"
        better = (change > 0) == (study.metrics[column] == "higher")
        return shown + small(said.replace("-", "−"), "good" if better else "bad")
    unit = {"size": "byte", "latency_p50": "s"}.get(column, "1")
    size, name = w.scale(value, unit)
    shown = f"{w.digits(value / size)} {name}".strip()
    if not before or not before[0]:
        return shown + share(1.0)
    change = value / before[-1] - 1 if before[-1] else 0.0
    said = f"{change:+.0%}".replace("%", " %").replace("-", "−")
    return (
        shown
        + share(value / before[0])
        + (small(said, "good" if change < 0 else "bad") if abs(change) >= 0.005 else "")
    )


def _facts(study: Study, trial: Trial, found: Frontier) -> str:
    parity = trial.parity
    agreed = []
    if "agreement" in parity:
        agreed.append(f"{w.percent(parity['agreement'], 2)} of decisions agree")
    if "max_abs" in parity:
        agreed.append(f"largest difference {parity['max_abs']:.2g}")
    if "relative" in parity:
        agreed.append(f"relative {parity['relative']:.2g}")
    spent = sum(v for k, v in trial.cost.items() if k.endswith("_s"))
    chance = found.probability.get(trial.number)
    sha = f"<code>{text(trial.artifact)}</code>" if trial.artifact else ""
    return facts(
        (
            ("Parity with its source model", text(", ".join(agreed))),
            (
                "Probability of being on the frontier",
                "" if chance is None else w.percent(chance),
            ),
            ("Work spent on it", duration(spent) if spent else ""),
            ("SHA-256 of its file", sha),
        )
    )
