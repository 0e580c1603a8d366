"""Offline throughput: samples a second when they come in full batches."""

from __future__ import annotations

from collections.abc import Sequence

from paretune.core.measurement import Measurement
from paretune.core.meter import Meter, Subject
from paretune.measurement._protocol import flags_of, protocol_of
from paretune.measurement._timing import Figures, Timing, compare_subjects


class Throughput(Meter):
    """batch / mean seconds of a call, so that slow calls count with all their time.

    Args:
        protocol: "screening" (2 launches) or "full" (6 launches).
    """

    metrics = ("throughput",)
    alone = True

    def __init__(self, protocol: str = "screening") -> None:
        self.protocol = protocol_of(protocol)

    def measure(
        self, subjects: Sequence[Subject], baseline: Subject
    ) -> list[tuple[Measurement, ...]]:
        timings = compare_subjects(subjects, baseline, self.protocol)
        pairs = zip(subjects, timings, strict=True)
        return [(self._measurement(s, t, baseline),) for s, t in pairs]

    def _measurement(
        self, subject: Subject, timing: Timing, baseline: Subject
    ) -> Measurement:
        batch, base = subject.target.batch, baseline.target.batch
        ours = [_rate(pair.arm, batch) for pair in timing.launches]
        theirs = [_rate(pair.baseline, base) for pair in timing.launches]
        return Measurement(
            "throughput",
            "1/s",
            "higher",
            tuple(ours),
            "launches",
            tuple(a / b for a, b in zip(ours, theirs, strict=True)),
            flags=flags_of(self.protocol, subject.target, timing.settled),
            detail={"calls": timing.calls, "batch": batch},
        )


def _rate(figures: Figures, batch: int) -> float:
    return batch / max(figures.mean, 1e-9)
