"""What goes on inside a teacher reaches the student, pruned or of another kind."""

import functools

import pytest
import torch
from torch import nn

from paretune.compression.structured_pruning import StructuredPruning
from paretune.core.candidate import Candidate
from paretune.core.errors import RecipeError, UnsupportedError
from paretune.core.recipe import Recipe
from paretune.core.technique import Run, Stage
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.formats._soft import few
from paretune.learning._distil import hidden, points
from paretune.learning.data_augmentation import DataAugmentation
from paretune.learning.distillation import Distillation
from paretune.learning.fine_tuning import FineTuning
from paretune.learning.self_supervision import SelfSupervision
from paretune.tasks.fashion import Fashion
from tests.infrastructure.formats.test_feed import Half
from tests.learning.test_distillation import answers, small
from tests.toys import TOYS, ConvNet, PairNet, TextNet

PRUNE = StructuredPruning(ratio=0.5)
HIDDEN = tuple(hidden.LOSSES)
STEP = {"epochs": 16, "learning_rate": 1e-2, "weight": 1.0}


def apart(on, student, teacher, run):
    """The loss of `on` between two models, adapters fitted to them."""
    one, other = hidden.watched(
        on, torch_format.clone(student), torch_format.clone(teacher), run
    )
    inputs, _ = next(iter(run.task.batches("validation")))
    with torch.no_grad():
        _, ours = torch_format.call(one.eval(), torch_format.tensors(inputs))
        _, theirs = torch_format.call(other.eval(), torch_format.tensors(inputs))
    return float(hidden.LOSSES[on](ours, theirs))


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("on", HIDDEN)
def test_pruned_copies_learn_and_nothing_stays_on_them(name, on):
    task = TOYS[name]()
    run = Run(task)
    model = PRUNE.on_torch(task.model(), run)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    try:
        student = Distillation(epochs=1, hidden=on).on_torch(model, run)
    except UnsupportedError as error:
        assert (name, on) == ("pairnet", "attention")
        assert "'logits'" in error.message
        return
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch_format.edits(model, student) == []
    assert student.state_dict().keys() == before.keys()
    assert not any(m._forward_hooks for m in student.modules())
    assert any(not torch.equal(v, before[k]) for k, v in student.state_dict().items())


@functools.cache
def pupil(name):
    """(run, trained teacher, pruned student, that student after outputs alone)."""
    task = TOYS[name]()
    trained = FineTuning(epochs=8, learning_rate=5e-3).on_torch(task.model(), Run(task))
    task.model = lambda: trained
    run = Run(task)
    model = PRUNE.on_torch(trained, run)
    return run, trained, model, Distillation(**STEP).on_torch(model, run)


@pytest.mark.parametrize(
    ("name", "on"), [*(("convnet", on) for on in HIDDEN), ("textnet", "hints")]
)
def test_the_inside_comes_closer_than_by_the_outputs_alone(name, on):
    run, trained, model, without = pupil(name)
    made = Distillation(hidden=on, **STEP, hidden_weight=10.0).on_torch(model, run)
    assert apart(on, made, trained, run) < 0.9 * apart(on, without, trained, run)


def test_counterparts_have_the_same_name_in_a_pruned_copy():
    for toy in (ConvNet(), TextNet(), TOYS["resnet"]()):
        model = toy.model()
        student = PRUNE.on_torch(model, Run(toy))
        found = points.pairs(student, model, few(toy)[0])
        assert len(found) == 3
        assert all(one.module == other.module for one, other in found)
        assert all(one.positions == other.positions for one, other in found)
        assert any(one.channels < other.channels for one, other in found)


def test_counterparts_of_another_kind_are_at_the_same_depth():
    inputs, _ = few(ConvNet())
    found = points.pairs(small(), ConvNet().model(), inputs)
    assert [(a.module, b.module) for a, b in found] == [("2", "7")]


def test_channels_are_found_on_their_axis():
    model = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(60, 2))
    (image,) = points.points(model, torch.rand(2, 3, 4, 5))
    assert (image.channels, image.positions) == (3, 20)
    tokens = points.points(TextNet().model(), few(TextNet())[0])
    assert {p.axis for p in tokens} == {2}
    signals = points.points(TOYS["signalnet"]().model(), few(TOYS["signalnet"]())[0])
    assert all(p.axis == 1 for p in signals)


def test_a_model_without_an_inside_says_so():
    class Plain(ConvNet):
        def model(self):
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

        def split(self, name):
            inputs, targets = super().split(name)
            return inputs.reshape(len(inputs), 64), targets

    with pytest.raises(UnsupportedError, match="not-applicable"):
        Distillation(epochs=1, hidden="attention").on_torch(
            Plain().model(), Run(Plain())
        )


def test_losses_are_nothing_between_equals_and_of_one_scale():
    torch.manual_seed(0)
    one, other = torch.randn(8, 5, 6), torch.randn(8, 5, 6)
    for loss in hidden.LOSSES.values():
        assert float(loss((one,), (one,))) == pytest.approx(0, abs=1e-6)
        assert 0.01 < float(loss((other,), (one,))) < 4
    # Neither units nor rotations of the features matter to relations.
    turn = torch.linalg.qr(torch.randn(6, 6)).Q
    assert float(hidden.relation((3 * one @ turn,), (one,))) < 1e-6
    assert float(hidden.relation((one[:1],), (one[:1],))) == 0


