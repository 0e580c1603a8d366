"""A student that learns from a teacher's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from paretune.core.errors import RecipeError, UnsupportedError, nearest
from paretune.core.space import Integer, Real, Text
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Distillation(Technique):
    """Trains the model to give the teacher's outputs, and the task's targets.

    `loss = weight * soft + (1 - weight) * task.loss`, where `soft` is the sum over
    the outputs of, with student s, teacher t and temperature T:

    - logits: `T^2 KL(softmax(t / T) || softmax(s / T))` over the classes, mean over
      the rest;
    - other values: `mean((s - t)^2) / var(t)`.

    An output holds logits if its target holds integers, one for each position but the
    class axis: (N, C) for (N), (N, C, H, W) for (N, H, W), (N, L, C) for (N, L); or
    shares that sum to 1 over the last axis. It holds other values if its target holds
    other floats, or its last axis is 1. Where the targets don't tell, the last axis
    is taken for classes.

    Attributes:
        epochs: passes over the "train" split.
        learning_rate: the highest; it rises over the first steps and then falls to 0.
        temperature: T; the higher, the more the unlikely classes count.
        weight: of the soft loss; at 1 the targets aren't used.
        teacher: "baseline" (the task's model) or a name in `task.teachers`.

    Example:
        >>> Distillation().to_json()["teacher"]
        'baseline'
    """

    source: ClassVar[str] = "Hinton et al. 2015, arXiv:1503.02531"
    refuses: ClassVar[frozenset[str]] = frozenset({"quantized"})
    trains: ClassVar[bool] = True

    epochs: int = param(5, Integer(1, 100, log=True))
    learning_rate: float = param(1e-3, Real(1e-5, 1e-1, log=True))
    temperature: float = param(4.0, Real(1.0, 10.0))
    weight: float = param(0.7, Real(0.0, 1.0))
    teacher: str = param("baseline", Text("baseline"))

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """The trained copy.

        Raises:
            RecipeError: the task has no such teacher.
            UnsupportedError: teacher and student give outputs of different shapes.
            TaskError: the "train" split is empty.
            MeasurementError: the loss or a weight is no longer finite.
        """
        from paretune.infrastructure.formats import _modes, _training

        teacher = _modes.frozen(self._teacher(run))

        def loss(forward: Any, inputs: Any, targets: Any) -> torch.Tensor:
            outputs = forward(inputs)
            soft = soft_loss(outputs, teacher(inputs), targets, self.temperature)
            total = self.weight * soft
            if self.weight < 1:
                total = total + (1 - self.weight) * run.task.loss(outputs, targets)
            return total

        return _training.fit(
            model,
            loss,
            run,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            what=self.name(),
        )

    def _teacher(self, run: Run) -> nn.Module:
        builders = {"baseline": run.task.model, **run.task.teachers}
        if self.teacher not in builders:
            raise RecipeError(
                "recipe-value",
                f"{run.task.name} has no teacher {self.teacher!r}; "
                + nearest(self.teacher, builders),
            )
        built: nn.Module = builders[self.teacher]()
        return built


def soft_loss(
    outputs: Any, taught: Any, targets: Any, temperature: float
) -> torch.Tensor:
    """The distance of the student's outputs from the teacher's, a scalar.

    Args:
        outputs: of the student: a tensor, or a tuple or dict of them.
        taught: of the teacher, likewise.
        targets: of the batch, likewise; their types tell logits from other values.
        temperature: of logits, 1 or more.

    Raises:
        UnsupportedError: the two differ in shape, or hold no floats.
    """
    students, teachers, known = _named(outputs), _named(taught), _named(targets)
    if {k: v.shape for k, v in students.items()} != {
        k: v.shape for k, v in teachers.items()
    }:
        raise UnsupportedError(
            "teacher-shape",
            f"the student gives {_shapes(students)} and the teacher "
            f"{_shapes(teachers)}; distillation needs outputs of the same shapes: "
            "name a teacher that solves the same task.",
        )
    alone = len(students) == len(known) == 1
    losses = [
        _distance(
            student,
            teachers[name],
            next(iter(known.values())) if alone else known.get(name),
            temperature,
        )
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


def _distance(
    student: torch.Tensor,
    teacher: torch.Tensor,
    target: torch.Tensor | None,
    temperature: float,
) -> torch.Tensor:
    from torch.nn import functional

    axis = _class_axis(student, target)
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


def _class_axis(output: torch.Tensor, target: torch.Tensor | None) -> int | None:
    """The axis of the classes; None if the output holds other values than logits."""
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
    return len(shape) - 1 if len(shape) > 1 and shape[-1] > 1 else None


def _named(structure: Any) -> dict[Any, torch.Tensor]:
    if isinstance(structure, Mapping):
        return dict(structure)
    if isinstance(structure, tuple | list):
        return dict(enumerate(structure))
    return {0: structure}


def _shapes(outputs: dict[Any, torch.Tensor]) -> str:
    return ", ".join(str(tuple(v.shape)) for v in outputs.values())
