"""A graph with a known share of work more: is the difference found?"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench._results import Results
from bench.truth._models import ONNX, convolutions, subject
from bench.truth._verdict import noted
from paretune.measurement.latency import Latency

TIMES = 30
LAYERS = 20
# Of about 0.5 ms and of about 20 ms a call: channels, height and width.
SIZES = {"0.5 ms": (64, 8), "20 ms": (112, 32)}


def run(results: Results, quick: bool) -> None:
    """20 convolutions of equal work against 21 (5 % more) and 22 (10 % more)."""
    times = 1 if quick else TIMES
    sizes = dict([*SIZES.items()][:1]) if quick else SIZES
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        for said, (width, side) in sizes.items():
            shape = (width, side, side)
            base, *more = [
                subject(Path(name), f"{said}-{n}", convolutions(width, n), shape, ONNX)
                for n in (LAYERS, LAYERS + 1, LAYERS + 2)
            ]
            ((own, *_),) = Latency("full").measure([base], base)
            floor, found = own.floor, {5: 0, 10: 0}
            for number in range(times):
                taken = Latency("full").measure(more, base)
                for (timed, *_), share in zip(taken, found, strict=True):
                    what = f"{share} % more work, {said}"
                    verdict = noted(results, what, number, timed, floor)
                    found[share] += verdict < 0
                    wrong += verdict > 0
            for share, count in found.items():
                results.figure(
                    f"{share} % more work, {own.value * 1e3:.2f} ms: found of {times}",
                    count / times,
                    ">= 0.95",
                    count / times >= 0.95,
                )
    results.figure("more work called faster", wrong, "== 0", wrong == 0)
