"""When a search ends."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """When a search ends: whichever comes first.

    Attributes:
        seconds: of wall time over the whole study, earlier searches included.
        trials: finished ones, the baseline not counted.
        quick: only the screening protocol is used.

    Example:
        >>> Limits(seconds=600).beyond(Limits(seconds=300))
        True
        >>> Limits(seconds=300).beyond(Limits(seconds=300))
        False
    """

    seconds: float | None = None
    trials: int | None = None
    quick: bool = False

    def beyond(self, other: Limits) -> bool:
        """Whether a search that ended by the other's limits has more to do by these."""
        mine, theirs = ((n.seconds, n.trials) for n in (self, other))
        pairs = zip(mine, theirs, strict=True)
        more = any((a or math.inf) > (b or math.inf) for a, b in pairs)
        return more or (other.quick and not self.quick)
