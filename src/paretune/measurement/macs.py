"""MACs: multiply-accumulates of one sample."""

from __future__ import annotations

from collections.abc import Sequence

from paretune.core.measurement import Measurement
from paretune.core.meter import Meter, Subject
from paretune.measurement._counts import counted


class Macs(Meter):
    """Multiply-accumulates of one sample, counted on the artifact (1 MAC = 2 FLOPs)."""

    metrics = ("macs",)

    def measure(
        self, subjects: Sequence[Subject], baseline: Subject
    ) -> list[tuple[Measurement, ...]]:
        return counted(subjects, "macs")
