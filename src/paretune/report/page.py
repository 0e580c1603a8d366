"""One self-contained HTML page: it opens offline and asks nobody for anything.

The chart is drawn by a script of our own: a plotting library would make the page 4.8 MB
in place of about 100 kB, and needs a policy that allows inline styles. The policy
here allows exactly one script and one style sheet, by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from paretune.core.measurement import Measurement
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import SOLID, Frontier, frontier
from paretune.report import _figures as f
from paretune.report import _sections as sections
from paretune.report import _words as w
from paretune.report._attribution import attribution
from paretune.report._certified import interval
from paretune.report._html import asset, scrubbed, text
from paretune.report._rungs import rungs
from paretune.report._supernet import inherited
from paretune.report._trial import article
from paretune.report._warm import paragraph
from paretune.report.records import finite
from paretune.report.verdict import closest, pick, verdict

LEGEND = (
    ("member", '<circle class="mark solid" cx="7" cy="7" r="5"/>', "on the frontier"),
    (
        "member",
        '<circle class="mark" cx="7" cy="7" r="5"/>',
        f"on it in fewer than {SOLID * 100:.0f} % of resamples",
    ),
    ("base", '<path class="mark solid" d="M7 1l6 6l-6 6l-6 -6z"/>', "baseline"),
    ("other", '<circle class="mark solid" cx="7" cy="7" r="3"/>', "dominated"),
)


def page(study: Study, out: TextIO) -> None:
    """Writes the whole study as one HTML page.

    Args:
        study: to show.
        out: an open text file in UTF-8; it stays open.
    """
    found = frontier(study)
    style, script = asset("page.css"), asset("page.js")
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"script-src '{_hash(script)}'; style-src '{_hash(style)}'"
    )
    sentence = verdict(study, found)
    shown = [*found.members, *found.dominated]
    selected = _selected(study, found)
    articles = "".join(article(study, t, found) for t in shown)
    data = json.dumps(scrubbed(_data(study, found, selected)), allow_nan=False)
    notes = f"{paragraph(study, found)}{inherited(study)}"
    parts = [
        ("What the search cost", sections.costs(study)),
        ("Trials", f"{notes}{sections.trials(study, found)}"),
        ("How it was measured", sections.protocol(study, found)),
        ("Words", sections.glossary()),
    ]
    if climbed := rungs(study):
        parts.insert(1, ("Trainings that were halted", climbed))
    if learned := attribution(study):
        parts.insert(0, ("What each technique contributed", learned))
    if shown:
        parts[:0] = [
            ("Frontier", _chart(study)),
            ("Members", sections.members(study, found)),
            ("The chosen trial", f'<div class="card" id="detail">{articles}</div>'),
        ]
    body = "\n".join(
        f"<section><h2>{h}</h2>{content}</section>" for h, content in parts
    )
    whole = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{text(study.name)}: {text(sentence)}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
<header>{sections.heading(study, found, sentence)}</header>
{body}
</main>
<footer><p>Made by paretune. Figures are of the deployed files in their runtime.</p>
</footer>
<script type="application/json" id="data">{_inert(data)}</script>
<script>{script}</script>
</body>
</html>
"""
    out.write(whole.encode("utf-8", "replace").decode("utf-8"))


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _inert(data: str) -> str:
    """JSON in which nothing can end the element that it is in."""
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    return data


def _selected(study: Study, found: Frontier) -> int:
    best = pick(study, found) or closest(study)[0]
    if best is None or not best.ok:
        best = found.members[0] if found.members else None
    return best.number if best else 0


@dataclass(frozen=True)
class _Axis:
    """What can be drawn on an axis: a metric, on one split if it is a quality."""

    metric: str
    label: str
    certified: bool = False

    @property
    def key(self) -> str:
        return f"{self.metric} {'test' * self.certified}".strip()

    def of(self, study: Study, trial: Trial) -> Measurement | None:
        if self.certified:
            return study.certified.get(trial.number, {}).get(self.metric)
        return trial.measurements.get(self.metric)


def _axes(study: Study) -> list[_Axis]:
    """Quality first. Figures of two splits never share an axis."""
    more = (m for t in study.trials if t.ok for m in t.measurements)
    found = []
    for metric in dict.fromkeys((*f.axes(study), *more)):
        name = w.label(metric)
        if metric in study.metrics:
            found.append(_Axis(metric, f"{name}, validation split"))
            if study.certified:
                found.append(_Axis(metric, f"{name}, test split", True))
        else:
            found.append(_Axis(metric, name))
    return found


