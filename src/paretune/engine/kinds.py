"""What a task's data are: what a strategy must know before it proposes training."""

from __future__ import annotations

from typing import Any

from paretune.core.errors import TaskError, UnsupportedError
from paretune.core.task import Task


def kinds(task: Task) -> dict[str, Any]:
    """The kind of a task's input, and whether its outputs are logits of classes.

    Returns:
        {"kind": "image", "signal", "text", or "" where it can't be varied,
         "classes": bool}.
    """
    from paretune.infrastructure.formats import _soft
    from paretune.infrastructure.formats import torch as torch_format

    torch_format.seed(0)
    try:
        axes = _soft.task_axes(task.model(), task, guess=False)
        classes = any(axis is not None for axis in axes.values())
        inputs, targets = _soft.few(task)
    except (TaskError, UnsupportedError):
        return {"kind": "", "classes": False}
    return {"kind": _kind(inputs, targets), "classes": classes}


def _kind(inputs: Any, targets: Any) -> str:
    from paretune.learning._augment import policy

    try:
        key, kind = policy.field_of(inputs, "auto")
    except UnsupportedError:
        return ""
    given = policy.fields(inputs)
    places = tuple(given[key].shape[1 if kind == "text" else 2 :])
    told = {} if targets is None else policy.fields(targets)
    placed = any(policy.placed(t, places) for t in told.values())
    return "" if placed or len(given) > 1 else kind
