"""Resident bytes for each byte of weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench._results import Results
from bench.truth._models import NULL, ONNX, convolutions, products, sleeper, subject
from bench.truth._verdict import one
from paretune.core.measurement import Measurement
from paretune.measurement.peak_memory import PeakMemory

SIZES = (10, 50, 200)  # MB of weights


def run(results: Results, quick: bool) -> None:
    """The slope of a line through models of 10, 50 and 200 MB of weights.

    Convolutions tell loading from serving: ONNX Runtime brings their weights into
    another layout and holds both until all are done.
    """
    sizes = SIZES[:2] if quick else SIZES
    convs, prods = ({mb: _layers(mb, n) for mb in sizes} for n in (9 * 2**16, 2**18))
    kinds: dict[str, tuple[Callable[[int], bytes], tuple[int, ...]]] = {
        "matrix products": (lambda mb: products(512, prods[mb]), (512,)),
        "convolutions": (lambda mb: convolutions(256, convs[mb]), (256, 8, 8)),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, (content, shape) in kinds.items():
            subjects = [
                subject(folder, f"{kind}{mb}", content(mb), shape, ONNX) for mb in sizes
            ]
            weights = [s.artifact.size for s in subjects]
            taken = [one(PeakMemory(), s, s) for s in subjects]
            _slope(results, f"{kind}: peak", weights, [m.value for m in taken])
            serving = [float(m.detail["serving"]) for m in taken]
            _slope(results, f"{kind}: once it serves", weights, serving)
            _rows(results, kind, weights, taken)
        for mib in (64, 256) if quick else (64, 256, 1024):
            touched = mib * 2**20
            model = subject(folder, f"{mib}", sleeper(0.0, touched), (8,), NULL)
            error = abs(one(PeakMemory(), model, model).value / touched - 1)
            results.figure(
                f"error of the peak of a runtime that touches {mib} MiB",
                error,
                "<= 0.02",
                error <= 0.02,
            )


def _layers(mb: int, weights: int) -> int:
    return max(1, round(mb * 1e6 / (4 * weights)))


def _slope(results: Results, what: str, sizes: list[int], peaks: list[float]) -> None:
    slope = float(np.polyfit(sizes, peaks, 1)[0])
    results.figure(
        f"{what}: resident bytes a byte of weights",
        slope,
        "1.0 +- 0.1",
        abs(slope - 1) <= 0.1,
    )


def _rows(
    results: Results, kind: str, weights: list[int], taken: list[Measurement]
) -> None:
    for size, m in zip(weights, taken, strict=True):
        results.row(what=kind, weights=size, peak=m.value, **m.detail)
