"""Peak memory: what serving the artifact adds to an empty process of its runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.meter import Meter, Subject

LAUNCHES = 3
CALLS = 16  # all of the fixed inputs, for buffers that grow with what they see
PAGE = 4096  # less than a page is not resolved, and a frontier takes logarithms


class PeakMemory(Meter):
    """Largest resident bytes of a process that loads and runs, above an empty one.

    The empty one has imported the runtime and holds the same inputs. Both are read
    from the kernel's own high-water mark, so nothing between samples is missed.
    """

    metrics = ("peak_memory",)

    def measure(
        self, subjects: Sequence[Subject], baseline: Subject
    ) -> list[tuple[Measurement, ...]]:
        if not subjects:
            return []
        empty = float(np.median([_peak(baseline, True) for _ in range(LAUNCHES)]))
        return [(_measurement(subject, empty),) for subject in subjects]


def _measurement(subject: Subject, empty: float) -> Measurement:
    totals = [_peak(subject, False) for _ in range(LAUNCHES)]
    return Measurement(
        "peak_memory",
        "byte",
        "lower",
        tuple(max(float(PAGE), total - empty) for total in totals),
        "peak",
        detail={"total": totals, "empty": empty},
    )


def _peak(subject: Subject, empty: bool) -> int:
    launch = subject.launch(empty)
    try:
        if not empty:
            launch.block(CALLS)
        return launch.peak_memory()
    finally:
        launch.close()
