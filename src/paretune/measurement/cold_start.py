"""Cold start: from an artifact on disk to its first answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.meter import Meter, Subject
from paretune.measurement._protocol import flags_of, protocol_of


class ColdStart(Meter):
    """Seconds to load the artifact and answer once, in a process of its own.

    The interpreter and the runtime are imported before, and the file is in the
    system's cache: what is left is what the artifact costs.

    Args:
        protocol: "screening" (2 launches) or "full" (6 launches).
    """

    metrics = ("cold_start",)
    alone = True

    def __init__(self, protocol: str = "screening") -> None:
        self.protocol = protocol_of(protocol)

    def measure(
        self, subjects: Sequence[Subject], baseline: Subject
    ) -> list[tuple[Measurement, ...]]:
        rng = np.random.default_rng()
        everyone = [baseline, *subjects]
        seconds: list[list[float]] = [[] for _ in everyone]
        for _ in range(self.protocol.launches):
            for i in rng.permutation(len(everyone)):
                seconds[i].append(_cold(everyone[i]))
        base, *rest = seconds
        return [
            (
                Measurement(
                    "cold_start",
                    "s",
                    "lower",
                    tuple(own),
                    "launches",
                    tuple(a / b for a, b in zip(own, base, strict=True)),
                    flags=flags_of(self.protocol, baseline.target),
                ),
            )
            for own in rest
        ]


def _cold(subject: Subject) -> float:
    launch = subject.launch(False)
    try:
        return max(launch.load_s + launch.first_call_s, 1e-9)
    finally:
        launch.close()
