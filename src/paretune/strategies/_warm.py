"""A search that begins with what earlier ones found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from paretune.core.recipe import Recipe
from paretune.core.strategy import History, Strategy
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import Frontier, frontier

SHARES = (1, 2, 5)  # parts of the usual training that strategies give


@dataclass(frozen=True)
class WarmStart(Strategy):
    """Proposes recipes of earlier studies first, then what another strategy proposes.

    That one has them in its history from then on.

    Attributes:
        inner: who goes on.
        lead: bound recipes, the most promising first.
    """

    source: ClassVar[str] = (
        "Feurer et al. 2015, AAAI 29:1128-1135 (beginning with what was best elsewhere)"
    )

    inner: Strategy
    lead: tuple[Recipe, ...]

    def recipes(self) -> tuple[Recipe, ...]:
        """The free recipes of the strategy that goes on."""
        return self.inner.recipes()

    def next(self, history: History, rng: np.random.Generator) -> Recipe | None:
        """The first of the lead that was not tried yet; then what `inner` proposes."""
        for recipe in self.lead:
            if not history.seen(recipe):
                return recipe
        return self.inner.next(history, rng)


def spread(study: Study) -> list[Trial]:
    """The frontier's members without the baseline, each adding most to those before.

    What they add is hypervolume, so that the first few stand for the whole frontier.
    """
    base = study.baseline
    left = [t for t in frontier(study).members if t.number]
    taken: list[Trial] = []
    while base is not None and left:

        def volume(trial: Trial, before: tuple[Trial, ...] = (base, *taken)) -> float:
            trials = (*before, trial)
            return Frontier(replace(study, trials=trials), (), ()).hypervolume

        best = max(left, key=volume)
        left.remove(best)
        taken.append(best)
    return taken


def adapted(
    steps: Sequence[Mapping[str, Any]], then: int, now: int
) -> list[dict[str, Any]]:
    """The steps with trainings as long as this search's, all else as it was.

    Args:
        steps: of an earlier study's recipe.
        then: epochs of a usual training there.
        now: those of one here.

    Example:
        >>> adapted([{"technique": "distillation", "epochs": 2}], 5, 20)
        [{'technique': 'distillation', 'epochs': 10}]
    """
    return [
        {**s, "epochs": _epochs(int(s["epochs"]), then, now)}
        if "epochs" in s
        else dict(s)
        for s in steps
    ]


def _epochs(epochs: int, then: int, now: int) -> int:
    for parts in SHARES:
        if epochs == max(1, then // parts):
            return max(1, now // parts)
    return max(1, round(epochs * now / then))


def alternated(lists: Sequence[Sequence[Any]]) -> list[Any]:
    """The first of each, then the second of each, and so on.

    Example:
        >>> alternated([[1, 2, 3], [4]])
        [1, 4, 2, 3]
    """
    longest = max(map(len, lists), default=0)
    return [one[n] for n in range(longest) for one in lists if n < len(one)]
