"""Recipes and parameters drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from paretune.core.recipe import Recipe
from paretune.core.strategy import History, Sampler


class RandomSearch(Sampler):
    """Draws one of the recipes, then each of its parameters: the sampler to beat.

    Every recipe is as likely as any other, however many parameters it has.
    """

    source: ClassVar[str] = "Bergstra & Bengio 2012, JMLR 13:281-305"

    def next(
        self, recipes: Sequence[Recipe], history: History, rng: np.random.Generator
    ) -> Recipe:
        """A bound recipe; the history plays no part."""
        recipe = recipes[int(rng.integers(len(recipes)))]
        return recipe.bind({k: d.sample(rng) for k, d in recipe.space.items()})
