"""Shrink the model, then win its quality back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from paretune.automation._outlook import outlook, told
from paretune.automation._points import corner, points
from paretune.automation.samplers.nsga2 import NSGA2
from paretune.automation.samplers.random_search import RandomSearch
from paretune.automation.subnet import Subnet
from paretune.automation.supernet import SHARES, Supernet
from paretune.compression.post_training_quantization import PostTrainingQuantization
from paretune.compression.structured_pruning import StructuredPruning
from paretune.core.budget import FOOTPRINT
from paretune.core.recipe import Recipe
from paretune.core.space import Choice
from paretune.core.strategy import History, Sampler, Strategy
from paretune.core.technique import Technique
from paretune.core.trial import Trial
from paretune.learning.distillation import Distillation
from paretune.learning.fine_tuning import FineTuning

# Coarse grids on purpose: recipes that agree in their first steps share the work of
# them, and a finer step is smaller than the noise of training.
RATIOS = tuple(round(0.05 * n, 2) for n in range(2, 19))
LADDER = (0.5, 0.3, 0.7, 0.85, 0.6, 0.8)
GLOBAL = {"importance": "taylor", "scope": "global"}  # the other way to prune
WIDTHS = (0.5, 0.75, 0.375, 0.25, 0.625)
ATTEMPTS = 25  # of each sampler
OPTIMISM = 2.0  # standard deviations that a halted trial is thought better by
_PRUNING, _SUBNET = StructuredPruning.name(), Subnet.name()


@dataclass(frozen=True)
class ShrinkAndImprove(Strategy):
    """Prunes, trains what is left, and quantizes: for models bound by footprint.

    First a fixed ladder that gives a frontier of use even when time is short: the
    model as it is in fewer bits, then pruned ever harder, distilled and quantized.
    After that the sampler chooses. Nothing is proposed twice.

    Attributes:
        sampler: chooses among recipes and their parameters after the ladder.
        epochs: of the usual training; the search also tries half as many.
        supernet: whether narrower nets are also taken out of one supernet, which is
            trained once for so many epochs: each of them then trains on for a fifth of
            that. The ladder climbs on those in place of pruned ones.

    Example:
        >>> from paretune.core.strategy import Objective
        >>> history = History((Objective("accuracy", "higher"),))
        >>> print(ShrinkAndImprove().next(history, np.random.default_rng(0)))
        post_training_quantization
    """

    source: ClassVar[str] = "Menghani 2023, arXiv:2106.08962"

    sampler: Sampler = field(default_factory=NSGA2)
    epochs: int = 5
    supernet: bool = False

    def recipes(self) -> tuple[Recipe, ...]:
        """The free recipes that this strategy searches over."""
        efforts = tuple(dict.fromkeys((self.epochs, max(1, self.epochs // 2))))
        prune = StructuredPruning(
            ratio=_any(RATIOS),
            importance=_any(("magnitude", "taylor")),
            scope=_any(("uniform", "global")),
        )
        distil = Distillation(epochs=_any(efforts))
        tune = FineTuning(epochs=_any(efforts))
        static = PostTrainingQuantization(
            scheme="static_int8", calibration=_any(("minmax", "percentile", "entropy"))
        )
        other = PostTrainingQuantization(scheme=_any(("dynamic_int8", "float16")))
        net, short = self._net()
        cut = Subnet(early=_any(SHARES), middle=_any(SHARES), late=_any(SHARES))
        inside: tuple[tuple[Technique, ...], ...] = (
            (net, cut, short, static),
            (net, cut, short, other),
        )
        return tuple(
            Recipe(steps)
            for steps in (
                *(inside if self.supernet else ()),
                (prune, distil, static),
                (prune, distil, other),
                (prune, tune, static),
                (prune, distil),
                (distil, static),
                (static,),
            )
        )

    def next(self, history: History, rng: np.random.Generator) -> Recipe | None:
        """A bound recipe that was not tried yet; None when none was found."""
        for recipe in self.opening(history):
            if not history.seen(recipe):
                return recipe
        recipes = [r for r in self.recipes() if not _exhausted(r, history)]
        # A sampler that is sure of itself may repeat what was tried, for ever.
        for sampler in (self.sampler, RandomSearch()):
            for _ in range(ATTEMPTS if recipes else 0):
                recipe = sampler.next(recipes, history, rng)
                if not history.seen(recipe):
                    return recipe
        return None

    def opening(self, history: History) -> Iterator[Recipe]:
        """The recipes to begin with, the most telling first.

        What came of the first ones shapes the rest: the number format that did better
        is used from there on, and so is the way to choose channels; ratios that can't
        meet the budget are passed over.
        """
        static, dynamic, half = (
            PostTrainingQuantization(scheme=scheme)
            for scheme in ("static_int8", "dynamic_int8", "float16")
        )
        distil = Distillation(epochs=self.epochs)
        yield Recipe((static,))
        yield Recipe((dynamic,))
        bits = dynamic if _better(history, dynamic, static) else static
        low, high = _window(history, bits)
        net, short = self._net()
        for width in WIDTHS if self.supernet else ():
            if low < 1 - width < high:
                yield Recipe((net, Subnet(width, width, width), short, bits))
        climbed = [r for r in LADDER if low < r < high and not self.supernet]
        ways: tuple[Mapping[str, Any], ...] = {}, GLOBAL
        first = [_pruned(r, w, distil, bits) for r in climbed[:1] for w in ways]
        yield from first
        way = ways[int(np.argmax([_worth(history, r) for r in first or [Recipe()]]))]
        for ratio in (*climbed[1:], *_halving(low, high)):
            yield _pruned(ratio, way, distil, bits)
        yield Recipe((half,))

    def _net(self) -> tuple[Supernet, Distillation]:
        """The supernet that all subnets come out of, and what follows each of them."""
        return (
            Supernet(epochs=self.epochs),
            Distillation(epochs=max(1, self.epochs // 5)),
        )


def _halving(low: float, high: float) -> list[float]:
    """The ratios nearest the middle of what the budget leaves open, if it does close.

    Example:
        >>> _halving(0.0, 0.3)
        [0.15, 0.2, 0.1]
        >>> _halving(0.0, 1.0)
        []
    """
    if high == 1.0:
        return []
    middle = (low + high) / 2
    inside = [r for r in RATIOS if low < r < high]
    return sorted(inside, key=lambda r: (round(abs(r - middle), 2), -r))[:3]


def _pruned(
    ratio: float, way: Mapping[str, Any], distil: Technique, bits: Technique
) -> Recipe:
    return Recipe((StructuredPruning(ratio=ratio, **way), distil, bits))


def _worth(history: History, recipe: Recipe) -> float:
    """What a recipe's trial spans within the budget's limits; 0 if that isn't known."""
    trial, limits = _tried(history, recipe), corner(history)
    if trial is None or limits is None:
        return 0.0
    (figures,) = points(outlook(history, [trial]), history)
    return float(np.maximum(limits - figures, 0.0).prod())


