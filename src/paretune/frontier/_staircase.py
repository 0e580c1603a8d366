"""The best that costs no more, for a million points at once, by steps of a stair.

A table over bins of the costs stands in for all points. What it says holds for
certain; points in one bin aren't told apart.
"""

from __future__ import annotations

import numpy as np

STEPS = 512  # bins of each cost


def best_below(costs: np.ndarray, heights: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The greatest height of any point that costs less on every axis.

    Of those that are bins apart, so that it may be less than the true one.

    Args:
        costs: of the points, shape (axes, points).
        heights: of them, shape (points,).
        at: costs to stay below, shape (axes, asked).

    Returns:
        Shape (asked,); minus infinity where there is none.

    Example:
        >>> best_below(np.array([[1.0, 2.0]]), np.array([5.0, 9.0]), np.array([[2.0]]))
        array([5.])
    """
    edges = [_edges(c) for c in costs]
    table = np.full([len(e) + 1 for e in edges], -np.inf)
    np.maximum.at(table, _bins(edges, costs), heights)
    for axis in range(len(edges)):
        table = np.maximum.accumulate(table, axis=axis)
    below = np.stack(_bins(edges, at)) - 1
    found = table[tuple(np.maximum(below, 0))]
    return np.where((below >= 0).all(axis=0), found, -np.inf)


def least_above(costs: np.ndarray, heights: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The least height of any point that costs as much or more on every axis.

    Points of the same bins count too, so that it may be less than the true one.

    Args:
        costs: of the points, shape (axes, points).
        heights: of them, shape (points,).
        at: costs to reach, shape (axes, asked).

    Returns:
        Shape (asked,); infinity where there is none.

    Example:
        >>> least_above(np.array([[1.0, 2.0]]), np.array([5.0, 9.0]), np.array([[2.0]]))
        array([9.])
    """
    edges = [_edges(c) for c in costs]
    table = np.full([len(e) + 1 for e in edges], np.inf)
    np.minimum.at(table, _bins(edges, costs), heights)
    for axis in range(len(edges)):
        table = np.flip(np.minimum.accumulate(np.flip(table, axis), axis=axis), axis)
    return np.asarray(table[_bins(edges, at)])


def _edges(values: np.ndarray) -> np.ndarray:
    """Where bins begin: so that each has about as many of the points."""
    some = np.unique(values[:: max(1, len(values) // (40 * STEPS))])
    return some[:: max(1, len(some) // STEPS)]


def _bins(edges: list[np.ndarray], costs: np.ndarray) -> tuple[np.ndarray, ...]:
    pairs = zip(edges, costs, strict=True)
    return tuple(np.searchsorted(e, c, side="right") for e, c in pairs)
