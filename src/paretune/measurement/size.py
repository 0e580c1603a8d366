"""Size: bytes of the deployable file on disk."""

from __future__ import annotations

from collections.abc import Sequence

from paretune.core.measurement import Measurement
from paretune.core.meter import Meter, Subject


class Size(Meter):
    """Bytes on disk, exact."""

    metrics = ("size",)

    def measure(
        self, subjects: Sequence[Subject], baseline: Subject
    ) -> list[tuple[Measurement, ...]]:
        return [
            (Measurement("size", "byte", "lower", (float(s.artifact.size),), "exact"),)
            for s in subjects
        ]
