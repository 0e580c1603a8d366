"""Quality: the task's own metrics on what the deployed file answers."""

from __future__ import annotations

import hashlib
import math
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paretune.core.errors import MeasurementError, ParetuneError, TaskError, nearest
from paretune.core.measurement import Measurement
from paretune.core.meter import Meter, Subject
from paretune.core.target import Arrays, Session
from paretune.core.task import SPLITS, Task, as_arrays, like, pick

RESAMPLES = 200  # of a metric that is no mean; each asks the user's own function

Scores = dict[str, "np.ndarray | float"]


class Quality(Meter):
    """Every metric of the task, with what its interval is made from.

    A metric that gives one score per sample keeps the scores. One that gives a float
    is asked again for bootstrap resamples of the split, which are the same ones for
    every candidate, so that differences between candidates are paired.

    Args:
        split: what it is judged on: "validation" in a search, "test" to certify.
    """

    def __init__(self, split: str = "validation") -> None:
        if split not in SPLITS:
            raise MeasurementError(
                "split", f"there is no split {split!r}; {nearest(split, SPLITS)}"
            )
        self.split = split

    def measure(
        self, subjects: Sequence[Subject], baseline: Subject
    ) -> list[tuple[Measurement, ...]]:
        return [self._measure(subject) for subject in subjects]

    def _measure(self, subject: Subject) -> tuple[Measurement, ...]:
        task = subject.task
        session = subject.load()
        try:
            outputs, targets = outputs_of(session, task.batches(self.split))
        finally:
            session.close()
        digest = hashlib.sha256()
        for array in as_arrays(outputs, "output").values():
            digest.update(np.ascontiguousarray(array).tobytes())
        found = scores(task, outputs, targets)
        whole = {k: v for k, v in found.items() if isinstance(v, float)}
        values = _resampled(task, outputs, targets, whole) if whole else {}
        return tuple(
            Measurement(
                metric,
                "1",
                task.metrics[metric],
                values[metric] if metric in whole else tuple(np.ravel(score).tolist()),
                "resamples" if metric in whole else "samples",
                split=self.split,
                detail={"outputs_sha256": digest.hexdigest()},
            )
            for metric, score in found.items()
        )


def outputs_of(session: Session, batches: Iterable[tuple[Any, Any]]) -> tuple[Any, Any]:
    """(outputs, targets) of all samples, put together.

    Args:
        session: what answers.
        batches: (inputs, targets) as `Task.batches` gives them.

    Returns:
        outputs: an array, a tuple or a dict of arrays, as the task's model gives them.
        targets: likewise, as the task gives them.

    Raises:
        TaskError: there is no sample, or shapes differ between batches.
    """
    answers: list[Arrays] = []
    truths: list[Arrays] = []
    structure: Any = None
    for inputs, structure in batches:
        answers.append(session(as_arrays(inputs, "input")))
        truths.append(as_arrays(structure, "target"))
    if not answers:
        raise TaskError(
            "data-empty", "there is no batch to judge quality on; the split is empty."
        )
    outputs = _structured(_together(answers, "outputs"))
    return outputs, like(structure, _together(truths, "targets"))


def scores(task: Task, outputs: Any, targets: Any) -> Scores:
    """The task's metrics, checked: float64 scores per sample, or a float.

    Raises:
        TaskError: `quality` raised, or gave something else.
    """
    targets = like(targets, as_arrays(targets, "target"))
    count = _count(as_arrays(targets, "target"))
    given = _asked(task, outputs, targets)
    if not isinstance(given, Mapping):
        raise TaskError(
            "metric-type",
            f"quality() of task {task.name!r} returned {_told(given)}; it must return "
            f"a dict of {', '.join(map(repr, task.metrics))}.",
        )
    for name in task.metrics:
        if name not in given:
            raise TaskError(
                "metric-missing",
                f"quality() of task {task.name!r} did not return {name!r}; "
                f"it returned {', '.join(map(repr, given)) or 'nothing'}.",
            )
    for name in given:
        if name not in task.metrics:
            raise TaskError(
                "metric-unknown",
                f"quality() of task {task.name!r} returned {name!r}, which is not in "
                f"its metrics; {nearest(str(name), task.metrics)}",
            )
    return {name: _score(name, given[name], count) for name in task.metrics}


