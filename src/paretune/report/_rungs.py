"""Trials that were judged at shares of their training, and what halting saved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.report import _figures as f
from paretune.report import _words as w
from paretune.report._html import duration, row, table, text
from paretune.report._labelplot import steps

WIDE, HIGH = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 14, 44


def rungs(study: Study) -> str:
    """The section; empty where no trial was judged before its end."""
    climbed = [t for t in study.trials if t.rungs]
    if not climbed:
        return ""
    halted = [t for t in climbed if t.halted]
    metric = next(iter(study.metrics))
    head = ["trial", "recipe", "halted at", f"{w.label(metric)} there", "CPU time"]
    numeric = [False, False, True, True, True]
    rows = [
        row(
            (
                str(t.number),
                text(w.short(t.steps)),
                _place(t.rungs[-1]),
                text(_quality(study, metric, t.rungs[-1]["quality"].get(metric))),
                text(duration(sum(r["cpu_s"] for r in t.rungs))),
            ),
            numeric,
        )
        for t in halted
    ]
    listed = (
        "<details><summary>Halted trials</summary>"
        + table("Where each trial was halted", head, rows, numeric)
        + "</details>"
        if rows
        else ""
    )
    return f"<p>{text(told(study))}</p>{_plot(study, climbed, metric)}{listed}"


def told(study: Study) -> str:
    """What halting saved, in words."""
    climbed = [t for t in study.trials if t.rungs]
    halted = [t for t in climbed if t.halted]
    gone = sum(t.ok for t in climbed)
    return (
        f"{len(climbed)} trials were judged at a share of their training, on the "
        f"validation split and before what follows the training; {gone} went on to the "
        f"end, {len(halted)} halted. At their own pace, the halted ones would have "
        f"taken about {duration(saved(study))} of processor time more."
    )


def saved(study: Study) -> float:
    """CPU-seconds that halted trials would have trained on for, about.

    Each trial's own pace counts: what it took so far, over the share that it got to.
    """
    found = 0.0
    for trial in study.trials:
        if trial.halted and trial.rungs:
            share = float(trial.rungs[-1]["share"])
            found += sum(r["cpu_s"] for r in trial.rungs) * (1 - share) / share
    return found


def _place(rung: Mapping[str, Any]) -> str:
    return text(f"{100 * rung['share']:.0f} % ({rung['epochs']:.2g} epochs)")


def _quality(study: Study, metric: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{100 * value:.1f} %" if f.is_share(study, metric) else f"{value:.4g}"


def _plot(study: Study, trials: Sequence[Trial], metric: str) -> str:
    """Quality against the share of the training, a line a trial."""
    lines = [(t, _points(t, metric)) for t in trials]
    values = [v for _, points in lines for _, v in points]
    if not values:
        return ""
    ticks = steps(min(values), max(values))
    low, high = ticks[0], max(ticks[-1], max(values))
    shares = sorted({s for _, points in lines for s, _ in points} | {1.0})
    first = math.log(min(shares))

    def across(share: float) -> float:
        part = 1 - math.log(share) / first if first < 0 else 0.5
        return LEFT + 20 + (WIDE - LEFT - RIGHT - 40) * part

    def up(value: float) -> float:
        return TOP + (HIGH - TOP - BOTTOM) * (high - value) / ((high - low) or 1.0)

    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{up(v):.1f}" '
        f'y2="{up(v):.1f}"/><text x="{LEFT - 8}" y="{up(v) + 4:.1f}" '
        f'text-anchor="end">{text(_quality(study, metric, v))}</text>'
        for v in ticks
    ]
    parts += [
        f'<text x="{across(s):.1f}" y="{HIGH - BOTTOM + 18}" '
        f'text-anchor="middle">{100 * s:.0f} %</text>'
        for s in shares
    ]
    parts.append(
        f'<text x="{(LEFT + WIDE) / 2:.0f}" y="{HIGH - 6}" text-anchor="middle">'
        "share of the training</text>"
    )
    for trial, points in sorted(lines, key=lambda line: not line[0].halted):
        line = " ".join(f"{across(s):.1f},{up(v):.1f}" for s, v in points)
        dots = "".join(
            f'<circle cx="{across(s):.1f}" cy="{up(v):.1f}" r="3.5"/>'
            for s, v in points
        )
        tone = "halted" if trial.halted else "promoted"
        name = text(f"trial {trial.number}: {w.short(trial.steps)}")
        parts.append(
            f'<g class="{tone}"><title>{name}</title>'
            f'<polyline points="{line}"/>{dots}</g>'
        )
    said = text(f"{w.label(metric)} against the share of the training, by trial")
    return (
        f'<div class="card"><svg class="rungs" viewBox="0 0 {WIDE} {HIGH}" role="img" '
        f'aria-label="{said}">{"".join(parts)}</svg><p>{text(_legend())}</p></div>'
    )


def _legend() -> str:
    return "Strong lines: trials that went on to the end. Faint ones: halted."


def _points(trial: Trial, metric: str) -> list[tuple[float, float]]:
    """(share, quality) of a trial; at 1, that of the file that is deployed."""
    found = [(float(r["share"]), r["quality"].get(metric)) for r in trial.rungs]
    if trial.ok and metric in trial.measurements:
        found.append((1.0, trial.measurements[metric].value))
    return [(s, float(v)) for s, v in found if v is not None and math.isfinite(v)]
