"""A student that learns from a teacher's outputs, and from what goes on inside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from paretune.core.errors import UnsupportedError
from paretune.core.space import Choice, Integer, Real, Text
from paretune.core.technique import Run, Technique, param

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Distillation(Technique):
    """Trains the model to give the teacher's outputs, and the task's targets.

    `loss = weight * (soft + hidden_weight * hidden) + (1 - weight) * task.loss`, where
    `soft` is the sum over the outputs of, with student s, teacher t and temperature T:

    - logits: `T^2 KL(softmax(t / T) || softmax(s / T))` over the classes, mean over
      the rest;
    - other values: `mean((s - t)^2) / var(t)`.

    An output holds logits if its target holds integers, one for each position but the
    class axis: (N, C) for (N), (N, C, H, W) for (N, H, W), (N, L, C) for (N, L); or
    shares that sum to 1 over the last axis. It holds other values if its target holds
    other floats, or its last axis is 1. Where the targets don't tell, the last axis
    is taken for classes.

    `hidden` compares modules of the same name, as in a pruned copy of the teacher, or
    else those at the same share of the depth; of several teachers it looks into the
    first. Zeros of a sparse model stay 0.

    Attributes:
        epochs: passes over the "train" split.
        learning_rate: the highest; it rises over the first steps and then falls to 0.
        temperature: T; the higher, the more the unlikely classes count.
        weight: of the teacher; at 1 the targets aren't used.
        teacher: "baseline" (the task's model), "self" (the model as it comes into this
            step), "assistant" (the model after the last step before this one that
            trained on labels or a teacher) or a name in `task.teachers`; of several,
            with commas between, the outputs are averaged.
        hidden: "none": the outputs alone; "hints": hidden features too, through a
            linear adapter that is thrown away; "attention": where features are active;
            "relation": distances and angles between samples.
        hidden_weight: of what `hidden` adds to the outputs.
        unlabelled: whether the task's "unlabelled" split is trained on as well, without
            the task's loss.
        start: "trained" goes on from the weights as they are, "fresh" draws new ones.

    Example:
        >>> Distillation().to_json()["teacher"]
        'baseline'
    """

    source: ClassVar[str] = (
        "Hinton et al. 2015, arXiv:1503.02531; Romero et al. 2014, arXiv:1412.6550 "
        "(hints); Zagoruyko & Komodakis 2016, arXiv:1612.03928 (attention); Park et "
        "al. 2019, arXiv:1904.05068 (relation); Mirzadeh et al. 2019, arXiv:1902.03393 "
        "(assistant); Furlanello et al. 2018, arXiv:1805.04770 (self)"
    )
    refuses: ClassVar[frozenset[str]] = frozenset(
        {"quantized", "quantization_aware", "clustered"}
    )
    trains: ClassVar[bool] = True
    resumes: ClassVar[bool] = True

    epochs: int = param(5, Integer(1, 100, log=True))
    learning_rate: float = param(1e-3, Real(1e-5, 1e-1, log=True))
    temperature: float = param(4.0, Real(1.0, 10.0))
    weight: float = param(0.7, Real(0.0, 1.0))
    teacher: str = param("baseline", Text("baseline"))
    hidden: str = param("none", Choice(("none", "hints", "attention", "relation")))
    hidden_weight: float = param(0.1, Real(0.01, 100.0, log=True))
    unlabelled: bool = param(False, Choice((False, True)))
    start: str = param("trained", Choice(("trained", "fresh")))

    def on_torch(self, model: nn.Module, run: Run) -> nn.Module:
        """The trained copy.

        Raises:
            RecipeError: there is no such teacher.
            UnsupportedError: teacher and student give outputs of different shapes, or
                have nothing inside to compare, or there is no unlabelled split.
            TaskError: the "train" split is empty.
            MeasurementError: the loss or a weight is no longer finite.
        """
        if self.unlabelled and not run.task.unlabelled:
            raise UnsupportedError(
                "not-applicable",
                f"{run.task.name} has no unlabelled split; set unlabelled to false, or "
                "give the task one.",
            )
        from paretune.infrastructure.formats import _fresh
        from paretune.learning._distil.teachers import teachers

        found = teachers(self.teacher, model, run)
        student = _fresh.fresh(model, run.seed) if self.start == "fresh" else model
        if self.hidden == "none":
            return self._fitted(student, found, run)
        from paretune.infrastructure.formats._training import unfrozen
        from paretune.infrastructure.formats.torch import clone
        from paretune.learning._distil.hidden import watched

        # A copy, since the two may be one and the same.
        both, found[0] = watched(self.hidden, unfrozen(clone(student)), found[0], run)
        trained: Any = self._fitted(both, found, run)
        within: nn.Module = trained.model
        return within

    def _fitted(
        self, student: nn.Module, teachers: list[nn.Module], run: Run
    ) -> nn.Module:
        from paretune.infrastructure.formats import _modes, _training
        from paretune.infrastructure.formats._soft import soft_loss, task_axes
        from paretune.learning._distil.hidden import LOSSES
        from paretune.learning._distil.teachers import mean

        hidden = LOSSES.get(self.hidden)
        asked = [
            _modes.frozen(teacher, remember=hidden is None or i > 0)
            for i, teacher in enumerate(teachers)
        ]
        bare: Any = student if hidden is None else student.model
        axes = task_axes(bare, run.task)

        def loss(forward: Any, inputs: Any, targets: Any) -> torch.Tensor:
            outputs, answers = forward(inputs), [ask(inputs) for ask in asked]
            inner = None
            if hidden is not None:
                outputs, ours = outputs
                answers[0], theirs = answers[0]
                inner = self.hidden_weight * hidden(ours, theirs)
            soft = soft_loss(outputs, mean(answers), targets, self.temperature, axes)
            total = self.weight * (soft if inner is None else soft + inner)
            if self.weight < 1 and targets is not None:
                total = total + (1 - self.weight) * run.task.loss(outputs, targets)
            return total

        return _training.fit(
            student,
            loss,
            run,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            splits=("train", "unlabelled") if self.unlabelled else ("train",),
            what=self.name(),
        )
