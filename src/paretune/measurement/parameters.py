"""Parameters: weights that the artifact stores."""

from __future__ import annotations

from collections.abc import Sequence

from paretune.core.measurement import Measurement
from paretune.core.meter import Meter, Subject
from paretune.measurement._counts import counted


class Parameters(Meter):
    """Weights stored in the artifact, counted on its own graph."""

    metrics = ("parameters",)

    def measure(
        self, subjects: Sequence[Subject], baseline: Subject
    ) -> list[tuple[Measurement, ...]]:
        return counted(subjects, "parameters")
