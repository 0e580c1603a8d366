"""The null runtime takes a known time: is that what is measured?"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench._results import Results
from bench.truth._models import NULL, sleeper, subject
from bench.truth._verdict import one
from paretune.measurement.latency import Latency

SECONDS = (0.001, 0.003, 0.010)


def run(results: Results, quick: bool) -> None:
    """The median latency by the full protocol."""
    with tempfile.TemporaryDirectory() as name:
        for seconds in SECONDS[:1] if quick else SECONDS:
            content = sleeper(seconds)
            model = subject(Path(name), f"{seconds}", content, (8,), NULL)
            timed = one(Latency("full"), model, model)
            error = abs(timed.value / seconds - 1)
            results.figure(
                f"error of the median, {seconds * 1e3:g} ms injected",
                error,
                "<= 0.03",
                error <= 0.03,
            )
