"""How much each layer loses, by what its units cost and what they are worth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from paretune.infrastructure.formats._units import Axis, Units

# How much dearer than the block that should go next others may be that fit better.
SLACK = 2.0


@dataclass(frozen=True)
class Cost:
    """A part of what a call costs, in MACs or seconds.

    Attributes:
        value: of the model as it is.
        axes: it is proportional to how much is left of each of them.
    """

    value: float
    axes: tuple[Axis, ...] = ()


def allocate(
    places: Mapping[str, Units],
    costs: Sequence[Cost],
    stay: float,
    ratio: float,
    round_to: Mapping[str, int],
) -> tuple[dict[str, list[int]], float]:
    """The units to remove from each place, so that a share of the cost stays.

    Block by block, those go that cost most for what they are worth. What a block costs
    changes while the layers before and after it get narrower. It is worth its share of
    the scores that are left in its place: scores of layers of different kinds and sizes
    can't be compared as they are, and a layer gets dearer the less is left of it.

    Args:
        places: what could be removed, by place.
        costs: of the model as it is; their sum is the whole.
        stay: share of the whole that stays, 0 to 1.
        ratio: of the step; beyond 0.9 it lifts the limit on what one place may lose.
        round_to: what the channels that stay are a multiple of, by place.

    Returns:
        the units, and the share of the cost that stays, as near to `stay` as blocks
        come that are not much dearer than those that went.

    Example:
        >>> places = {
        ...     "a": Units((1.0, 2.0), shares={("a", "out"): 0.5, ("b", "in"): 0.5}),
        ...     "b": Units((1.0, 2.0), shares={("b", "out"): 0.5}),
        ... }
        >>> costs = [
        ...     Cost(60.0, (("a", "out"),)), Cost(40.0, (("b", "in"), ("b", "out")))
        ... ]
        >>> allocate(places, costs, 0.5, 0.5, {"a": 1, "b": 1})
        ({'a': [0]}, 0.5)
    """
    state = _State(places, costs)
    whole = state.whole()
    if not whole:
        return {}, 1.0
    aim = stay * whole
    waiting = {
        name: _Rule(units.step(round_to[name]), units.fewest(ratio))
        for name, units in places.items()
        if units.step(round_to[name]) < len(units.scores)
    }
    ranks = state.ranks(waiting)
    dearest = math.inf
    while ranks:
        name = min(ranks, key=lambda n: (ranks[n][0], -ranks[n][1], n))
        worth, saved = ranks[name]
        now = state.whole()
        if now <= aim or worth > dearest:
            break
        if aim - (now - saved) >= now - aim:
            # Too large a block for the little that is left to save.
            dearest = min(dearest, SLACK * worth)
            del ranks[name]
            continue
        state.take(name, waiting[name].block(state.left(name)))
        touched = state.touched(name) & ranks.keys()
        ranks = {n: r for n, r in ranks.items() if n not in touched} | state.ranks(
            {other: waiting[other] for other in touched}
        )
    return state.gone(), state.whole() / whole


@dataclass(frozen=True)
class _Rule:
    step: int
    fewest: int

    def block(self, left: int) -> int:
        """Units that go next; 0 if none may."""
        size = left % self.step or self.step
        return size if left - size >= max(self.fewest, self.step) else 0


class _State:
    def __init__(self, places: Mapping[str, Units], costs: Sequence[Cost]) -> None:
        self._places, self._costs = places, costs
        self._order = {name: units.ascending() for name, units in places.items()}
        self._sums = {
            name: list(
                accumulate((u.scores[i] for i in self._order[name]), initial=0.0)
            )
            for name, u in places.items()
        }
        self._taken = dict.fromkeys(places, 0)
        self._level: dict[Axis, float] = {}
        on: dict[Axis, list[int]] = {}
        for number, cost in enumerate(costs):
            for axis in cost.axes:
                on.setdefault(axis, []).append(number)
        self._of = {
            name: sorted({c for axis in units.shares for c in on.get(axis, ())})
            for name, units in places.items()
        }
        self._values = [cost.value for cost in costs]

    def whole(self) -> float:
        return math.fsum(self._values)

    def left(self, name: str) -> int:
        return len(self._order[name]) - self._taken[name]

    def gone(self) -> dict[str, list[int]]:
        taken = {n: sorted(self._order[n][:count]) for n, count in self._taken.items()}
        return {name: units for name, units in taken.items() if units}

    def touched(self, name: str) -> set[str]:
        """Places whose units cost something else when some of `name`'s go."""
        mine = set(self._of[name])
        return {other for other, own in self._of.items() if mine.intersection(own)}

    def ranks(self, rules: Mapping[str, _Rule]) -> dict[str, tuple[float, float]]:
        """By place, where a block can go: its worth by what it saves, and that."""
        found = {name: self._rank(name, rule) for name, rule in rules.items()}
        return {name: rank for name, rank in found.items() if rank is not None}

    def _rank(self, name: str, rule: _Rule) -> tuple[float, float] | None:
        size = rule.block(self.left(name))
        if not size:
            return None
        saved = sum(
            self._values[c] - self._after(c, name, size) for c in self._of[name]
        )
        if saved <= 0:
            return None
        return self._worth(name, size) / saved, saved

    def take(self, name: str, size: int) -> None:
        for number in self._of[name]:
            self._values[number] = self._after(number, name, size)
        for axis, share in self._places[name].shares.items():
            self._level[axis] = self._level.get(axis, 1.0) - share * size
        self._taken[name] += size

    def _after(self, number: int, name: str, size: int) -> float:
        cost, shares = self._costs[number], self._places[name].shares
        levels = (
            self._level.get(axis, 1.0) - shares.get(axis, 0.0) * size
            for axis in cost.axes
        )
        return cost.value * math.prod(max(0.0, level) for level in levels)

    def _worth(self, name: str, size: int) -> float:
        sums, done = self._sums[name], self._taken[name]
        worth = sums[done + size] - sums[done]
        rest = sums[-1] - sums[done]
        return worth / rest if rest > 0 else 0.0


def total(costs: Iterable[Cost]) -> float:
    """The whole that costs add up to."""
    return math.fsum(cost.value for cost in costs)
