"""Targets of a batch in which two samples each were blended into one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mixed:
    """Targets that count in shares: those of the batch, and those of its partners.

    Attributes:
        first: targets of the batch, as the task gives them.
        second: of the samples that were blended in, likewise.
        share: of the first in the blend, 0 to 1.
    """

    first: Any
    second: Any
    share: float


def unmixed(targets: Any) -> Any:
    """The targets as the task knows them: of a blend, those of its first part.

    For what looks at the type and shape of targets and not at their values.

    Example:
        >>> unmixed(Mixed([1, 2], [2, 1], 0.3)), unmixed([1, 2])
        ([1, 2], [1, 2])
    """
    return targets.first if isinstance(targets, Mixed) else targets
