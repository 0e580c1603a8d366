"""A task that another one answers for, to be changed in some way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from paretune.core.task import Task


class Delegate(Task):
    """Another task, in everything; a subclass changes some of it.

    Args:
        task: that answers.

    Example:
        >>> from paretune.tasks.fashion import Fashion
        >>> Delegate(Fashion()).name
        'fashion'
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.name = task.name
        self.metrics = task.metrics
        self.teachers = task.teachers
        self.unlabelled = task.unlabelled
        self.reference = task.reference

    def model(self) -> Any:
        return self.task.model()

    def batches(self, split: str) -> Iterable[tuple[Any, Any]]:
        return self.task.batches(split)

    def loss(self, outputs: Any, targets: Any) -> Any:
        return self.task.loss(outputs, targets)

    def quality(self, outputs: Any, targets: Any) -> Mapping[str, Any]:
        return self.task.quality(outputs, targets)

    def augment(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        return self.task.augment(inputs, targets)

    def __getattr__(self, name: str) -> Any:
        # Only what isn't found here: whatever else the user's task has.
        if name == "task":
            raise AttributeError(name)
        return getattr(self.task, name)
