"""What a list of recipes would take, without running any."""

from __future__ import annotations

import itertools
import math
import reprlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from paretune import catalog, studies
from paretune.core.errors import RecipeError
from paretune.core.recipe import Recipe
from paretune.core.space import Choice
from paretune.core.target import Target
from paretune.core.task import Task
from paretune.engine import agenda
from paretune.engine import plan as planning
from paretune.engine.path import keys_of
from paretune.options import Options, Progress, crew_of, slots, unheard
from paretune.settling import Event
from paretune.store.cache import Cache
from paretune.store.trials import Trials

MOST = 64  # recipes that one with domains stands for
HOW = "write a list with one recipe an item, and each as a list: '- - technique: NAME'."
LATEST = 200  # trials that estimates rest on, however many there are


def read_recipes(path: Path) -> tuple[Recipe, ...]:
    """The recipes in a YAML file, in its order and each once.

    The file is a list of recipes; each is a list of steps, or {"recipe": [...]}. One
    with choices in place of values stands for one recipe a combination.

    Raises:
        RecipeError: no such file, not a list of recipes, or a domain that can't be
            expanded.
    """
    content = catalog.read_yaml(path)
    if not isinstance(content, list) or not content:
        raise RecipeError(
            "recipes-yaml",
            f"{path} holds no list of recipes; {HOW}",
        )
    found: dict[str, Recipe] = {}
    for number, item in enumerate(content, 1):
        if isinstance(item, dict) and item.keys() == {"recipe"}:
            item = item["recipe"]
        where = f"{path}, recipe {number}"
        if not isinstance(item, list):
            alone = isinstance(item, dict) and "technique" in item
            got = "one step alone" if alone else reprlib.repr(item)
            raise RecipeError("recipes-yaml", f"{where} is {got}; {HOW}")
        try:
            for bound in expanded(catalog.recipe(item)):
                bound.check()
                found.setdefault(bound.digest, bound)
        except RecipeError as error:
            raise RecipeError(error.code, f"{where}: {error.message}") from None
    return tuple(found.values())


def expanded(recipe: Recipe) -> tuple[Recipe, ...]:
    """One recipe for each combination of its choices.

    Raises:
        RecipeError: a domain is no choice, or there are more than `MOST` combinations.

    Example:
        >>> len(expanded(Recipe()))
        1
    """
    space = recipe.space
    for name, domain in space.items():
        if not isinstance(domain, Choice):
            raise RecipeError(
                "recipe-free",
                f"{name} is {domain}, and only {{choice: [...]}} can be expanded; list "
                "the values to try, or give one.",
            )
    options = [d.options for d in space.values() if isinstance(d, Choice)]
    if (count := math.prod(map(len, options))) > MOST:
        raise RecipeError(
            "recipe-free",
            f"it stands for {count} recipes and at most {MOST} are allowed; give "
            "fewer choices, or search with --strategy instead.",
        )
    return tuple(
        recipe.bind(dict(zip(space, values, strict=True)))
        for values in itertools.product(*options)
    )


def costs(store: Trials, fingerprint: str, epoch_s: float) -> agenda.Costs:
    """What steps take, by the last trials of this very task in any study."""
    learned = agenda.Costs(epoch_s)
    for trial in reversed(store.latest(LATEST, fingerprint=fingerprint)):
        with suppress(RecipeError):  # a technique of it may be gone
            if trial.trace:
                learned.learn(trial, catalog.recipe(trial.steps))
    return learned


def plan(
    task: Task | str,
    recipes: tuple[Recipe, ...],
    target: Target | None = None,
    store: Path | None = None,
    workers: int | None = None,
    seed: int = 0,
    on_progress: Progress = unheard,
    on_event: Event = unheard,
) -> dict[str, Any]:
    """What running these recipes would take; nothing is trained.

    Args:
        task: a Task, a built-in name, or "path/to/task.py[:name]".
        recipes: bound ones.
        target: where the artifacts will be served.
        store: a folder; by default the user's own.
        workers: how many; by default one a core.
        seed: of everything random.
        on_progress: told what runs: (slot, what, share done).
        on_event: told what happens: "phase".

    Returns:
        {"recipes", "nodes": [{"step", "depth", "cached", "shared", "seconds",
        "known"}], "order", "alone_s", "shared_s", "wall_s", "workers", ...}.
    """
    root = (store or studies.default_store()).resolve()
    place = target or Target()
    to = catalog.usable_runtime(place.runtime).format
    asked = Options(target=place, workers=1, seed=seed)
    with crew_of(task, asked, root, on_progress) as (worker, *_):
        on_event("phase", {"what": "checking model, data, loss and metric"})
        found = worker.do("preflight", {})
    cache, mark = Cache(root), found["fingerprint"]
    known = costs(Trials.open(root), mark, found["epoch_s"])
    count = slots(Options(workers=workers))
    told = planning.plan(
        recipes, known, cache.has, count, lambda r: keys_of(r, to, mark, seed)
    )
    return {**planning.summary(told, recipes), "workers": count}
