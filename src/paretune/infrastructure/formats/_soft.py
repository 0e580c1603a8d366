"""Soft losses on a model's outputs: against a teacher's, against equal shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from paretune.core.errors import TaskError, UnsupportedError
from paretune.core.task import Task, pick
from paretune.infrastructure.formats._mixed import unmixed
from paretune.infrastructure.formats.torch import call, clone, tensors

Axes = Mapping[Any, int | None]


def soft_loss(
    outputs: Any,
    taught: Any,
    targets: Any,
    temperature: float,
    axes: Axes | None = None,
) -> torch.Tensor:
    """The distance of the student's outputs from the teacher's, a scalar.

    The sum over the outputs of, with student s, teacher t and temperature T:

    - logits: `T^2 KL(softmax(t / T) || softmax(s / T))` over the classes, mean over
      the rest;
    - other values: `mean((s - t)^2) / var(t)`.

    Args:
        outputs: of the student: a tensor, or a tuple or dict of them.
        taught: of the teacher, likewise.
        targets: of the batch, likewise; their types tell logits from other values.
        temperature: of logits, 1 or more.
        axes: what `class_axes` found on an earlier batch, if this one's targets are
            missing or changed.

    Raises:
        UnsupportedError: the two differ in shape, or hold no floats.

    Source: Hinton et al. 2015, arXiv:1503.02531.
    """
    students, teachers = named(outputs), named(taught)
    if {k: v.shape for k, v in students.items()} != {
        k: v.shape for k, v in teachers.items()
    }:
        raise UnsupportedError(
            "teacher-shape",
            f"the student gives {_shapes(students)} and the teacher "
            f"{_shapes(teachers)}; distillation needs outputs of the same shapes: "
            "name a teacher that solves the same task.",
        )
    axes = class_axes(outputs, targets) if axes is None else axes
    losses = [
        _distance(student, teachers[name], axes[name], temperature)
        for name, student in students.items()
        if student.is_floating_point()
    ]
    if not losses:
        raise UnsupportedError(
            "teacher-shape",
            f"the model gives {_shapes(students)} without a float among them; "
            "distillation needs a float output to compare.",
        )
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total


def uniform_loss(outputs: Any, axes: Axes) -> torch.Tensor:
    """The cross-entropy of logits to equal shares of all classes, a scalar.

    Mixed with the cross-entropy to the targets, it is label smoothing.

    Args:
        outputs: of the model: a tensor, or a tuple or dict of them.
        axes: of the classes, by output; an output whose axis is None is left out.

    Raises:
        UnsupportedError: no output holds logits.

    Source: Szegedy et al. 2015, arXiv:1512.00567.

    Example:
        >>> round(float(uniform_loss(torch.zeros(2, 4), {0: 1})), 4)  # log(4)
        1.3863
    """
    found = [
        -value.log_softmax(axis).mean()
        for name, value in named(outputs).items()
        if (axis := axes.get(name)) is not None
    ]
    if not found:
        raise UnsupportedError(
            "not-applicable",
            "no output holds logits of classes, so that there are no labels to "
            "smooth; set label_smoothing to 0.",
        )
    return torch.stack(found).sum()


def class_axes(outputs: Any, targets: Any, guess: bool = True) -> dict[Any, int | None]:
    """The axis of the classes of each output; None for one that holds other values.

    An output holds logits if its target holds integers, one for each position but the
    class axis: (N, C) for (N), (N, C, H, W) for (N, H, W), (N, L, C) for (N, L); or
    shares that sum to 1 over the last axis. It holds other values if its target holds
    other floats, or its last axis is 1.

    Args:
        outputs: a tensor, or a tuple or dict of them.
        targets: likewise; None where there are none.
        guess: whether the last axis is taken for classes where the targets don't tell.

    Example:
        >>> class_axes(torch.zeros(8, 3, 2, 2), torch.zeros(8, 2, 2, dtype=torch.long))
        {0: 1}
    """
    targets = unmixed(targets)
    found, known = named(outputs), {} if targets is None else named(targets)
    alone = len(found) == len(known) == 1
    return {
        name: _class_axis(
            output, next(iter(known.values())) if alone else known.get(name), guess
        )
        for name, output in found.items()
    }


@torch.no_grad()
def task_axes(
    model: nn.Module, task: Task, guess: bool = True
) -> dict[Any, int | None]:
    """`class_axes` of a model's outputs, told by a few calibration samples.

    Raises:
        TaskError: the calibration split is empty.
    """
    inputs, targets = few(task)
    return class_axes(call(clone(model), inputs), targets, guess)


def few(task: Task, count: int = 8) -> tuple[Any, Any]:
    """(inputs, targets) of the first calibration samples, as tensors.

    Args:
        task: whose split.
        count: of samples, at most; there are no more than the first batch holds.

    Raises:
        TaskError: the calibration split is empty.
    """
    for inputs, targets in task.batches("calibration"):
        rows = slice(0, count)
        return tensors(pick(inputs, rows)), tensors(pick(targets, rows))
    raise TaskError(
        "data-too-small",
        "batches('calibration') gave no batch; at least one sample is needed.",
    )


def named(structure: Any) -> dict[Any, torch.Tensor]:
    """The tensors of a structure by key, or by place."""
    if isinstance(structure, Mapping):
        return dict(structure)
    if isinstance(structure, tuple | list):
        return dict(enumerate(structure))
    return {0: structure}


def detached(structure: Any) -> Any:
    """The same tensors, without a way back for gradients.

    Example:
        >>> detached((torch.ones(1, requires_grad=True),))[0].requires_grad
        False
    """
    if isinstance(structure, Mapping):
        return {key: detached(value) for key, value in structure.items()}
    if isinstance(structure, tuple | list):
        return tuple(map(detached, structure))
    return structure.detach()


def _distance(
    student: torch.Tensor,
    teacher: torch.Tensor,
    axis: int | None,
    temperature: float,
) -> torch.Tensor:
    if axis is None:
        spread = teacher.var(unbiased=False).clamp_min(1e-12)
        return functional.mse_loss(student, teacher) / spread
    divergence = functional.kl_div(
        (student / temperature).log_softmax(axis),
        (teacher / temperature).log_softmax(axis),
        reduction="none",
        log_target=True,
    )
    return divergence.sum(axis).mean() * temperature**2


def _class_axis(
    output: torch.Tensor, target: torch.Tensor | None, guess: bool
) -> int | None:
    shape = tuple(output.shape)
    if target is not None and not target.is_floating_point():
        for axis in range(1, len(shape)):
            without = shape[:axis] + shape[axis + 1 :]
            if shape[axis] > 1 and tuple(target.shape) == without:
                return axis
    if target is not None and target.is_floating_point():
        shares = target.shape == output.shape and bool(
            (target >= 0).all() and ((target.sum(-1) - 1).abs() < 1e-3).all()
        )
        return len(shape) - 1 if shares and shape[-1] > 1 else None
    return len(shape) - 1 if guess and len(shape) > 1 and shape[-1] > 1 else None


def _shapes(outputs: dict[Any, torch.Tensor]) -> str:
    return ", ".join(str(tuple(v.shape)) for v in outputs.values())
