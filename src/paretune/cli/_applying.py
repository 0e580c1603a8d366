"""What a person sees while one recipe is applied, and what came of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from paretune.core.trial import Trial

EVERY_S = 5.0


class Told:
    """A line to stderr for each step that begins, and every few seconds within one."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.baseline: Trial | None = None
        self._what, self._when = "", 0.0

    def event(self, kind: str, facts: Mapping[str, Any]) -> None:
        if kind == "baseline":
            self.baseline = facts["trial"]
        elif kind == "phase":
            self._say(str(facts["what"]))

    def slot(self, number: int, what: str, share: float) -> None:
        now = time.monotonic()
        if what == self._what and now - self._when < EVERY_S:
            return
        self._what, self._when = what, now
        self._say(f"{what}{f', {share:.0%}' if 0 < share < 1 else ''}")

    def _say(self, text: str) -> None:
        spent = time.monotonic() - self.began
        print(f"{spent:6.0f} s  {text}", file=sys.stderr, flush=True)


def lines(trial: Trial, baseline: Trial | None) -> Iterator[str]:
    """Each figure beside the baseline's, after the quality that each step left.

    Args:
        trial: of the recipe.
        baseline: the task's own model; None if it isn't known.
    """
    from paretune.report.table import figure

    for step in trial.trace:
        for metric, value in step.get("quality", {}).items():
            rough = f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"
            yield f"after {step['step']}: {metric} about {rough} (some of validation)"
    base = baseline.measurements if baseline else {}
    for name, measurement in trial.measurements.items():
        beside = f"  (baseline: {figure(base[name])})" if name in base else ""
        yield f"{figure(measurement)}{beside}"
