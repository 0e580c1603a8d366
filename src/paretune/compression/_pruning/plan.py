"""How many units go from where, and which."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

# No layer loses more than this in a global ranking, unless `ratio` asks for more.
CAP = 0.9


@dataclass(frozen=True)
class Units:
    """What is removed from one place in the model: channels or heads.

    Attributes:
        scores: importance of each unit.
        copies: channels that one unit stands for: as many as the grouped layers that
            they pass through have groups, so that the groups stay alike.
    """

    scores: tuple[float, ...]
    copies: int = 1


def normal(places: Mapping[str, Units]) -> dict[str, Units]:
    """The same with scores that are 1 on average in each place.

    Squared weights of layers of different sizes can't be compared as they are.
    """
    means = {n: sum(u.scores) / len(u.scores) or 1.0 for n, u in places.items()}
    return {
        name: Units(tuple(s / means[name] for s in units.scores), units.copies)
        for name, units in places.items()
    }


def plan(
    places: Mapping[str, Units], ratio: float, scope: str, round_to: int
) -> dict[str, list[int]]:
    """The units to remove from each place, where there are any.

    Args:
        places: what could be removed, by place.
        ratio: share to remove, 0 to 1.
        scope: "uniform" or "global".
        round_to: what the channels that stay are a multiple of, where they can.

    Example:
        >>> plan({"a": Units((3.0, 1.0, 2.0, 4.0))}, 0.5, "uniform", 1)
        {'a': [1, 2]}
    """
    if scope == "global":
        wanted = _ranked(places, ratio)
    else:
        wanted = {n: len(u.scores) * (1 - ratio) for n, u in places.items()}
    removed = {}
    for name, units in places.items():
        stay = _rounded(wanted[name], len(units.scores), units.copies, round_to)
        order = sorted(range(len(units.scores)), key=units.scores.__getitem__)
        if drop := sorted(order[: len(order) - stay]):
            removed[name] = drop
    return removed


def _ranked(places: Mapping[str, Units], ratio: float) -> dict[str, float]:
    """How many units stay in each place if the least important of all go."""
    left = {name: len(units.scores) for name, units in places.items()}
    least = {
        name: max(1, math.ceil(count * (1 - max(ratio, CAP)) - 1e-9))
        for name, count in left.items()
    }
    every = sorted(
        (score, name, number)
        for name, units in places.items()
        for number, score in enumerate(units.scores)
    )
    to_go = ratio * sum(len(u.scores) * u.copies for u in places.values())
    for _, name, _ in every:
        copies = places[name].copies
        if to_go < copies / 2:
            break
        if left[name] > least[name]:
            left[name] -= 1
            to_go -= copies
    return {name: float(count) for name, count in left.items()}


def _rounded(wanted: float, count: int, copies: int, round_to: int) -> int:
    step = math.lcm(round_to, copies) // copies
    if step >= count:
        return count
    return min(max(step, int(wanted / step + 0.5) * step), count)
