"""What labels are worth: as text, and as one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from paretune.report import _html as h
from paretune.report._labelplot import COLOURS, plot

NAMES = {
    "plain": "plain training",
    "augmentation": "+ augmentation",
    "self_supervision": "+ self-supervision",
    "distillation": "+ distillation",
}
HEAD = ("labels", "share", "training", "", "95 %", "against plain", "95 %")
NUMERIC = (True, True, False, True, True, True, True)

Found = Mapping[str, Any]


def plain(found: Found) -> str:
    """A table of all points, and what follows from them.

    Args:
        found: what `api.labels` gave.
    """
    head = [name or found["metric"] for name in HEAD]
    rows = [head, *_rows(found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(n) if right else cell.ljust(n)
            for cell, n, right in zip(row, widths, NUMERIC, strict=True)
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, "", *sentences(found)])


def page(found: Found) -> str:
    """The same with a plot, as HTML that works offline.

    Args:
        found: what `api.labels` gave.
    """
    style = h.asset("page.css") + _colours()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src 'sha256-{digest}'"
    )
    title = f"What labels are worth: {found['task']}"
    head = [name or found["metric"] for name in HEAD]
    rows = [h.row(map(h.text, row), NUMERIC) for row in _rows(found)]
    said = "".join(f"<p>{h.text(s)}</p>" for s in sentences(found))
    legend = "".join(
        f'<li class="line-{m}"><svg viewBox="0 0 14 14" aria-hidden="true">'
        '<circle class="dot" cx="7" cy="7" r="5"/></svg>'
        f'<span class="soft">{h.text(NAMES[m])}</span></li>'
        for m in dict.fromkeys(p["method"] for p in found["points"])
    )
    caption = f"{found['metric']} on the test split"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{h.text(title)}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
<header><h1>{h.text(title)}</h1></header>
<section><h2>Quality against labels</h2>
<div class="card">{plot(found)}<ul class="legend">{legend}
<li>bars: 95 % intervals</li></ul></div></section>
<section><h2>What follows</h2>{said}</section>
<section><h2>Figures</h2>{h.table(caption, head, rows, NUMERIC)}</section>
</main>
<footer><p>Made by paretune.</p></footer>
</body>
</html>
"""


def sentences(found: Found) -> Iterator[str]:
    """What follows from the figures, and how they were taken."""
    yield from _needs(found)
    seeds = found["seeds"]
    spread = (
        f"Means over {seeds} seeds; intervals hold the spread over test samples and, "
        "by Student's t, that over seeds, which is taken to be alike for all methods "
        "with the same labels; the more they go up and down together from seed to "
        "seed, the fewer seeds they count for."
        if seeds > 1
        else "One seed: the spread over seeds isn't known and not in the intervals."
    )
    read = found["readings"]
    yield (
        f"{found['metric']} on the test split, by PyTorch; the split was "
        f"read {read} time{'s' * (read != 1)} by this study. {spread}"
    )
    if any(p["gain"] for p in found["points"]):
        yield (
            "Differences from plain training are judged all at once (Holm): the chance "
            "that one is told where there is none is 5 %; ≈ marks what can't be told."
        )
    yield (
        f"Each training has about {found['steps']:,} steps from new weights, whatever "
        "the labels; plain training leaves out the task's own augmentation. "
        "Pretraining without labels sees all training inputs, distillation those "
        "without labels too."
    )
    if found["teacher"] is not None:
        yield (
            f"The teacher is the task's own {found['teacher']!r}, which may have seen "
            "all labels: that row tells what its knowledge is worth."
        )
    for method, why in found["missing"].items():
        yield f"{NAMES[method].removeprefix('+ ').capitalize()} is left out: {why}"
    for each in found["failed"]:
        name = NAMES[each["method"]].removeprefix("+ ").capitalize()
        yield (
            f"{name} with {100 * each['share']:g} % of the labels is left out: seed "
            f"{each['seed']} failed: {each['why']}"
        )


def _needs(found: Found) -> Iterator[str]:
    """How many labels the quality needs, method by method."""
    wanted = found["quality"]
    if wanted is None:
        return
    most = max((p["labels"] for p in found["points"]), default=0)
    said = f"For {found['metric']} {value(wanted, found['share'])}"
    for each in found["needed"]:
        name, count = NAMES[each["method"]], each["labels"]
        high = "not reached" if each["high"] is None else f"{round(each['high']):,}"
        if count is None:
            low = each["low"]
            some = "" if low is None else f"; within the interval from {round(low):,}"
            yield f"{said}, {name}: not reached with {most:,} labels{some}."
        elif each["at_most"]:
            yield (
                f"{said}, {name}: at most {round(count):,} labels, the fewest tried "
                f"(95 %: to {high})."
            )
        else:
            yield (
                f"{said}, {name}: {round(count):,} labels "
                f"(95 %: {round(each['low']):,} to {high})."
            )


def _rows(found: Found) -> Iterator[list[str]]:
    share = found["share"]
    points = sorted(found["points"], key=lambda p: p["share"])
    for point in points:
        better = point["gain"]
        ends = (value(point[k], share) for k in ("low", "high"))
        yield [
            f"{point['labels']:,}",
            f"{100 * point['share']:g} %",
            NAMES[point["method"]],
            value(point["value"], share),
            "–".join(end.removesuffix(" %") for end in ends),
            "" if better is None else _said(better, share),
            ""
            if better is None
            else " to ".join(_signed(better[k], share) for k in ("low", "high")),
        ]


def value(number: float, share: bool) -> str:
    """A quality for a person.

    Example:
        >>> value(0.8431, True), value(0.8431, False)
        ('84.3 %', '0.843')
    """
    return f"{100 * number:.1f} %" if share else f"{number:.3g}"


def _said(gain: Mapping[str, Any], share: bool) -> str:
    amount = _signed(gain["value"], share) + (" pt" if share else "")
    return amount if gain["verdict"] else f"≈ ({amount})"


def _signed(number: float, share: bool) -> str:
    text = f"{100 * number:+.1f}" if share else f"{number:+.3g}"
    return text.replace("-", "−")


def _colours() -> str:
    return "".join(
        f".line-{m}{{--line-colour:var(--{c})}}" for m, c in COLOURS.items()
    ) + (
        ".dot{fill:var(--line-colour)}.curve{fill:none;stroke:var(--line-colour);"
        "stroke-width:2}.bar{stroke:var(--line-colour);stroke-width:1.5;opacity:.6}"
        ".plotted text{fill:var(--soft);font-size:12px}"
        ".plotted .tick{stroke:var(--grid)}.plotted .wanted{stroke:var(--ink);"
        "stroke-dasharray:4 4}.plotted{width:100%;height:auto}"
    )
