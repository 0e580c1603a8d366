"""The recipes that a live search is to run, and which of them goes next."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from paretune.core.recipe import Recipe
from paretune.core.trial import Trial
from paretune.engine.agenda import Costs, Path, choose, path_of, upcoming
from paretune.store._needs import Needs
from paretune.store.cache import Cache

HELD = 32  # halted trainings whose state is kept, whatever the cache would do


def _nothing(recipe: Recipe, share: float) -> Path:
    """Where no state of a halted training is kept."""
    return ()


@dataclass
class Queue:
    """Proposals that aren't started yet, oldest first. Not safe from several threads.

    Attributes:
        costs: what steps take; it learns.
        cache: where the results of steps are; None: nothing is kept anywhere.
        name: gives the cache keys of a recipe's steps, the first one's first.
        pause: gives those that a recipe's training needs to go on from a share of it.
        waiting: the proposals.
    """

    costs: Costs = field(default_factory=Costs)
    cache: Cache | None = None
    name: Callable[[Recipe], Path] = path_of
    pause: Callable[[Recipe, float], Path] = _nothing
    waiting: list[Recipe] = field(default_factory=list)
    _needs: Needs | None = field(default=None, repr=False)
    _halted: dict[int, tuple[float, Path]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.name = lru_cache(maxsize=256)(self.name)

    def take(self, running: Iterable[Recipe]) -> Recipe | None:
        """The proposal that goes next, no longer in the queue.

        Args:
            running: the recipes under way.

        Returns:
            None if there is none, or the next node of each is being computed.
        """
        busy = {upcoming(self.name(r), self._cached) for r in running}
        paths = [self.name(r) for r in self.waiting]
        seconds = {
            node: guess.seconds
            for recipe, path in zip(self.waiting, paths, strict=True)
            for node, guess in zip(path, self.costs.of(recipe), strict=True)
        }
        index = choose(paths, seconds, self._cached, {n for n in busy if n})
        return None if index is None else self.waiting.pop(index)

    def protect(self, running: Iterable[Recipe]) -> None:
        """Tells the cache which results these and the waiting ones will need.

        And the state of those halted trainings that went farthest: up to `HELD`.
        """
        if self.cache is not None:
            self._needs = self._needs or self.cache.needs()
            needed = [self.name(r) for r in (*self.waiting, *running)]
            farthest = heapq.nlargest(
                HELD, self._halted.items(), key=lambda told: (told[1][0], told[0])
            )
            needed += [path for _, (_, path) in farthest]
            self._needs.tell(node for path in needed for node in path)

    def learn(self, trial: Trial, recipe: Recipe) -> None:
        """Takes in what an ended trial's steps took, and what it may go on from."""
        self.costs.learn(trial, recipe)
        self.hold(trial, recipe)

    def hold(self, trial: Trial, recipe: Recipe) -> None:
        """Keeps what a halted trial may go on from, until it has ended otherwise."""
        self._halted.pop(trial.number, None)
        if trial.halted and trial.rungs:
            share = float(trial.rungs[-1]["share"])
            self._halted[trial.number] = share, self.pause(recipe, share)

    def close(self) -> None:
        """Needs nothing any more."""
        if self._needs is not None:
            self._needs.close()
            self._needs = None

    def _cached(self, node: str) -> bool:
        return self.cache is not None and self.cache.has(node)
