"""Who proposes: strategies shape recipes, samplers fill in their parameters.

Both are functions of the history. They keep no state, so resuming a study is
re-reading its store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from paretune.core.budget import Budget
from paretune.core.recipe import Recipe, canonical
from paretune.core.trial import Trial


@dataclass(frozen=True)
class Objective:
    """One axis of the frontier."""

    metric: str
    better: Literal["lower", "higher"]


@dataclass(frozen=True)
class History:
    """All that is known so far.

    Attributes:
        objectives: the axes of the frontier.
        trials: finished ones, by number; trial 0 is the baseline.
        pending: the recipes of trials under way, as JSON steps.
        budget: what the device allows.
    """

    objectives: tuple[Objective, ...]
    trials: tuple[Trial, ...] = ()
    pending: tuple[tuple[Mapping[str, Any], ...], ...] = ()
    budget: Budget = field(default_factory=Budget)

    @property
    def baseline(self) -> Trial | None:
        return next((t for t in self.trials if t.number == 0), None)

    def seen(self, recipe: Recipe) -> bool:
        """Whether this very recipe was tried, or is being tried."""
        text = canonical(recipe.to_json())
        tried = [t.steps for t in self.trials] + list(self.pending)
        return any(canonical([dict(s) for s in steps]) == text for steps in tried)


class Sampler(ABC):
    """Chooses one of several free recipes and binds all of its parameters.

    The file's name is the sampler's name.
    """

    source: ClassVar[str]

    @abstractmethod
    def next(
        self, recipes: Sequence[Recipe], history: History, rng: np.random.Generator
    ) -> Recipe:
        """A bound recipe out of the space that `recipes` span."""


class Strategy(ABC):
    """Proposes the next recipe to try; the file's name is the strategy's name."""

    source: ClassVar[str]

    @abstractmethod
    def recipes(self) -> tuple[Recipe, ...]:
        """The free recipes that this strategy searches over."""

    @abstractmethod
    def next(self, history: History, rng: np.random.Generator) -> Recipe | None:
        """A bound recipe that was not tried yet; None when there is none left."""
