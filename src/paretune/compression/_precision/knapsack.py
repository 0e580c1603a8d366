"""One option for each of many, the least loss within a budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LARGEST = 1e4  # of the losses that are solved for: the solver's own gap is 1e-6


def solve(
    losses: Sequence[Sequence[float]], costs: Sequence[Sequence[float]], budget: float
) -> tuple[int, ...] | None:
    """The options with the least sum of losses whose costs are within the budget.

    Args:
        losses: by item and option, 0 or more, in any unit.
        costs: of the same shape.
        budget: of the sum of costs.

    Returns:
        the option of each item; None if not even the cheapest are within the budget.

    Example:
        >>> solve([[0, 1], [0, 5]], [[4, 1], [4, 1]], 5)
        (1, 0)

    Source: multiple-choice knapsack, as an integer program (Hubara et al. 2020,
    arXiv:2006.10518), solved to optimality by HiGHS.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    if not losses:
        return () if budget >= 0 else None
    sizes = [len(options) for options in losses]
    flat = np.concatenate([np.asarray(options, float) for options in losses])
    cost = np.concatenate([np.asarray(options, float) for options in costs])
    if sum(min(options) for options in costs) > budget:
        return None
    one = np.zeros((len(sizes), len(flat)))
    ends = np.cumsum(sizes)
    for row, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        one[row, end - size : end] = 1
    unit = max(float(np.abs(cost).max()), 1e-30)
    found = milp(
        flat * (LARGEST / max(float(flat.max()), 1e-30)),
        constraints=[
            LinearConstraint(one, 1, 1),
            LinearConstraint(cost[None] / unit, -np.inf, budget / unit),
        ],
        integrality=np.ones(len(flat), int),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    if found.x is None:
        return None
    return tuple(
        int(np.argmax(found.x[end - size : end]))
        for size, end in zip(sizes, ends, strict=True)
    )
