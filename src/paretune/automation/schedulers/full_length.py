"""Every trial trains to its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from paretune.core.strategy import History, Scheduler


@dataclass(frozen=True)
class FullLength(Scheduler):
    """One rung, the end.

    Example:
        >>> FullLength(epochs=9).rungs(3)
        (1.0,)
    """

    source: ClassVar[str] = ""

    def rungs(self, number: int) -> tuple[float, ...]:
        return (1.0,)

    def promote(self, history: History) -> int | None:
        return None
