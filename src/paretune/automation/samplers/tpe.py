"""The tree-structured Parzen estimator."""

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


@dataclass(frozen=True)
class TPE(Sampler):
    """Proposes where good trials are dense and bad ones are not.

    Good are those on the first fronts, or, while too few meet the budget, those that
    miss it least. Recipes under way count as bad, so that parallel workers spread out.

    Attributes:
        startup: trials before which it draws at random.
    """

    source: ClassVar[str] = (
        "Bergstra et al. 2011, NeurIPS 24; several objectives: Ozaki et al. 2022, "
        "JAIR 73:1209-1250; constraints: Watanabe & Hutter 2023, arXiv:2211.14411"
    )

    startup: int = 6

    def next(
        self, recipes: Sequence[Recipe], history: History, rng: np.random.Generator
    ) -> Recipe:
        """A bound recipe out of the space that `recipes` span."""

        def build(seed: int) -> optuna.samplers.BaseSampler:
            from optuna.samplers import TPESampler

            return TPESampler(n_startup_trials=self.startup, seed=seed)

        return propose(build, recipes, history, rng)
