"""Of the trials that reach a rung, the third that promises most goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from paretune.automation.schedulers._halving import ladder, promoted
from paretune.core.strategy import History, Scheduler


@dataclass(frozen=True)
class SuccessiveHalving(Scheduler):
    """Asynchronous: a trial goes on as soon as a place at its rung is free.

    A trial promises what it may add to the hypervolume: by its quality at the rung, and
    the footprint of its structure, which is known before training.

    Attributes:
        eta: of so many trials at a rung, one goes on.

    Example:
        >>> SuccessiveHalving(epochs=6).rungs(0)
        (0.1111111111111111, 0.3333333333333333, 1.0)
        >>> SuccessiveHalving(epochs=2).rungs(0)
        (1.0,)
    """

    source: ClassVar[str] = (
        "Li et al. 2020, arXiv:1810.05934; several objectives: Schmucker et al. 2021, "
        "arXiv:2106.12639"
    )

    eta: int = 3

    def rungs(self, number: int) -> tuple[float, ...]:
        return ladder(self.epochs, self.eta)

    def promote(self, history: History) -> int | None:
        return promoted(history, self.rungs, self.eta, self.curves)
