"""A Gaussian process for each objective, and the expected gain in hypervolume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from paretune.automation.samplers._optuna import propose
from paretune.automation.samplers.random_search import RandomSearch
from paretune.core.recipe import Recipe
from paretune.core.space import Choice, Domain, Integer, Text
from paretune.core.strategy import History, Sampler

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class GaussianProcess(Sampler):
    """Proposes where a model of each objective expects the largest gain in hypervolume.

    Of one objective: the largest improvement. The expected gain is multiplied by the
    chance of meeting the budget, by a model of that. For short searches: a proposal
    costs seconds, where those of others cost milliseconds.

    Attributes:
        startup: trials before which it draws at random.
        most: trials that the models are fitted to, the last ones.
    """

    source: ClassVar[str] = (
        "Daulton et al. 2020, arXiv:2006.05078; Ament et al. 2023, arXiv:2310.20708; "
        "constraints: Gardner et al. 2014, ICML 32:937-945"
    )

    startup: int = 8
    most: int = 150

    def next(
        self, recipes: Sequence[Recipe], history: History, rng: np.random.Generator
    ) -> Recipe:
        """A bound recipe out of the space that `recipes` span."""

        def build(seed: int) -> optuna.samplers.BaseSampler:
            from optuna.samplers import GPSampler

            return GPSampler(n_startup_trials=self.startup, seed=seed)

        base = [t for t in history.trials[:1] if t.number == 0]
        last = history.trials[max(len(base), len(history.trials) - self.most) :]
        recent = replace(history, trials=(*base, *last))
        if sum(bool(t.values) for t in last) < self.startup:
            return RandomSearch().next(recipes, history, rng)
        # Trials of one recipe then differ by what this recipe has, and by nothing else.
        return propose(build, recipes, recent, rng, fill=_middle)


def _middle(domain: Domain) -> Any:
    """One and the same value of a parameter that a recipe doesn't have."""
    match domain:
        case Choice(options):
            return options[len(options) // 2]
        case Text():
            return domain.example
        case Integer(low, high):
            return (low + high) // 2
        case _:
            return (domain.low + domain.high) / 2
