"""The non-dominated sorting genetic algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from paretune.automation.samplers._optuna import propose
from paretune.core.recipe import Recipe
from paretune.core.strategy import History, Sampler

if TYPE_CHECKING:
    import optuna

NEARNESS = 5.0  # of a mutated number to what it was; the higher, the nearer


@dataclass(frozen=True)
class NSGA2(Sampler):
    """Crosses and mutates the best trials so far, spread along the frontier.

    In its steady-state form: the parents of each proposal are the best of the whole
    history, so that no proposal waits for a generation to be full.

    Attributes:
        population: of parents; before as many trials it draws at random.
    """

    source: ClassVar[str] = (
        "Deb et al. 2002, IEEE TEC 6:182-197; steady state: Durillo et al. 2009, "
        "EMO 2009:183-197; mutation: Deb & Deb 2014, IJAISC 4:1-28"
    )

    population: int = 6

    def next(
        self, recipes: Sequence[Recipe], history: History, rng: np.random.Generator
    ) -> Recipe:
        """A bound recipe out of the space that `recipes` span."""

        def build(seed: int) -> optuna.samplers.BaseSampler:
            from optuna.samplers import NSGAIISampler
            from optuna.samplers.nsgaii import PolynomialMutation

            # Values are mostly inherited as they are, so that a child shares the
            # beginning of its recipe, and its training, with a parent.
            return NSGAIISampler(
                population_size=self.population,
                mutation=PolynomialMutation(eta=NEARNESS),
                seed=seed,
            )

        # All of one generation, so that the best of all are the parents of the next.
        marks = {"NSGAIISampler:generation": 0}
        return propose(
            build, recipes, history, rng, fill=lambda d: d.sample(rng), marks=marks
        )
