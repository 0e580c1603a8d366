"""Aging evolution: the best of a few recent trials, changed in one place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from paretune.automation.samplers._outcomes import losses, violations
from paretune.automation.samplers._space import Place, Places, alike, ordered
from paretune.automation.samplers.random_search import RandomSearch
from paretune.core.recipe import Recipe
from paretune.core.space import Choice, Domain, Integer, Real, Text
from paretune.core.strategy import History, Sampler
from paretune.core.trial import Trial

NEAR = 0.15  # standard deviation of a step, as a share of the domain
SCANNED = 4  # populations that are looked through for trials of the space
ATTEMPTS = 20  # changes, one on top of another, until a recipe is a new one


@dataclass(frozen=True)
class RegularizedEvolution(Sampler):
    """Changes one thing about the winner of a tournament among the last trials.

    That is the value of one parameter, the widths of a subnet included, or the recipe
    itself: another one, in which parameters that both have keep their values. Trials
    die of age, so that one that was lucky once doesn't stay for ever. The winner is the
    one that breaks the budget by least, then the one that fewest others dominate.

    Attributes:
        population: the last trials, of which parents are chosen.
        tournament: of so many, drawn at random, the best is the parent.
        startup: trials before which it draws at random.
        crossing: chance that the recipe changes rather than a value.
    """

    source: ClassVar[str] = (
        "Real et al. 2019, arXiv:1802.01548; ranks: Deb et al. 2002, IEEE TEC 6:182-197"
    )

    population: int = 20
    tournament: int = 6
    startup: int = 6
    crossing: float = 0.15

    def next(
        self, recipes: Sequence[Recipe], history: History, rng: np.random.Generator
    ) -> Recipe:
        """A bound recipe out of the space that `recipes` span."""
        space = Places(recipes)
        alive = self._alive(space, history)
        if len(alive) < self.startup:
            return RandomSearch().next(recipes, history, rng)
        place = self._parent(alive, history, rng)
        for _ in range(ATTEMPTS):
            place = self._changed(space, place, rng)
            if not history.seen(_bound(space, place)):
                break
        return _bound(space, place)

    def _alive(self, space: Places, history: History) -> list[tuple[Trial, Place]]:
        """The last trials of the space, the newest first; older ones aren't read."""
        found: list[tuple[Trial, Place]] = []
        for trial in history.trials[: -SCANNED * self.population - 1 : -1]:
            place = space.locate(trial.steps)
            if place is not None and len(found) < self.population:
                found.append((trial, place))
        return found

    def _parent(
        self,
        alive: Sequence[tuple[Trial, Place]],
        history: History,
        rng: np.random.Generator,
    ) -> Place:
        trials = [trial for trial, _ in alive]
        figures = losses(history, trials)
        broken = violations(history, trials)
        beaten = [
            int(((figures <= own).all(1) & (figures < own).any(1)).sum())
            for own in figures
        ]
        drawn = rng.permutation(len(alive))[: self.tournament]
        best = min(drawn, key=lambda i: (broken[i], beaten[i]))
        return alive[int(best)][1]

    def _changed(self, space: Places, place: Place, rng: np.random.Generator) -> Place:
        """The place with one thing changed."""
        free = _free(space, place.index)
        others = [i for i in range(len(space.recipes)) if i != place.index]
        if others and (not free or rng.random() < self.crossing):
            return _moved(space, place, others[int(rng.integers(len(others)))], rng)
        if not free:
            return place
        name = sorted(free)[int(rng.integers(len(free)))]
        value = _other(free[name], place.values[name], rng)
        return Place(place.index, {**place.values, name: value})


def _bound(space: Places, place: Place) -> Recipe:
    """The recipe of a place."""
    known = space.names[place.index]
    recipe = space.recipes[place.index]
    return recipe.bind({key: place.values[known[key]] for key in recipe.space})


def _moved(space: Places, place: Place, index: int, rng: np.random.Generator) -> Place:
    """The place in another recipe: what that has besides is drawn."""
    known = space.names[index]
    drawn = {
        known[key]: domain.sample(rng)
        for key, domain in space.recipes[index].space.items()
        if known[key] not in place.values
    }
    own = {name: v for name, v in place.values.items() if name in known.values()}
    return Place(index, {**own, **drawn})


def _free(space: Places, index: int) -> dict[str, Domain]:
    """Domains of a recipe that hold more than one value, by name."""
    known = space.names[index]
    return {
        known[key]: domain
        for key, domain in space.recipes[index].space.items()
        if _several(domain)
    }


def _several(domain: Domain) -> bool:
    match domain:
        case Text():
            return False
        case Choice(options):
            return len(options) > 1
        case Real(low, high) | Integer(low, high):
            return low < high


def _other(domain: Domain, value: Any, rng: np.random.Generator) -> Any:
    """Another value: a near one on a scale, any other of options without one."""
    match domain:
        case Choice(options) if ordered(options):
            here = next(i for i, o in enumerate(options) if alike(o, value))
            return options[_step(0, len(options) - 1, here, rng)]
        case Choice(options):
            rest = [o for o in options if not alike(o, value)]
            return rest[int(rng.integers(len(rest)))]
        case Integer(low, high, log):
            return _step(low, high, value, rng, log)
        case Real(low, high, log):
            return _near(low, high, value, rng, log)
        case _:
            return value


def _near(
    low: float, high: float, value: float, rng: np.random.Generator, log: bool = False
) -> float:
    """A number near `value`, mirrored at the ends."""
    if log:
        ends = (math.log(low), math.log(high))
        there = math.exp(_near(*ends, math.log(value), rng))
    else:
        there = value + float(rng.normal()) * NEAR * (high - low)
        there = low + abs(there - low)
        there = high - abs(high - there)
    return min(high, max(low, there))


def _step(
    low: int, high: int, value: int, rng: np.random.Generator, log: bool = False
) -> int:
    """A whole number near `value`, and another one."""
    there = round(_near(low, high, value, rng, log))
    if there == value:
        there += 1 if value == low or (value < high and rng.random() < 0.5) else -1
    return there
