"""Single-stream latency: the time of one blocking call, arrays to arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

from paretune.core.errors import MeasurementError
from paretune.core.measurement import Measurement
from paretune.core.meter import Meter, Subject
from paretune.measurement._protocol import FULL, flags_of, protocol_of
from paretune.measurement._timing import Figures, Timing, compare_subjects

# Calls without which a percentile has no upper bound at 99 % confidence.
ENOUGH = {"latency_p90": 64, "latency_p99": 662}


class Latency(Meter):
    """Median and tail of the time of one call, each with its ratio to the baseline.

    A percentile that there are too few calls for is left out.

    Args:
        protocol: "screening" (2 launches) or "full" (6 launches).
    """

    metrics = ("latency_p50", "latency_p90", "latency_p99")
    alone = True

    def __init__(self, protocol: str = "screening") -> None:
        self.protocol = protocol_of(protocol)

    def measure(
        self, subjects: Sequence[Subject], baseline: Subject
    ) -> list[tuple[Measurement, ...]]:
        timings = compare_subjects(subjects, baseline, self.protocol)
        return [
            _measurements(t, flags_of(self.protocol, baseline.target, t.settled))
            for t in timings
        ]

    def noise_floor(self, baseline: Subject) -> float:
        """What a latency difference must exceed on this host, by an A/A run, now.

        Times the baseline against itself at the full protocol, whatever the meter's.

        Returns:
            see `noise`.
        """
        ((own, *_),) = Latency(FULL.name).measure([baseline], baseline)
        return noise(own)


def noise(paired: Measurement) -> float:
    """The noise floor that an A/A measurement shows.

    max(|log low|, |log high|) of the 95 % interval of the ratio of one artifact to
    itself: 0.01 says that a true 1 % may be nothing but noise.

    Raises:
        MeasurementError: it has no ratios, or only one launch.
    """
    if paired.ratio is None or len(paired.ratios) < 2:
        raise MeasurementError(
            "noise", f"{paired.metric} needs ratios from 2 launches to show its noise."
        )
    _, interval = paired.ratio
    return max(abs(math.log(interval.low)), abs(math.log(interval.high)))


def _measurements(timing: Timing, flags: tuple[str, ...]) -> tuple[Measurement, ...]:
    detail = {
        "calls": timing.calls,
        "baseline_s": [pair.baseline.median for pair in timing.launches],
        "first_call_s": [pair.first_call_s for pair in timing.launches],
    }
    made = []
    for metric in Latency.metrics:
        if timing.calls < ENOUGH.get(metric, 0):
            continue
        arms = tuple(_percentile(pair.arm, metric) for pair in timing.launches)
        bases = tuple(_percentile(pair.baseline, metric) for pair in timing.launches)
        ratios = tuple(a / b for a, b in zip(arms, bases, strict=True))
        made.append(
            Measurement(
                metric,
                "s",
                "lower",
                arms,
                "launches",
                timing.ratios if metric == "latency_p50" else ratios,
                flags=flags,
                detail=detail,
            )
        )
    return tuple(made)


def _percentile(figures: Figures, metric: str) -> float:
    seconds = {
        "latency_p50": figures.median,
        "latency_p90": figures.p90,
        "latency_p99": figures.p99,
    }
    return max(seconds[metric], 1e-9)
