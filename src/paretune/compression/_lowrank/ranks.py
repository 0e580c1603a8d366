"""Which layers are taken apart, and at which rank."""

from __future__ import annotations

from collections.abc import Mapping

from paretune.compression._lowrank.factors import Factors, Rank

HALVINGS = 24


def by_energy(layers: Mapping[str, Factors], energy: float) -> dict[str, Rank]:
    """The rank at which each layer keeps that share of its energy, where that saves.

    Args:
        layers: what could take the place of each.
        energy: share of the sum of squares that is kept, 0 to 1.

    Returns:
        Ranks by layer; layers that would get no smaller are left out.
    """
    found = {}
    for name, factors in layers.items():
        rank = factors.rank(1.0 - energy)
        if factors.cost(rank) < factors.parameters:
            found[name] = rank
    return found


def by_size(layers: Mapping[str, Factors], share: float) -> dict[str, Rank]:
    """The ranks at which all layers together have at most that share of their weights.

    Each keeps the same share of its energy, the largest that there is room for.

    Args:
        layers: what could take the place of each.
        share: of the weights of these layers, 0 to 1.

    Returns:
        Ranks by layer; the smallest that there are where not even they have room.
    """
    room = share * sum(f.parameters for f in layers.values())

    def size(ranks: Mapping[str, Rank]) -> int:
        return sum(
            f.cost(ranks[name]) if name in ranks else f.parameters
            for name, f in layers.items()
        )

    low, high = 0.0, 1.0  # energy: `low` has room as far as anything has
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if size(by_energy(layers, middle)) <= room:
            low = middle
        else:
            high = middle
    return by_energy(layers, low)
