"""Quality of models that are in no store, and how two of them differ."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from paretune.core.candidate import Artifact, Candidate
from paretune.core.errors import MeasurementError
from paretune.core.measurement import Measurement
from paretune.core.meter import Launch, Subject
from paretune.core.statistics import bca, paired_difference
from paretune.core.target import Runtime, Session, Target
from paretune.core.task import Task, as_arrays, pick
from paretune.measurement.quality import Quality

LEAST_RESAMPLES = 40  # for 95 % of them to mean something

Figures = Mapping[str, Measurement]


class First(Task):
    """A task whose validation split ends after so many samples."""

    def __init__(self, task: Task, count: int) -> None:
        self._task, self._count = task, count
        self.name, self.metrics = task.name, task.metrics

    def model(self) -> Any:
        return self._task.model()

    def batches(self, split: str) -> Iterable[tuple[Any, Any]]:
        left = self._count
        for inputs, targets in self._task.batches(split):
            size = len(next(iter(as_arrays(inputs, "input").values())))
            if size > left:
                inputs, targets = pick(inputs, slice(left)), pick(targets, slice(left))
            yield inputs, targets
            left -= size
            if left <= 0:
                return

    def loss(self, outputs: Any, targets: Any) -> Any:
        return self._task.loss(outputs, targets)

    def quality(self, outputs: Any, targets: Any) -> Mapping[str, Any]:
        return self._task.quality(outputs, targets)


@dataclass(frozen=True)
class Judge:
    """Takes the quality of models on the validation split.

    Args:
        runtime: that graphs run in.
        target: threads and the like.
        task: the data and the metric.
    """

    runtime: Runtime
    target: Target
    task: Task

    def on_first(self, count: int) -> Judge:
        """The same on the first samples only."""
        return replace(self, task=First(self.task, count))

    def candidate(self, candidate: Candidate) -> Figures:
        """Quality of a candidate: a torch one in PyTorch, others in the runtime."""
        if candidate.format == "torch":
            from paretune.infrastructure.runtimes.torch_eager import TorchEager

            model = candidate.model
            return self._taken(lambda: TorchEager().session(model, self.target.threads))
        return self.graph(candidate.model)

    def graph(self, model: Any) -> Figures:
        """Quality of an ONNX graph in the runtime."""
        content = model.SerializeToString()
        with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            artifact = Artifact(path, self.runtime.format, digest, len(content))
            return self.file(artifact)

    def file(self, artifact: Artifact) -> Figures:
        """Quality of a file in the runtime."""
        return self._taken(lambda: self.runtime.load(artifact, self.target))

    def _taken(self, load: Callable[[], Session]) -> Figures:
        nowhere = Artifact(Path(), self.runtime.format, "", 0)
        subject = Subject(nowhere, self.target, self.task, load, _no_launch)
        (taken,) = Quality("validation").measure([subject], subject)
        return {m.metric: m for m in taken}


def _no_launch(empty: bool) -> Launch:
    raise MeasurementError("launch", "a model that is in no store is not timed.")


def differences(after: Figures, before: Figures) -> dict[str, dict[str, float]]:
    """How each metric differs, {"value", "low", "high", "verdict"} with 95 %.

    `verdict` is 1 for certainly better, -1 for certainly worse, else 0. A metric that
    was not judged on the same samples is left out.
    """
    pairs = {k: (after[k], before[k]) for k in after if k in before}
    return {k: found for k, (a, b) in pairs.items() if (found := _difference(a, b))}


def _difference(a: Measurement, b: Measurement) -> dict[str, float]:
    if a.kind != b.kind or len(a.values) != len(b.values):
        return {}
    if a.kind == "samples":
        found = paired_difference(np.asarray(a.values), np.asarray(b.values))
        value, low, high = found.value, found.low, found.high
    elif len(a.values) > LEAST_RESAMPLES:
        apart = np.asarray(a.values) - np.asarray(b.values)
        value = float(apart[0])
        low, high = bca(value, apart[1:])
    else:
        return {}
    above = int(low > 0) - int(high < 0)
    verdict = above if a.better == "higher" else -above
    return {"value": value, "low": low, "high": high, "verdict": verdict}


def is_share(m: Measurement) -> bool:
    """Whether a figure of quality reads best per cent."""
    return m.better == "higher" and 0 <= m.value <= 1 and m.kind == "samples"


def first_inputs(task: Task, count: int) -> dict[str, np.ndarray]:
    """The inputs of the first validation samples that can be in one batch."""
    inputs, _ = next(iter(task.batches("validation")))
    return {k: v[:count] for k, v in as_arrays(inputs, "input").items()}


def targets(task: Task) -> dict[str, np.ndarray]:
    """The validation targets, all samples together."""
    given = [as_arrays(t, "target") for _, t in task.batches("validation")]
    return {name: np.concatenate([each[name] for each in given]) for name in given[0]}
