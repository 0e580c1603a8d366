"""Earlier studies, as a search begins with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune import catalog, studies
from paretune.automation.samplers._space import Places
from paretune.core.errors import RecipeError
from paretune.core.recipe import Recipe
from paretune.core.strategy import Strategy, told
from paretune.core.study import Study
from paretune.store.trials import Trials
from paretune.strategies._warm import WarmStart, adapted, alternated, spread

MOST = 10  # recipes that are taken over


def earlier(names: Sequence[str], store: Trials, root: Path) -> list[Study]:
    """The studies of these names.

    Raises:
        StoreError: there is none of a name; names the nearest.
    """
    return [studies.load_study(n, store, root) for n in dict.fromkeys(names)]


def taken(
    found: Sequence[Study],
    store: Trials,
    epochs: int,
    kept: Mapping[str, Any],
    strategy: Strategy,
) -> dict[str, Any]:
    """What is taken over from studies.

    Args:
        found: the studies.
        store: that they are in.
        epochs: of a usual training in this search.
        kept: what was taken over when this search began, if it did: that counts.
        strategy: of this search; one that is bound to its space takes over nothing
            that lies outside.

    Returns:
        {"studies": [name, ...], "recipes": [steps, ...]}; empty without studies.
    """
    if kept or not found:
        return dict(kept)
    by_study = []
    for study in found:
        then = int(store.facts(study.name).get("epochs", epochs))
        by_study.append([adapted(t.steps, then, epochs) for t in spread(study)])
    recipes = {told(steps): steps for steps in alternated(by_study)}
    usable = [steps for steps in recipes.values() if _read(steps) is not None]
    if strategy.bound:
        places = Places(strategy.recipes())
        usable = [steps for steps in usable if places.locate(steps) is not None]
    return {"studies": [s.name for s in found], "recipes": usable[:MOST]}


def started(strategy: Strategy, warm: Mapping[str, Any]) -> Strategy:
    """The strategy, after the recipes that were taken over."""
    recipes = [_read(steps) for steps in warm.get("recipes", ())]
    lead = tuple(r for r in recipes if r is not None)
    return WarmStart(strategy, lead) if lead else strategy


def _read(steps: Sequence[Mapping[str, Any]]) -> Recipe | None:
    """The recipe; None if a technique of it is gone, or was another then."""
    try:
        return catalog.recipe(steps)
    except RecipeError:
        return None
