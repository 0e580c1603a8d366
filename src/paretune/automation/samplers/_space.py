"""Where a trial's recipe lies among free recipes: which one, and with which values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paretune.core.recipe import Recipe, canonical
from paretune.core.space import Choice, Integer, Real, Text

Steps = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Place:
    """A recipe with values.

    Attributes:
        index: which of the free recipes.
        values: by the name of the parameter; see `names`.
    """

    index: int
    values: Mapping[str, Any]


class Places:
    """All that free recipes span.

    Attributes:
        recipes: free or bound.
        names: of each recipe, what `names` gives.
    """

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        self.recipes = tuple(recipes)
        self.names = [names(recipe) for recipe in self.recipes]

    def locate(self, steps: Steps) -> Place | None:
        """Where bound steps are; None if no recipe gives them."""
        for index, recipe in enumerate(self.recipes):
            if (found := _values(recipe, steps)) is not None:
                known = self.names[index]
                return Place(index, {known[k]: v for k, v in found.items()})
        return None


def names(recipe: Recipe) -> dict[str, str]:
    """By key of a recipe's space, the name of the parameter across recipes.

    A parameter that several recipes have in common (same technique, name and domain)
    has one name.
    """
    found: dict[str, str] = {}
    for key, domain in recipe.space.items():
        name = f"{key.partition('.')[2]} {canonical(domain.to_json())}"
        # A technique that comes twice has its parameters twice.
        while name in found.values():
            name += "'"
        found[key] = name
    return found


def ordered(options: tuple[Any, ...]) -> bool:
    """Whether they are steps on a scale, such as 0.3, 0.35, 0.4.

    What holds for one then nearly holds for the next, which a sampler would have to
    learn anew for each option of an unordered parameter.
    """
    numbers = all(type(o) in (int, float) for o in options)
    return numbers and list(options) == sorted(options)


def alike(one: Any, other: Any) -> bool:
    """Equality where 1 and 1.0 are the same, and 1 and True aren't."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _values(recipe: Recipe, steps: Steps) -> dict[str, Any] | None:
    if len(recipe.steps) != len(steps):
        return None
    values: dict[str, Any] = {}
    for index, (step, record) in enumerate(zip(recipe.steps, steps, strict=True)):
        if record.get("technique") != step.name():
            return None
        for name, wanted in step.parameters().items():
            if name not in record:
                return None
            got = record[name]
            if isinstance(wanted, Choice):
                fits = any(alike(option, got) for option in wanted.options)
            elif isinstance(wanted, Real | Integer | Text):
                fits = got in wanted
            else:
                fits = alike(wanted, got)
            if not fits:
                return None
            if isinstance(wanted, Real | Integer | Choice | Text):
                values[f"{index}.{step.name()}.{name}"] = got
    return values
