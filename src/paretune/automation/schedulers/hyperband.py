"""Successive halving from several lowest rungs at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from paretune.automation.schedulers._halving import ladder, promoted
from paretune.core.strategy import History, Scheduler

_GOLDEN = (5**0.5 - 1) / 2  # its multiples are spread evenly over [0, 1)


@dataclass(frozen=True)
class Hyperband(Scheduler):
    """Some trials begin at a higher rung, in case the lowest tells little.

    A bracket is a ladder without its lowest rungs; trials are compared within theirs.
    The longer a ladder, the more trials climb it, so that each bracket costs about as
    much.

    Attributes:
        eta: of so many trials at a rung, one goes on.

    Example:
        >>> band = Hyperband(epochs=6)
        >>> sorted({len(band.rungs(n)) for n in range(20)})
        [1, 2, 3]
    """

    source: ClassVar[str] = "Li et al. 2018, arXiv:1603.06560"

    eta: int = 3

    def rungs(self, number: int) -> tuple[float, ...]:
        whole = ladder(self.epochs, self.eta)
        levels = len(whole)
        sizes = [self.eta**n * levels / (n + 1) for n in range(levels)]
        place = (number * _GOLDEN) % 1 * sum(sizes)
        height = next(n for n, end in enumerate(accumulate(sizes)) if place < end)
        return whole[levels - 1 - height :]

    def promote(self, history: History) -> int | None:
        return promoted(history, self.rungs, self.eta, self.curves)
