"""Two artifacts side by side, whichever runtimes serve them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paretune import catalog
from paretune.core.errors import TaskError
from paretune.core.measurement import Measurement
from paretune.core.meter import Subject
from paretune.core.quiet import Quiet
from paretune.core.task import Held, Task
from paretune.measurement.cold_start import ColdStart
from paretune.measurement.latency import Latency
from paretune.measurement.quality import Quality

SAMPLES = 256
FREE = 64  # of an axis of no fixed size, other than the batch

Figures = dict[str, Measurement]

# Meters that look at the file alone.
STATIC = ("size", "transfer_size", "parameters", "macs")


class RandomInputs(Held, Task):
    """Random samples that fit a file, for want of a task: there is no quality in them.

    Floats are standard normal; whole numbers are 0 or 1, which any table of embeddings
    has a row for.

    Args:
        signature: by input, its type and its shape; None for an axis of any size, the
            first one being the batch.
    """

    name = "random inputs"
    metrics: Mapping[str, str] = {}  # type: ignore[assignment]

    def __init__(
        self, signature: Mapping[str, tuple[str, tuple[int | None, ...]]]
    ) -> None:
        self.signature = dict(signature)

    def model(self) -> Any:
        raise TaskError("task-needed", "random inputs come with no model.")

    def loss(self, outputs: Any, targets: Any) -> Any:
        raise TaskError("task-needed", "random inputs come with no loss.")

    def quality(self, outputs: Any, targets: Any) -> Any:
        raise TaskError("task-needed", "random inputs come with no quality.")

    def split(self, name: str) -> tuple[Any, Any]:
        rng = np.random.default_rng(0)
        inputs = {
            name: _random(rng, dtype, [FREE if d is None else d for d in shape[1:]])
            for name, (dtype, shape) in self.signature.items()
        }
        return inputs, np.zeros(SAMPLES, np.int64)


def _random(rng: np.random.Generator, dtype: str, sizes: list[int]) -> np.ndarray:
    shape = (SAMPLES, *sizes)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def signature(path: Path) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """What an ONNX file takes; see `RandomInputs`.

    Raises:
        StoreError: the file is damaged.
    """
    from paretune.infrastructure.formats import onnx

    return onnx.signature(path)


def static(subject: Subject) -> Figures:
    """What the file alone tells, by metric."""
    found: Figures = {}
    for name in STATIC:
        _take(found, catalog.METERS[name]().measure([subject], subject)[0])
    return found


def side_by_side(first: Subject, second: Subject) -> tuple[Figures, Figures, float]:
    """The figures of both by the full protocol, the second's beside the first's.

    Returns:
        The first's figures, the second's with ratios to the first, and the noise floor
        of this host, now: what an A/A of the first shows.
    """
    found: tuple[Figures, Figures] = ({}, {})
    both = (first, second)
    with Quiet().working():
        for subject, into in zip(both, found, strict=True):
            into |= static(subject)
            if subject.task.metrics:
                _take(into, Quality("validation").measure([subject], subject)[0])
    with Quiet().measuring():
        timed = Latency("full").measure(both, first)
        floor = timed[0][0].floor
        started = ColdStart("full").measure(both, first)
        timed = [(*a, *b) for a, b in zip(timed, started, strict=True)]
        for subject, into, figures in zip(both, found, timed, strict=True):
            _take(into, figures)
            # each above an empty session of its own runtime
            _take(into, catalog.METERS["peak_memory"]().measure([subject], subject)[0])
    return *found, floor


def _take(into: Figures, figures: tuple[Measurement, ...]) -> None:
    into |= {m.metric: m for m in figures}