def _any(options: tuple[Any, ...]) -> Any:
    """A domain in the place of a value."""
    return Choice(options)


def _exhausted(recipe: Recipe, history: History) -> bool:
    """Whether all of a small space was tried."""
    options = [d.options for d in recipe.space.values() if isinstance(d, Choice)]
    if len(options) < len(recipe.space) or math.prod(map(len, options)) > ATTEMPTS:
        return False
    return all(
        history.seen(recipe.bind(dict(zip(recipe.space, values, strict=True))))
        for values in itertools.product(*options)
    )


def _better(history: History, one: Technique, other: Technique) -> bool:
    """Whether `one` alone did better than `other` alone, on most of the axes."""
    first, second = (_tried(history, Recipe((bits,))) for bits in (one, other))
    if first is None or second is None or not first.ok:
        return False
    if not second.ok:
        return True
    wins = 0
    for objective in history.objectives:
        if objective.metric not in first.values.keys() & second.values.keys():
            continue
        gain = second.values[objective.metric] - first.values[objective.metric]
        gain = gain if objective.better == "lower" else -gain
        wins += int(gain > 0) - int(gain < 0)
    return wins > 0


def _tried(history: History, recipe: Recipe) -> Trial | None:
    steps = tuple(recipe.to_json())
    return next((t for t in history.trials if tuple(t.steps) == steps), None)


def _removed(step: Mapping[str, Any]) -> float | None:
    """The share of channels that a step removes, if it is the same in all layers."""
    if step["technique"] == _PRUNING:
        return float(step["ratio"])
    if step["technique"] != _SUBNET:
        return None
    widths = {step["early"], step["middle"], step["late"]}
    return 1 - float(widths.pop()) if len(widths) == 1 else None


def _only(trial: Trial, last: Technique) -> float | None:
    """What a trial that was pruned once, and went through `last` then, had removed."""
    ratios = [r for s in trial.steps if (r := _removed(s)) is not None]
    if len(ratios) != 1 or dict(trial.steps[-1]) != last.to_json():
        return None
    return ratios[0]


def _window(history: History, last: Technique) -> tuple[float, float]:
    """(the highest ratio that left too big a model, the lowest that hurt too much).

    Of models that were pruned once and went through `last` at the end. A halted one
    hurt too much if not even an optimistic guess of its quality is enough.
    """
    low, high = 0.0, 1.0
    base = history.baseline
    if base is None:
        return low, high
    alike = [(t, r) for t in history.trials if (r := _only(t, last)) is not None]
    guesses = outlook(history, [t for t, _ in alike], OPTIMISM)
    for (trial, ratio), guess in zip(alike, guesses, strict=True):
        if trial.foreseen:
            low = max(low, ratio)
        sure = not trial.halted or told(history, len(trial.rungs) - 1, least=1)
        for constraint in history.budget.broken(
            guess if sure else trial.values, base.values
        ):
            if constraint.metric in FOOTPRINT:
                low = max(low, ratio)
            else:
                high = min(high, ratio)
    return low, high
