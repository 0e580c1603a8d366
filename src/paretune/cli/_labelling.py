"""What `paretune labels` reads and shows."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from paretune.core.errors import BudgetError

EVERY_S = 30.0  # between two lines of a pipe that say only how far it is


def shares_of(text: str) -> tuple[float, ...]:
    """Shares of 1 in a list of per cents.

    Raises:
        BudgetError: one is no number.

    Example:
        >>> shares_of("1, 5%, 100")
        (0.01, 0.05, 1.0)
    """
    found = []
    for part in text.split(","):
        word = part.strip().removesuffix("%").strip()
        try:
            found.append(float(word) / 100)
        except ValueError:
            raise BudgetError(
                "labels-shares",
                f"{part.strip()!r} is no share of the labels; write per cents, such as "
                "--shares 1,5,10,25,100.",
            ) from None
    return tuple(found)


def wanted(text: str | None) -> float | None:
    """A quality, as a number or in per cent.

    Raises:
        BudgetError: it is neither.

    Example:
        >>> wanted("85%"), wanted("0.85"), wanted(None)
        (0.85, 0.85, None)
    """
    if text is None:
        return None
    word = text.strip()
    try:
        if word.endswith("%"):
            return float(word[:-1]) / 100
        return float(word)
    except ValueError:
        raise BudgetError(
            "labels-quality",
            f"{text!r} is no quality; write a number such as 0.85, or 85%.",
        ) from None


class Told:
    """Lines to stderr: one for each training that ends, with how long is left."""

    def __init__(self) -> None:
        self.began = self._said = time.monotonic()
        self._running: dict[int, tuple[str, float]] = {}

    def event(self, kind: str, facts: Mapping[str, Any]) -> None:
        """What happens: see `api.labels`."""
        if kind != "cell":
            self._say(str(facts["what"]))
            return
        cell, record = facts["cell"], facts["record"]
        left = f"; about {_minutes(facts['left_s'])} left" if facts["left_s"] else ""
        where = f"{100 * cell.share:g} % of the labels, " if cell.share else ""
        said = f"{cell.method}, {where}seed {cell.seed}"
        if why := record.get("unsupported") or record.get("failed"):
            self._say(f"{said}: left out: {why}{left}")
            return
        figure = ""
        if "validation" in record:
            values = record["validation"]["values"]
            whole = record["validation"]["kind"] == "resamples"
            mean = values[0] if whole else sum(values) / len(values)
            figure = f": {record['validation']['metric']} {mean:.4f} on validation"
        self._say(f"{said}{figure} ({record['seconds']:.0f} s{left})")

    def slot(self, number: int, what: str, share: float) -> None:
        """What a worker runs; said now and then."""
        self._running[number] = (what, share)
        if time.monotonic() - self._said > EVERY_S:
            told = ", ".join(f"{w} {100 * s:.0f} %" for w, s in self._running.values())
            self._say(f"training: {told}")

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        print(f"{self._said - self.began:6.0f} s  {text}", file=sys.stderr)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
