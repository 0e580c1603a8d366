"""Who proposes: strategies shape recipes, samplers fill in their parameters.

Both are functions of the history. They keep no state, so resuming a study is
re-reading its store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from paretune.core.budget import Budget
from paretune.core.recipe import Recipe, canonical
from paretune.core.technique import Over
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
        reopened: trials as they were halted that train on now to their next rung.
        tried: `told` of every finished trial's steps; by default made from `trials`.
            A search of many trials keeps one as it goes.
    """

    objectives: tuple[Objective, ...]
    trials: tuple[Trial, ...] = ()
    pending: tuple[tuple[Mapping[str, Any], ...], ...] = ()
    budget: Budget = field(default_factory=Budget)
    reopened: tuple[Trial, ...] = ()
    tried: Container[str] | None = field(default=None, repr=False, compare=False)

    @property
    def baseline(self) -> Trial | None:
        return next((t for t in self.trials if t.number == 0), None)

    def seen(self, recipe: Recipe) -> bool:
        """Whether this very recipe was tried, or is being tried."""
        text = told(recipe.to_json())
        return text in self._finished or text in self._under_way

    @cached_property
    def _finished(self) -> Container[str]:
        if self.tried is not None:
            return self.tried
        return frozenset(told(t.steps) for t in self.trials)

    @cached_property
    def _under_way(self) -> frozenset[str]:
        return frozenset(map(told, self.pending))


def told(steps: Iterable[Mapping[str, Any]]) -> str:
    """The one text of a recipe's steps: equal recipes have equal texts.

    Example:
        >>> told([{"ratio": 0.5, "technique": "structured_pruning"}])
        '[{"ratio":0.5,"technique":"structured_pruning"}]'
    """
    return canonical([dict(s) for s in steps])


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
    """Proposes the next recipe to try; the file's name is the strategy's name.

    Attributes:
        source: the paper.
        bound: whether only recipes of its own space make sense in its studies.
        adapts: whether what it proposes depends on what came of earlier proposals.
    """

    source: ClassVar[str]
    adapts: ClassVar[bool] = True
    bound: ClassVar[bool] = False

    @abstractmethod
    def recipes(self) -> tuple[Recipe, ...]:
        """The free recipes that this strategy searches over."""

    @abstractmethod
    def next(self, history: History, rng: np.random.Generator) -> Recipe | None:
        """A bound recipe that was not tried yet; None when there is none left."""


@dataclass(frozen=True)
class Scheduler(ABC):
    """Decides how far each trial trains; the file's name is the scheduler's name.

    A trial trains to its first rung, is judged there and halts; it goes on to the next
    one when `promote` names it. The last rung is the end of the training.

    Attributes:
        epochs: of a training in this study, 1 or more: a rung is no less than half of
            one.
        curves: whether a halted trial is left for good once even an optimistic guess
            of its final quality is dominated.
        over: what a rung is a share of: "length", the steps of the training; or "data",
            the samples that it sees, where each rung starts over.
    """

    source: ClassVar[str]

    epochs: int = 5
    curves: bool = True
    over: Over = "length"

    @abstractmethod
    def rungs(self, number: int) -> tuple[float, ...]:
        """Shares at which trial `number` is judged: they ascend, and 1.0 is last."""

    @abstractmethod
    def promote(self, history: History) -> int | None:
        """The number of a halted trial that deserves its next rung, if any does."""