def _together(batches: list[Arrays], what: str) -> Arrays:
    shapes = {tuple((name, a.shape[1:]) for name, a in b.items()) for b in batches}
    if len(shapes) > 1:
        told = " and ".join(str(dict(s)) for s in sorted(shapes)[:2])
        raise TaskError(
            "data-shape",
            f"the {what} of one batch can't be put with another's to judge them "
            f"together: {told} a sample; pad them to one shape.",
        )
    return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}


def _structured(arrays: Arrays) -> Any:
    """The array, tuple or dict that `as_arrays` would have named like this."""
    if list(arrays) == ["output"]:
        return arrays["output"]
    if all(re.fullmatch(r"output_\d+", name) for name in arrays):
        return tuple(arrays[f"output_{i}"] for i in range(len(arrays)))
    return dict(arrays)


def _asked(task: Task, outputs: Any, targets: Any) -> Any:
    try:
        return task.quality(outputs, targets)
    except ParetuneError:
        raise
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[:2][-1]  # in the user's code
        shapes = {k: v.shape for k, v in as_arrays(outputs, "output").items()}
        text = str(error).splitlines()[0] if str(error) else ""
        raise TaskError(
            "metric-raises",
            f"quality() of task {task.name!r} raised {type(error).__name__} at "
            f"{Path(at.filename).name}:{at.lineno} on outputs {shapes}: {text}",
        ) from error


def _score(name: str, value: Any, count: int) -> np.ndarray | float:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        if value.shape != (count,):
            raise TaskError(
                "metric-type",
                f"metric {name!r} returned an array of shape {value.shape} for {count} "
                f"samples; give shape ({count},), one score per sample, or a float.",
            )
        if not np.isfinite(value).all():
            bad = int((~np.isfinite(value)).sum())
            raise TaskError(
                "metric-type",
                f"metric {name!r} is not finite for {bad} of {count} samples; "
                "finite scores are needed.",
            )
        return value.astype(np.float64)
    number = isinstance(value, int | float | np.number)
    if not number or isinstance(value, bool | complex | np.complexfloating):
        raise TaskError(
            "metric-type",
            f"metric {name!r} returned {_told(value)}; a finite float is needed, or a "
            "numpy array with one score per sample.",
        )
    if not math.isfinite(value):
        raise TaskError(
            "metric-type", f"metric {name!r} returned {value}; it must be finite."
        )
    return float(value)


def _resampled(
    task: Task, outputs: Any, targets: Any, whole: Mapping[str, float]
) -> dict[str, tuple[float, ...]]:
    """The figure on the whole split, then on resamples that hang on its size alone.

    A resample on which the metric isn't defined, such as one without a positive, counts
    as the whole split: left out, it would shift the pairing with other candidates.
    """
    count = _count(as_arrays(targets, "target"))
    rng = np.random.default_rng(count)
    values = {name: [figure] for name, figure in whole.items()}
    for _ in range(RESAMPLES):
        chosen = rng.integers(0, count, count)
        try:
            given = task.quality(pick(outputs, chosen), pick(targets, chosen))
        except Exception:
            given = whole
        for name, figure in whole.items():
            again = float(given[name])
            values[name].append(again if math.isfinite(again) else figure)
    return {name: tuple(each) for name, each in values.items()}


def _count(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def _told(value: Any) -> str:
    shape = getattr(value, "shape", None)
    text = repr(value).splitlines()[0]
    short = text if len(text) <= 40 else text[:40] + "…"
    of = "" if shape is None else f" of shape {tuple(shape)}"
    return f"{type(value).__name__}{of} {short}"
