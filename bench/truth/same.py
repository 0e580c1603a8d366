"""The same artifact against itself: how often is it called different?"""

from __future__ import annotations

import contextlib
import math
import tempfile
from pathlib import Path

import numpy as np

from bench._results import Results
from bench.truth._models import ONNX, convolutions, subject
from bench.truth._neighbour import neighbour
from bench.truth._verdict import noted, one
from paretune.measurement.latency import Latency

PAIRS = 60


def run(results: Results, quick: bool) -> None:
    """Half of the pairs beside a neighbour that works in bursts on another core.

    The noise floor is taken as a study takes it: once, at the beginning of each half.
    """
    pairs = 2 if quick else PAIRS
    wrong, excluded, quiet = 0, 0, []
    with tempfile.TemporaryDirectory() as name:
        model = subject(Path(name), "model", convolutions(64, 14), (64, 8, 8), ONNX)
        for busy in (False, True):
            with neighbour() if busy else contextlib.nullcontext():
                floor = one(Latency("full"), model, model).floor
                for number in range(pairs // 2):
                    timed = one(Latency("full"), model, model)
                    assert timed.ratio is not None
                    ratio, interval = timed.ratio
                    what = "A/A beside a neighbour" if busy else "A/A"
                    wrong += noted(results, what, number, timed, floor) != 0
                    excluded += not interval.low <= 1.0 <= interval.high
                    if not busy:
                        quiet.append(abs(ratio - 1))
    results.figure(
        f"A/A, {pairs} pairs, half beside a bursty neighbour: called different",
        wrong,
        "<= 1",
        wrong <= 1,
    )
    results.figure(
        f"A/A, {pairs} pairs: the 95 % interval alone excludes no difference",
        excluded / pairs,
        "<= 0.08",
        excluded / pairs <= 0.08,
    )
    for share, goal in ((50, 0.005), (95, 0.02)):
        value = float(np.percentile(quiet, share))
        results.figure(
            f"A/A, quiet half: |ratio - 1|, p{share}",
            value,
            f"<= {goal:g}",
            value <= goal and math.isfinite(value),
        )
