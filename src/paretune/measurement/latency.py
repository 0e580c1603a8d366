"""Single-stream latency and offline throughput, from the same blocking calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from paretune.core.budget import FOOTPRINT
from paretune.core.measurement import Measurement
from paretune.core.meter import Meter, Subject
from paretune.measurement._protocol import FULL, flags_of, protocol_of
from paretune.measurement._timing import Figures, Timing, compare_subjects

# Calls over all launches, without which a percentile has no upper bound at 99 %
# confidence.
ENOUGH = {"latency_p90": 64, "latency_p99": 662}


class Latency(Meter):
    """Median and tail of the time of one call, and samples a second.

    A call goes from arrays to arrays, copies included. Garbage is not collected
    meanwhile. Throughput is batch / mean seconds of a call, so that slow calls count
    with all their time. Each figure has its ratio to the baseline from the same
    rounds. A percentile that there are too few calls for is left out: of p99 in a
    screening, and of slow models unless `tail` is asked for.

    Args:
        protocol: "screening" (2 launches) or "full" (6 launches or more).
        tail: make ten calls a block however long they take, so that a full run has
            enough for p99.
        noise: what an artifact differs from itself by on this host; to know a ratio
            better than half of it is of no use.
    """

    metrics = ("latency_p50", "latency_p90", "latency_p99", "throughput")
    alone = True

    def __init__(
        self, protocol: str = "screening", tail: bool = False, noise: float = 0.0
    ) -> None:
        base = protocol_of(protocol)
        self.protocol = replace(
            base,
            precision=max(base.precision, noise / 2),
            long_s=math.inf if tail else base.long_s,
        )

    def measure(
        self, subjects: Sequence[Subject], baseline: Subject
    ) -> list[tuple[Measurement, ...]]:
        timings = compare_subjects(subjects, baseline, self.protocol)
        return [
            _measurements(
                t,
                (subject.target.batch, baseline.target.batch),
                flags_of(self.protocol, baseline.target, t.settled),
            )
            for subject, t in zip(subjects, timings, strict=True)
        ]

    def noise_floor(self, baseline: Subject) -> float:
        """What a latency difference must exceed on this host, by an A/A run, now.

        Times the baseline against itself at the full protocol, whatever the meter's.

        Returns:
            see `Measurement.floor`.
        """
        ((own, *_),) = Latency(FULL.name).measure([baseline], baseline)
        return own.floor


def _measurements(
    timing: Timing, batches: tuple[int, int], flags: tuple[str, ...]
) -> tuple[Measurement, ...]:
    detail = {
        "calls": timing.calls,
        "baseline_s": [pair.baseline.median for pair in timing.launches],
        "first_call_s": [pair.first_call_s for pair in timing.launches],
    }
    made = []
    for metric in Latency.metrics:
        if timing.paired_calls < ENOUGH.get(metric, 0):
            continue
        arms = tuple(_figure(p.arm, metric, batches[0]) for p in timing.launches)
        bases = tuple(_figure(p.baseline, metric, batches[1]) for p in timing.launches)
        ratios = tuple(a / b for a, b in zip(arms, bases, strict=True))
        unit, better, _ = FOOTPRINT[metric]
        made.append(
            Measurement(
                metric,
                unit,
                better,
                arms,
                "launches",
                timing.ratios if metric == "latency_p50" else ratios,
                flags=flags,
                detail=detail,
            )
        )
    return tuple(made)


def _figure(figures: Figures, metric: str, batch: int) -> float:
    match metric:
        case "latency_p50":
            return max(figures.median, 1e-9)
        case "latency_p90":
            return max(figures.p90, 1e-9)
        case "latency_p99":
            return max(figures.p99, 1e-9)
        case _:
            return batch / max(figures.mean, 1e-9)
