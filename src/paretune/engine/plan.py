"""What running a list of recipes would take, step by step, without running any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from paretune.core.recipe import Recipe
from paretune.engine.agenda import Costs, Guess, Path, choose, path_of, upcoming


class Step(NamedTuple):
    """A piece of a plan.

    Attributes:
        node: its name.
        first: index of the first recipe that has it.
        depth: how many steps precede it.
        cached: whether its result is there.
        shared: recipes that have it.
        guess: estimated seconds.
    """

    node: str
    first: int
    depth: int
    cached: bool
    shared: int
    guess: Guess


class Plan(NamedTuple):
    """What running some recipes would take.

    Attributes:
        steps: every node once, parents before children, siblings as they were given.
        order: indices of the recipes, as slots would take them.
        alone_s: seconds if each recipe were run from its first step, nothing cached.
        shared_s: seconds of the nodes that aren't cached, each once.
        wall_s: seconds until the last of the slots is done.
    """

    steps: tuple[Step, ...]
    order: tuple[int, ...]
    alone_s: float
    shared_s: float
    wall_s: float


def plan(
    recipes: Sequence[Recipe],
    costs: Costs,
    cached: Callable[[str], bool],
    slots: int = 1,
    name: Callable[[Recipe], Path] = path_of,
) -> Plan:
    """What would be run, in which order, and what it takes.

    Args:
        recipes: bound ones.
        costs: what steps take.
        cached: whether a node's result is there.
        slots: that work side by side, 1 or more.
        name: gives the nodes of a recipe, one a step.
    """
    paths = [name(r) for r in recipes]
    guesses = [costs.of(r) for r in recipes]
    seconds: dict[str, Guess] = {}
    for path, own in zip(paths, guesses, strict=True):
        for node, guess in zip(path, own, strict=True):
            seconds.setdefault(node, guess)
    there = {node: cached(node) for node in seconds}
    shared = Counter(node for path in paths for node in path)
    first: dict[str, tuple[int, int]] = {}
    for index, path in enumerate(paths):
        for depth, node in enumerate(path):
            first.setdefault(node, (index, depth))
    # Depth first: a node is followed by its descendants, branches as they were given.
    rank = {node: n for n, node in enumerate(first)}
    ordered = sorted(
        first,
        key=lambda n: [rank[p] for p in paths[first[n][0]][: first[n][1] + 1]],
    )
    steps = tuple(Step(n, *first[n], there[n], shared[n], seconds[n]) for n in ordered)
    needed: dict[str, None] = {}
    for path in paths:
        begins = upcoming(path, there.__getitem__)
        if begins is not None:
            needed |= dict.fromkeys(path[path.index(begins) :])
    order, wall = _run(paths, {n: g.seconds for n, g in seconds.items()}, there, slots)
    return Plan(
        steps,
        order,
        sum(g.seconds for own in guesses for g in own),
        sum(seconds[n].seconds for n in needed),
        wall,
    )


def _run(
    paths: Sequence[Path],
    seconds: Mapping[str, float],
    there: Mapping[str, bool],
    slots: int,
) -> tuple[tuple[int, ...], float]:
    """(the order in which recipes are taken, when the last one ends)."""
    ready = {node: 0.0 for node, is_there in there.items() if is_there}
    waiting, free, now = list(range(len(paths))), [0.0] * slots, 0.0
    order: list[int] = []
    while waiting:
        now = max(now, min(free))

        def cached(node: str, at: float = now) -> bool:
            return ready.get(node, float("inf")) <= at

        busy = {node for node, end in ready.items() if end > now}
        some = choose([paths[i] for i in waiting], seconds, cached, busy)
        if some is None:  # until one of the nodes under way is there
            now = min(end for end in ready.values() if end > now)
            continue
        index = waiting.pop(some)
        order.append(index)
        end, begins = now, upcoming(paths[index], cached)
        for later in paths[index][paths[index].index(begins) :] if begins else ():
            end = end + seconds[later] if later not in ready else max(end, ready[later])
            ready.setdefault(later, end)
        free[free.index(min(free))] = end
    return tuple(order), max(free)


def summary(told: Plan, recipes: Sequence[Recipe]) -> dict[str, Any]:
    """A plan as JSON.

    Example:
        >>> summary(plan([], Costs(), set().__contains__), [])["order"]
        []
    """
    return {
        "version": 1,
        "recipes": [r.to_json() for r in recipes],
        "nodes": [
            {
                "node": s.node,
                "step": recipes[s.first].steps[s.depth].to_json(),
                "depth": s.depth,
                "cached": s.cached,
                "shared": s.shared,
                "seconds": s.guess.seconds,
                "known": s.guess.how,
            }
            for s in told.steps
        ],
        "order": list(told.order),
        "alone_s": told.alone_s,
        "shared_s": told.shared_s,
        "wall_s": told.wall_s,
    }
