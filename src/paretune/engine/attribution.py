"""What each step of a recipe contributes: the recipe with that step left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from paretune.core.errors import RecipeError
from paretune.core.measurement import Measurement, log_t_interval
from paretune.core.recipe import Recipe
from paretune.frontier import difference, paired

VERSION = 1
SAME = 0.005  # of a size: files that differ by less are called the same

Figures = Mapping[str, Measurement]


@dataclass(frozen=True)
class LeftOut:
    """A recipe without one of its steps.

    Attributes:
        index: of the step.
        technique: its name.
        recipe: the other steps in their order.
        refused: why they can't follow one another, one sentence; empty if they can.
    """

    index: int
    technique: str
    recipe: Recipe
    refused: str = ""


def left_out(recipe: Recipe) -> tuple[LeftOut, ...]:
    """The recipe without each of its steps in turn, in the order of the steps.

    Args:
        recipe: every parameter has a value.

    Example:
        >>> left_out(Recipe(()))
        ()
    """
    found = []
    for index, step in enumerate(recipe.steps):
        rest = Recipe(recipe.steps[:index] + recipe.steps[index + 1 :])
        refused = ""
        try:
            rest.check()
        except RecipeError as error:
            refused = error.message
        found.append(LeftOut(index, step.name(), rest, refused))
    return tuple(found)


def changes(
    without: Figures, whole: Figures, floors: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """How figures change when a step is left out, with 95 % intervals.

    Those of ties in time are widened to hold 1: the host's noise tells nothing.

    Quality, on the same samples: the difference. All else: the ratio. Two times were
    both taken beside the baseline, in the same launches, which are compared one by one.

    Args:
        without: figures of the recipe without the step.
        whole: those of the recipe.
        floors: by metric, the share by which one model differs from itself on this
            host; a time has to differ by more.

    Returns:
        {metric: {"kind": "difference" or "ratio", "value", "low", "high", "verdict"}};
        the verdict is 1 if the recipe is certainly better without the step, -1 if it
        is worse, 0 for a tie. Metrics that can't be compared are left out.

    Example:
        >>> small, large = (
        ...     {"size": Measurement("size", "byte", "lower", (n,), "exact")}
        ...     for n in (100.0, 400.0))
        >>> found = changes(large, small, {})["size"]
        >>> found["value"], found["verdict"]
        (4.0, -1)
    """
    found = {}
    for metric in without.keys() & whole.keys():
        told = _change(without[metric], whole[metric], floors.get(metric, 0.0))
        if told is not None:
            found[metric] = told
    return found


def told(figures: Figures, metrics: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Figures as JSON values, {"value", "low", "high", "unit", "better"} by metric."""
    return {
        k: {
            "value": m.value,
            "low": _finite(m.interval.low),
            "high": _finite(m.interval.high),
            "unit": m.unit,
            "better": m.better,
        }
        for k in metrics
        if (m := figures.get(k)) is not None
    }


def _change(a: Measurement, b: Measurement, floor: float) -> dict[str, Any] | None:
    if a.kind in ("samples", "resamples"):
        if not paired(a, b):
            return None
        found = difference(a, b)
        return _told(a, "difference", found.value, found.low, found.high, found.sign)
    if a.value <= 0 or b.value <= 0:
        return None
    if a.kind == "exact":
        ratio = a.value / b.value
        above = 0 if abs(math.log(ratio)) < SAME else int(math.copysign(1, ratio - 1))
        return _told(a, "ratio", ratio, ratio, ratio, above)
    if not a.ratios or not b.ratios:
        return None
    ratios = tuple(x / y for x, y in zip(a.ratios, b.ratios, strict=False))
    ratio = math.exp(sum(map(math.log, ratios)) / len(ratios))
    low, high = log_t_interval(ratios)
    above = int(low > 1) - int(high < 1)
    if abs(math.log(ratio)) <= floor:
        above = 0
    if not above:  # what lies within the host's noise is no difference
        low, high = min(low, 1.0), max(high, 1.0)
    return _told(a, "ratio", ratio, low, high, above)


def _told(
    like: Measurement, kind: str, value: float, low: float, high: float, above: int
) -> dict[str, Any]:
    return {
        "kind": kind,
        "value": value,
        "low": _finite(low),
        "high": _finite(high),
        "verdict": above if like.better == "higher" else -above,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
