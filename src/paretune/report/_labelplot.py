"""Quality against labels as an SVG drawing; its style is that of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from paretune.report import _html as h

WIDE, HIGH = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 44
COLOURS = {
    "plain": "c6",
    "augmentation": "c1",
    "self_supervision": "c0",
    "distillation": "c2",
}
APART = 3  # pixels between the bars of two methods at one number of labels


def plot(found: Mapping[str, Any]) -> str:
    """The drawing: labels on a logarithmic axis, quality up, one line a method.

    Args:
        found: what `api.labels` gave.
    """
    points = found["points"]
    if not points:
        return ""
    wanted = found["quality"]
    ends = [v for p in points for v in (p["low"], p["high"])]
    ends += [] if wanted is None else [wanted]
    ticks = steps(min(ends), max(ends))
    low, high = min(ticks[0], min(ends)), max(ticks[-1], max(ends))
    logs = [math.log(p["labels"]) for p in points]
    first, last = min(logs), max(logs)
    down = (HIGH - TOP - BOTTOM) / ((high - low) or 1.0)

    def across(labels: float) -> float:
        inner = WIDE - LEFT - RIGHT - 40
        part = (math.log(labels) - first) / (last - first) if last > first else 0.5
        return LEFT + 20 + inner * part

    def up(value: float) -> float:
        return float(TOP + down * (high - value))

    parts = []
    for tick in ticks:
        y = up(tick)
        said = f"{100 * tick:.4g} %" if found["share"] else f"{tick:.4g}"
        parts.append(
            f'<line class="tick" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y:.1f}" '
            f'y2="{y:.1f}"/><text x="{LEFT - 8}" y="{y + 4:.1f}" '
            f'text-anchor="end">{h.text(said)}</text>'
        )
    for labels in sorted({p["labels"] for p in points}):
        parts.append(
            f'<text x="{across(labels):.1f}" y="{HIGH - BOTTOM + 18}" '
            f'text-anchor="middle">{labels:,}</text>'
        )
    parts.append(
        f'<text x="{(LEFT + WIDE) / 2:.0f}" y="{HIGH - 6}" '
        'text-anchor="middle">labels</text>'
    )
    if wanted is not None:
        y = up(wanted)
        parts.append(
            f'<line class="wanted" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{y:.1f}" '
            f'y2="{y:.1f}"/>'
        )
    methods = list(dict.fromkeys(p["method"] for p in points))
    for number, method in enumerate(methods):
        shift = APART * (number - (len(methods) - 1) / 2)
        own = sorted(
            (p for p in points if p["method"] == method), key=lambda p: p["labels"]
        )
        places = [(across(p["labels"]) + shift, p) for p in own]
        line = " ".join(f"{x:.1f},{up(p['value']):.1f}" for x, p in places)
        marks = "".join(
            f'<line class="bar" x1="{x:.1f}" x2="{x:.1f}" y1="{up(p["low"]):.1f}" '
            f'y2="{up(p["high"]):.1f}"/>'
            f'<circle class="dot" cx="{x:.1f}" cy="{up(p["value"]):.1f}" r="4"/>'
            for x, p in places
        )
        parts.append(
            f'<g class="line-{method}"><polyline class="curve" points="{line}"/>'
            f"{marks}</g>"
        )
    said = f"{found['metric']} against the number of labels"
    return (
        f'<svg class="plotted" viewBox="0 0 {WIDE} {HIGH}" role="img" '
        f'aria-label="{h.text(said)}">{"".join(parts)}</svg>'
    )


def steps(low: float, high: float) -> list[float]:
    """Round numbers that cover a range, about five of them.

    Example:
        >>> steps(0.61, 0.93)
        [0.6, 0.7, 0.8, 0.9, 1.0]
    """
    width = (high - low) / 4 or abs(high) / 4 or 1.0
    size = 10.0 ** math.floor(math.log10(width))
    size *= next(f for f in (1, 2, 5, 10) if f * size >= width * 0.999)
    start, end = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
    return [round(i * size, 12) for i in range(start, max(end, start + 1) + 1)]
