"""Which of the trials are worth having: dominance that takes noise for noise.

y dominates x if y is better than x, or can't be told from it, on every axis, and is
certainly better on one. On quality, not to be told apart is not enough, since too few
samples would make everything equal: y must be shown to be no worse by 1 % of the
baseline or more. "Can't be told apart" is not transitive, so dominance is judged for
each pair by itself and never chained.
"""

from __future__ import annotations

from paretune.frontier._compare import INFERIOR, compare, dominates
from paretune.frontier._figures import COST_MARGIN, QUALITY_DROP, RESAMPLES, reference
from paretune.frontier._frontier import SOLID, Frontier
from paretune.frontier._live import Live
from paretune.frontier._members import frontier
from paretune.frontier._quality import difference, differences, intervals, paired
from paretune.frontier._records import layout, record, right
from paretune.frontier._selected import of_members, selected

__all__ = [
    "COST_MARGIN",
    "INFERIOR",
    "QUALITY_DROP",
    "RESAMPLES",
    "SOLID",
    "Frontier",
    "Live",
    "compare",
    "difference",
    "differences",
    "dominates",
    "frontier",
    "intervals",
    "layout",
    "of_members",
    "paired",
    "record",
    "reference",
    "right",
    "selected",
]
