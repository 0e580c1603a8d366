"""Figures and recipes in words: scaled, with the digits that the spread carries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from paretune.core.budget import FOOTPRINT
from paretune.core.measurement import Interval, Measurement

SCALES = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "byte": ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")),
    "1": ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")),
    "1/s": ((1e3, "k/s"), (1.0, "/s")),
    "J": ((1e6, "MJ"), (1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")),
}


def scale(value: float, unit: str) -> tuple[float, str]:
    """(size of the unit, its name) in which a value reads best.

    Example:
        >>> scale(98_200.0, "byte"), scale(0.0003, "s")
        ((1000.0, 'kB'), (1e-06, 'µs'))
    """
    steps = SCALES.get(unit, ((1.0, unit),))
    return next((s for s in steps if abs(value) >= s[0]), steps[-1])


def decimals(half: float) -> int:
    """How many decimals a figure with that half-width can carry.

    One digit of the spread, or two if the first is a 1.

    Example:
        >>> decimals(0.8), decimals(1.2), decimals(0.0123), decimals(25.0)
        (1, 1, 3, -1)
    """
    if not math.isfinite(half) or half <= 0:
        return 0
    power = math.floor(math.log10(half))
    return -power + int(half < 1.95 * 10.0**power)


def fixed(value: float, places: int, sign: str = "") -> str:
    """A figure with that many decimals; fewer than none rounds to tens.

    Example:
        >>> fixed(312.4, -1), fixed(0.25, 1, "+")
        ('310', '+0.2')
    """
    return f"{round(value, places):{sign}.{max(0, places)}f}".replace("-", "−")


def digits(value: float, significant: int = 3) -> str:
    """An exact figure in a few digits.

    Example:
        >>> digits(98.24), digits(1234.5), digits(0.04)
        ('98.2', '1234', '0.04')
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    places = significant - 1 - math.floor(math.log10(abs(value)))
    text = f"{value:.{max(0, places)}f}".replace("-", "−")
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True)
class Figure:
    """One figure in words: "91.3", "%", "0.8", "90.5", "92.1"."""

    value: str
    unit: str
    spread: str = ""
    low: str = ""
    high: str = ""

    def __str__(self) -> str:
        """As in a table: "91.3 ± 0.8 %"."""
        middle = f"{self.value} ± {self.spread}" if self.spread else self.value
        return f"{middle} {self.unit}".strip()

    @property
    def plain(self) -> str:
        """Without its spread."""
        return f"{self.value} {self.unit}".strip()

    @property
    def interval(self) -> str:
        return f"{self.low} to {self.high} {self.unit}".strip() if self.low else ""


def figure(
    m: Measurement, share: bool = False, interval: Interval | None = None
) -> Figure:
    """A measurement in words.

    Args:
        m: the measurement.
        share: show it per cent.
        interval: to show in place of its own.
    """
    size, unit = (0.01, "%") if share else scale(m.value, m.unit)
    ends = m.interval if interval is None else interval
    value, low, high = m.value / size, ends.low / size, ends.high / size
    if m.kind == "exact":
        whole = m.unit == "byte" and unit == "B"
        return Figure(f"{value:.0f}" if whole else digits(value), unit)
    half = (high - low) / 2
    if not math.isfinite(half):
        places = 1 - math.floor(math.log10(abs(value))) if value else 0
        return Figure(f"~{fixed(value, places)}", unit)
    if half <= 1e-9 * abs(value):
        return Figure(digits(value), unit)
    places = decimals(half)
    text = [fixed(v, places) for v in (value, half, low, high)]
    return Figure(text[0], unit, *text[1:])


def label(metric: str) -> str:
    """A metric's name for people.

    Example:
        >>> label("latency_p50"), label("macs")
        ('latency p50', 'MACs')
    """
    return "MACs" if metric == "macs" else metric.replace("_", " ")


def percent(part: float, places: int = 0) -> str:
    """A share of 1 for people.

    Example:
        >>> percent(0.9985, 2), percent(1.0)
        ('99.85 %', '100 %')
    """
    return f"{100 * part:.{places}f} %"


def limit(text: str) -> str:
    """A constraint for people.

    Example:
        >>> limit("size<=baseline/8")
        'size ≤ baseline/8'
    """
    return text.replace("<=", " ≤ ").replace(">=", " ≥ ")


def about(metric: str) -> str:
    """What a footprint metric is; empty for the task's own."""
    return FOOTPRINT[metric][2] if metric in FOOTPRINT else ""


def short(steps: Iterable[Mapping[str, Any]]) -> str:
    """A recipe in a few words: each technique with its first parameter.

    A long name stands for itself by its last word.

    Example:
        >>> short([{"technique": "structured_pruning", "amount": 0.5213},
        ...        {"technique": "fine_tuning", "epochs": 4}])
        'pruning 0.52 → fine tuning 4'
    """
    return " → ".join(map(_step, steps)) or "baseline"


def _step(step: Mapping[str, Any]) -> str:
    name = printable(step.get("technique", "?"))
    if len(name) > 12:
        name = name.rpartition("_")[2]
    first = next((v for k, v in step.items() if k != "technique"), "")
    return f"{name.replace('_', ' ')} {setting(first)}".strip()


def setting(anything: object) -> str:
    """A parameter's value for people.

    Example:
        >>> setting(0.001234), setting(True), setting("static_int8")
        ('0.0012', 'yes', 'static int8')
    """
    if isinstance(anything, bool):
        return "yes" if anything else "no"
    if isinstance(anything, float):
        return f"{anything:.2g}"
    return printable(anything).replace("_", " ")


def printable(anything: object) -> str:
    """Text without what moves a terminal's cursor, or can't be written as UTF-8.

    Example:
        >>> printable("red\\x1b[31m")
        'red[31m'
    """
    return "".join(c for c in str(anything) if c.isprintable())
