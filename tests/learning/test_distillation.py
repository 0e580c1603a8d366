"""Distillation moves the student toward the teacher, whatever the outputs are."""

import numpy as np
import pytest
import torch
from torch import nn

from paretune.core.errors import RecipeError, UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats._soft import soft_loss
from paretune.infrastructure.formats.torch import call, tensors
from paretune.learning.distillation import Distillation
from paretune.learning.fine_tuning import FineTuning
from tests.toys import ConvNet, PairNet


def answers(task, model):
    with torch.no_grad():
        batches = [
            (call(model, tensors(x)).argmax(-1).numpy(), y)
            for x, y in task.batches("validation")
        ]
    return tuple(map(np.concatenate, zip(*batches, strict=True)))


def small():
    torch.manual_seed(7)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(54, 3),
    ).eval()


@pytest.fixture(scope="module")
def taught():
    """A task whose own model was trained."""
    task = ConvNet()
    model = FineTuning(epochs=10, learning_rate=5e-3).on_torch(task.model(), Run(task))
    task.model = lambda: model
    return task


def test_the_student_agrees_with_its_teacher_without_a_target(taught):
    class NoTargets(ConvNet):
        def loss(self, outputs, targets):
            raise AssertionError("at weight 1 the targets are not used")

    task = NoTargets()
    task.model = taught.model
    step = Distillation(epochs=10, learning_rate=1e-2, weight=1.0)
    student = step.on_torch(small(), Run(task))
    teacher, targets = answers(task, task.model())
    before, _ = answers(task, small())
    after, _ = answers(task, student)
    assert (after == teacher).mean() > (before == teacher).mean() + 0.25
    assert (after == targets).mean() > 0.6  # chance is a third


def test_a_teacher_of_the_tasks_own_is_found_by_name(taught):
    class Taught(ConvNet):
        teachers = {"big": taught.model}

    task = Taught()  # its own model is untrained: only "big" can teach
    step = Distillation(epochs=10, learning_rate=1e-2, weight=1.0, teacher="big")
    student, targets = answers(task, step.on_torch(small(), Run(task)))
    assert (student == targets).mean() > 0.6
    with pytest.raises(RecipeError, match="did you mean 'big'"):
        Distillation(teacher="bug").on_torch(small(), Run(task))
    with pytest.raises(RecipeError, match="baseline"):
        Distillation(teacher="basline").on_torch(small(), Run(ConvNet()))


def test_dict_outputs_with_logits_and_values_are_matched():
    task = PairNet()
    trained = FineTuning(epochs=10, learning_rate=1e-2).on_torch(
        task.model(), Run(task)
    )
    task.model = lambda: trained
    torch.manual_seed(3)
    student = type(trained)()
    step = Distillation(epochs=10, learning_rate=1e-2, weight=1.0)
    after = step.on_torch(student, Run(task))
    (inputs, targets), *_ = task.batches("validation")

    def distance(model):
        with torch.no_grad():
            x = tensors(inputs)
            return float(
                soft_loss(call(model, x), call(trained, x), tensors(targets), 4.0)
            )

    assert distance(after) < 0.3 * distance(student)


def test_equal_seeds_give_equal_bits(taught):
    step = Distillation(epochs=1)
    first, second = (step.on_torch(small(), Run(taught, seed=2)) for _ in range(2))
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            first.state_dict().values(), second.state_dict().values(), strict=True
        )
    )


def test_other_shapes_than_the_teachers_are_unsupported(taught):
    wider = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with pytest.raises(UnsupportedError, match=r"\(32, 4\).*\(32, 3\)"):
        Distillation(epochs=1).on_torch(wider, Run(taught))
