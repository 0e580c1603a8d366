"""How long it takes to measure one candidate of about 1 ms."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench._results import Results
from bench.truth._models import ONNX, convolutions, subject
from paretune.measurement.latency import Latency

GOALS = {"screening": 3.0, "full": 15.0}


def run(results: Results, quick: bool) -> None:
    """The median of several candidates, each beside the baseline, one at a time."""
    with tempfile.TemporaryDirectory() as name:
        shape = (64, 8, 8)
        base, other = (
            subject(Path(name), f"model{n}", convolutions(64, n), shape, ONNX)
            for n in (40, 36)
        )
        for protocol, goal in GOALS.items():
            spent = []
            for _ in range(1 if quick else 7):
                begin = time.monotonic()
                ((timed, *_),) = Latency(protocol).measure([other], base)
                spent.append(time.monotonic() - begin)
            spent.sort()
            middle = spent[len(spent) // 2]
            results.figure(
                f"measuring a candidate of {timed.value * 1e3:.2f} ms, {protocol}",
                middle,
                f"<= {goal:g}",
                middle <= goal,
                "s",
                spent[0],
                spent[-1],
            )
