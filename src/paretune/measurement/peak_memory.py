"""Peak memory: what serving the artifact adds to an empty session of its runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.meter import Meter, Subject

LAUNCHES = 3
CALLS = 16  # all of the fixed inputs, for buffers that grow with what they see
PAGE = 4096  # less than a page is not resolved, and a frontier takes logarithms


class PeakMemory(Meter):
    """Largest resident bytes of a process that loads and runs, above an empty session.

    The empty one has the runtime in it, a session that does nothing, and the same
    inputs. All are read from the kernel's own high-water mark, so nothing between
    samples is missed. `detail` tells loading from serving ("serving": the high-water
    mark of the calls alone, above the empty session, where the kernel can begin it
    anew): a runtime may hold weights twice while it loads.
    """

    metrics = ("peak_memory",)

    def measure(
        self, subjects: Sequence[Subject], baseline: Subject
    ) -> list[tuple[Measurement, ...]]:
        if not subjects:
            return []
        empty = float(np.median([_peaks(baseline, True)[0] for _ in range(LAUNCHES)]))
        return [(_measurement(subject, empty),) for subject in subjects]


def _measurement(subject: Subject, empty: float) -> Measurement:
    peaks = [_peaks(subject, False) for _ in range(LAUNCHES)]
    return Measurement(
        "peak_memory",
        "byte",
        "lower",
        tuple(_above(total, empty) for total, _ in peaks),
        "peak",
        detail={
            "total": [total for total, _ in peaks],
            "empty": empty,
            "serving": _above(max(serving for _, serving in peaks), empty),
        },
    )


def _above(total: float, empty: float) -> float:
    return max(float(PAGE), total - empty)


def _peaks(subject: Subject, empty: bool) -> tuple[int, int]:
    """(of the whole process, of its calls once all is loaded), in bytes."""
    launch = subject.launch(empty)
    try:
        loading = launch.peak_memory(reset=True)
        if not empty:
            launch.block(CALLS)
        serving = launch.peak_memory()
        return max(loading, serving), serving
    finally:
        launch.close()
