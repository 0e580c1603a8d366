"""Exactly the recipes that were asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paretune.core.errors import RecipeError
from paretune.core.recipe import Recipe
from paretune.core.strategy import History, Sampler, Strategy


@dataclass(frozen=True)
class Sweep(Strategy):
    """Tries each recipe of a list once, and then ends.

    Attributes:
        sampler: unused: there is nothing to choose.
        epochs: unused: the recipes say how long they train.
        listed: bound recipes.

    Raises:
        RecipeError: the list is empty.

    Example:
        >>> from paretune.core.strategy import Objective
        >>> history = History((Objective("accuracy", "higher"),))
        >>> print(Sweep(listed=(Recipe(),)).next(history, np.random.default_rng(0)))
        baseline
    """

    source: ClassVar[str] = "a list of recipes, as the user gives it"
    adapts: ClassVar[bool] = False

    sampler: Sampler | None = None
    epochs: int = 5
    listed: tuple[Recipe, ...] = ()

    def __post_init__(self) -> None:
        if not self.listed:
            raise RecipeError(
                "recipes-empty",
                "strategy sweep has no recipes to run; name a file of them with "
                "--recipes FILE.",
            )

    def recipes(self) -> tuple[Recipe, ...]:
        """The recipes of the list."""
        return self.listed

    def next(self, history: History, rng: np.random.Generator) -> Recipe | None:
        """The first that was not tried yet; None when all were."""
        return next((r for r in self.listed if not history.seen(r)), None)
