"""Counts of what is in an artifact, by the format that wrote it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from paretune.core.measurement import Measurement
from paretune.core.meter import Subject


def counted(subjects: Sequence[Subject], metric: str) -> list[tuple[Measurement, ...]]:
    """An exact measurement of each subject: what its format counts as `metric`."""
    return [
        (Measurement(metric, "1", "lower", (float(_counts(s)[metric]),), "exact"),)
        for s in subjects
    ]


def _counts(subject: Subject) -> dict[str, int]:
    module = f"paretune.infrastructure.formats.{subject.artifact.format}"
    format_ = importlib.import_module(module)
    candidate = format_.open_artifact(subject.artifact.path, lambda _: subject.task)
    counts: dict[str, int] = format_.count(candidate, subject.task)
    return counts
