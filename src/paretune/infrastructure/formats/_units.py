"""How many units go from where, and which."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

# No layer loses more than this in a ranking of all, unless `ratio` asks for more.
CAP = 0.9

Axis = tuple[str, str]


@dataclass(frozen=True)
class Units:
    """What is removed from one place in the model: channels or heads.

    Attributes:
        scores: importance of each unit.
        copies: channels that one unit stands for: as many as the grouped layers that
            they pass through have groups, so that the groups stay alike.
        first: units that were there before the first round; 0: as many as now.
        shares: the share that one unit has of each axis that it lies on; an axis is
            (layer, "in" or "out").
    """

    scores: tuple[float, ...]
    copies: int = 1
    first: int = 0
    shares: Mapping[Axis, float] = field(default_factory=dict)

    @property
    def most(self) -> int:
        """Units before the first round."""
        return self.first or len(self.scores)

    def step(self, round_to: int) -> int:
        """Units that go at once, so that the channels left are a multiple."""
        return math.lcm(round_to, self.copies) // self.copies

    def fewest(self, ratio: float) -> int:
        """Units that stay in any case when places are ranked against each other."""
        return max(1, math.ceil(self.most * (1 - max(ratio, CAP)) - 1e-9))

    def ascending(self) -> list[int]:
        """The units, the least important first."""
        return sorted(range(len(self.scores)), key=self.scores.__getitem__)


def normal(places: Mapping[str, Units]) -> dict[str, Units]:
    """The same with scores that are 1 on average in each place.

    Squared weights of layers of different sizes can't be compared as they are.
    """
    means = {n: sum(u.scores) / len(u.scores) or 1.0 for n, u in places.items()}
    return {
        name: replace(units, scores=tuple(s / means[name] for s in units.scores))
        for name, units in places.items()
    }


def plan(
    places: Mapping[str, Units], ratio: float, scope: str, round_to: int
) -> dict[str, list[int]]:
    """The units to remove from each place, where there are any.

    Args:
        places: what could be removed, by place.
        ratio: share of what was there first that is gone afterwards, 0 to 1.
        scope: "uniform" or "global".
        round_to: what the channels that stay are a multiple of, where they can.

    Example:
        >>> plan({"a": Units((3.0, 1.0, 2.0, 4.0))}, 0.5, "uniform", 1)
        {'a': [1, 2]}
    """
    if scope == "global":
        wanted = _ranked(places, ratio)
    else:
        wanted = {n: u.most * (1 - ratio) for n, u in places.items()}
    removed = {}
    for name, units in places.items():
        count = len(units.scores)
        stay = rounded(wanted[name], count, units.step(round_to))
        if drop := sorted(units.ascending()[: count - stay]):
            removed[name] = drop
    return removed


def _ranked(places: Mapping[str, Units], ratio: float) -> dict[str, float]:
    """How many units stay in each place if the least important of all go."""
    left = {name: len(units.scores) for name, units in places.items()}
    least = {name: units.fewest(ratio) for name, units in places.items()}
    every = sorted(
        (score, name, number)
        for name, units in places.items()
        for number, score in enumerate(units.scores)
    )
    stay = (1 - ratio) * sum(u.most * u.copies for u in places.values())
    to_go = sum(len(u.scores) * u.copies for u in places.values()) - stay
    for _, name, _ in every:
        copies = places[name].copies
        if to_go < copies / 2:
            break
        if left[name] > least[name]:
            left[name] -= 1
            to_go -= copies
    return {name: float(count) for name, count in left.items()}


def rounded(wanted: float, count: int, step: int) -> int:
    """The multiple of `step` nearest to `wanted`, of `count` units; never 0.

    Example:
        >>> rounded(13.0, 32, 8), rounded(1.0, 32, 8), rounded(3.0, 6, 8)
        (16, 8, 6)
    """
    if step >= count:
        return count
    return min(max(step, int(wanted / step + 0.5) * step), count)