def test_features_of_other_sizes_are_averaged_to_the_smaller():
    one, other = hidden.aligned(torch.rand(2, 6, 4, 3), torch.rand(2, 3, 4, 5))
    assert (one.shape, other.shape) == ((2, 12, 3), (2, 12, 5))
    one, other = hidden.aligned(torch.rand(2, 7, 3), torch.rand(2, 5))
    assert (one.shape, other.shape) == ((2, 1, 3), (2, 1, 5))


def test_several_teachers_are_averaged():
    task = PairNet()
    models = [task.model(), FineTuning(epochs=3).on_torch(task.model(), Run(task))]
    task.teachers = {"one": lambda: models[0], "two": lambda: models[1]}
    x = torch_format.tensors(next(iter(task.batches("test")))[0])
    asked = []

    class Both(nn.Module):
        def forward(self, left, right):
            found = [m(left=left, right=right) for m in models]
            asked.append(len(left))
            return {k: (found[0][k] + found[1][k]) / 2 for k in found[0]}

    task.teachers["both"] = Both
    step = {"epochs": 2, "weight": 1.0}
    one = Distillation(teacher="one, two", **step).on_torch(models[0], Run(task))
    both = Distillation(teacher="both", **step).on_torch(models[0], Run(task))
    assert asked
    for key, value in one(**x).items():
        assert torch.allclose(value, both(**x)[key], atol=1e-5)


def test_the_teacher_may_be_the_model_itself_or_an_assistant():
    task, run = ConvNet(), Run(ConvNet())
    trained = FineTuning(epochs=8, learning_rate=5e-3).on_torch(task.model(), run)
    step = {"epochs": 8, "learning_rate": 1e-2, "weight": 1.0, "start": "fresh"}
    again = Distillation(teacher="self", **step).on_torch(trained, run)
    teacher, _ = answers(task, trained)
    assert (answers(task, again)[0] == teacher).mean() > 0.8
    stages = (
        Stage("baseline", False, task.model),
        Stage("fine_tuning", True, lambda: trained),
        Stage("structured_pruning", False, small),
    )
    helped = Distillation(teacher="assistant", **step).on_torch(
        small(), Run(task, stages=stages)
    )
    assert (answers(task, helped)[0] == teacher).mean() > 0.6
    with pytest.raises(RecipeError, match="assistant"):
        Distillation(teacher="assistant").on_torch(
            small(), Run(task, stages=stages[:1])
        )


def test_a_step_that_trains_on_no_answers_is_no_assistant():
    task = ConvNet()
    steps = Recipe(
        (
            FineTuning(epochs=8, learning_rate=5e-3),
            SelfSupervision(epochs=1, start="fresh"),
            DataAugmentation(),
            Distillation(epochs=8, learning_rate=1e-2, weight=1.0, teacher="assistant"),
        )
    )
    start = Candidate(task.model(), "torch")
    alone = steps.steps[0].apply(start, Run(task))
    made = steps.apply(start, Run(task), lambda c, *_: c)
    teacher, _ = answers(task, alone.model)
    assert (answers(task, made.model)[0] == teacher).mean() > 0.6
    with pytest.raises(RecipeError, match="assistant"):
        Recipe(steps.steps[1:]).apply(start, Run(task), lambda c, *_: c)


@pytest.mark.parametrize("on", HIDDEN)
def test_a_wholly_frozen_student_learns(on):
    task = ConvNet()
    model = task.model().requires_grad_(False)
    made = Distillation(epochs=1, hidden=on).on_torch(model, Run(task))
    assert not torch.equal(made[0].weight, model[0].weight)
    assert not any(p.requires_grad for p in model.parameters())


def test_unlabelled_samples_teach_too():
    class Few(Half):
        counts = {**ConvNet.counts, "train": 32}

        def split(self, name):
            if name == "unlabelled":
                return ConvNet().split("train")[0], None
            return super().split(name)

    task = Few()
    taught = FineTuning(epochs=8, learning_rate=5e-3).on_torch(
        task.model(), Run(ConvNet())
    )
    task.model = lambda: taught
    step = {"epochs": 6, "learning_rate": 1e-2}
    teacher, _ = answers(task, taught)
    agreed = [
        (answers(task, made)[0] == teacher).mean()
        for made in (
            Distillation(unlabelled=more, **step).on_torch(small(), Run(task))
            for more in (False, True)
        )
    ]
    assert agreed[1] > agreed[0] + 0.1
    with pytest.raises(UnsupportedError, match="unlabelled"):
        Distillation(unlabelled=True).on_torch(small(), Run(ConvNet()))


class Clothes(Fashion):
    """A few hundred of the training images."""

    def split(self, name):
        images, labels = super().split(name)
        few = 1024 if name == "train" else 500
        return images[:few], labels[:few]


@pytest.mark.parametrize("on", ["none", "hints"])
def test_a_pruned_network_of_real_images_gets_better(on):
    task = Clothes()
    run = Run(task)
    model = StructuredPruning(ratio=0.4).on_torch(task.model(), run)
    step = Distillation(epochs=1, learning_rate=3e-3, hidden=on)
    before, targets = answers(task, model)
    after, _ = answers(task, step.on_torch(model, run))
    assert (after == targets).mean() > (before == targets).mean() + 0.1
    assert (after == targets).mean() > 0.75