def _chart(study: Study) -> str:
    axes = _axes(study)
    costs = [a for a in axes if a.metric not in study.metrics]
    across = next(iter(costs or axes), None)
    up = next((a for a in axes if a != across), across)

    def choice(side: str, title: str, chosen: _Axis | None) -> str:
        options = "".join(
            f'<option value="{text(a.key)}"{" selected" * (a == chosen)}>'
            f"{text(a.label)}</option>"
            for a in axes
        )
        return (
            f'<label>{title} <select id="axis-{side}" autocomplete="off">{options}'
            "</select></label>"
        )

    legend = "".join(
        f'<li class="{colour}"><svg viewBox="0 0 14 14" aria-hidden="true">{mark}</svg>'
        f'<span class="soft">{words}</span></li>'
        for colour, mark, words in LEGEND
    )
    return (
        '<div class="card" id="chart" hidden><div class="controls">'
        f"{choice('x', 'across', across)}{choice('y', 'up', up)}<label>"
        '<input type="checkbox" id="others" checked autocomplete="off"> dominated '
        'trials</label></div><div class="plot" id="plot"><div class="tip" id="tip" '
        f'hidden></div></div><ul class="legend">{legend}<li>lines: 95 % intervals</li>'
        "<li>shaded: breaks the budget</li></ul></div><noscript><p>The chart needs "
        "JavaScript; all of its figures are in the tables below.</p></noscript>"
    )


def _data(study: Study, found: Frontier, selected: int) -> dict[str, Any]:
    """What the script draws: figures scaled to the unit of their axis."""
    trials = [*found.members, *found.dominated]
    axes, scales = {}, {}
    for axis in _axes(study):
        taken = [m for t in trials if (m := axis.of(study, t))]
        if not taken:
            continue
        share = f.is_share(study, axis.metric)
        middle = statistics.median(m.value for m in taken)
        scales[axis], unit = (0.01, "%") if share else w.scale(middle, taken[0].unit)
        axes[axis] = {
            "key": axis.key,
            "label": axis.label,
            "unit": unit,
            "better": taken[0].better,
            "log": axis.metric not in study.metrics,
            "main": axis.metric in f.axes(study),
        }
    return {
        "axes": list(axes.values()),
        "points": [_point(study, t, found, scales) for t in trials],
        "limits": _limits(study, scales),
        "selected": selected,
    }


def _point(
    study: Study, trial: Trial, found: Frontier, scales: Mapping[_Axis, float]
) -> dict[str, Any]:
    values: dict[str, list[float | None]] = {}
    texts, changes = {}, {}
    for axis, size in scales.items():
        m = axis.of(study, trial)
        if m is None:
            continue
        ends = interval(study, m)
        low, high = (finite(v / size) for v in (ends.low, ends.high))
        open_ended = low is None or high is None
        values[axis.key] = [
            m.value / size,
            *([None] * 2 if open_ended else (low, high)),
        ]
        texts[axis.key] = str(f.words(study, m))
        if change := f.change(study, trial, axis.metric, axis.certified):
            changes[axis.key] = change.text
    member = trial in found.members
    chance = found.probability.get(trial.number)
    kind = "baseline" if not trial.number else "member" if member else "other"
    fits = "meets" if f.meets(study, trial) else "breaks"
    return {
        "n": trial.number,
        "kind": kind,
        "solid": kind != "member" or (chance or 0.0) >= SOLID,
        "p": chance,
        "recipe": w.short(trial.steps),
        "budget": fits if study.budget.constraints else "",
        "v": values,
        "t": texts,
        "c": changes,
    }


def _limits(study: Study, scales: Mapping[_Axis, float]) -> list[dict[str, Any]]:
    base = study.baseline
    if base is None:
        return []
    limits = []
    for axis, size in scales.items():
        m = axis.of(study, base)
        known = {} if m is None else {axis.metric: m.value}
        limits += [
            {
                "key": axis.key,
                "operator": c.operator,
                "value": c.limit(known) / size,
                "text": w.limit(c.text),
            }
            for c in study.budget.constraints
            if c.metric == axis.metric and (known or not c.relation)
        ]
    return limits
