"""Pretraining without labels makes features that few labels are enough for."""

import numpy as np
import pytest
import torch
from torch import nn

from paretune.core.delegate import Delegate
from paretune.core.errors import UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats._mixed import Mixed
from paretune.learning._ssl.contrastive import contrastive_loss, unblended
from paretune.learning._ssl.masked import hide
from paretune.learning._ssl.taps import features, last_linear
from paretune.learning.data_augmentation import DataAugmentation
from paretune.learning.fine_tuning import FineTuning
from paretune.learning.self_supervision import SelfSupervision
from paretune.tasks.fashion import Fashion
from tests.toys import ConvNet, PairNet, ResNet, SignalNet, TextNet


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    ).eval()


class Unlabelled(Fashion):
    """A few labels, and 1,500 images without any."""

    unlabelled = True

    def split(self, name):
        images, labels = super().split("train" if name == "unlabelled" else name)
        if name == "unlabelled":
            return images[200:1700], None
        return (images[:200], labels[:200]) if name == "train" else (images, labels)

    def batches(self, split):
        if split != "unlabelled":
            return super().batches(split)
        images, _ = self.split(split)
        order = np.random.permutation(len(images))
        return ((images[r], None) for r in np.array_split(order, 12))

    def loss(self, outputs, targets):
        raise AssertionError("no label is used")


class Labelled(Fashion):
    """The few labels alone."""

    def split(self, name):
        images, labels = super().split(name)
        return (images[:200], labels[:200]) if name == "train" else (images, labels)


def tuned(model):
    """Accuracy on validation after training on the few labels, mean of two seeds."""
    images, labels = (torch.from_numpy(a) for a in Fashion().split("validation"))
    step = FineTuning(epochs=12, learning_rate=3e-3, batch_size=32)
    found = []
    for seed in (0, 1):
        made = step.on_torch(model, Run(Labelled(), seed=seed))
        with torch.no_grad():
            found.append(float((made(images).argmax(1) == labels).float().mean()))
    return sum(found) / 2


@pytest.fixture(scope="module")
def without():
    return tuned(net())


@pytest.mark.parametrize("method", ["contrastive", "masked"])
def test_on_real_images_a_few_labels_are_worth_more_after_it(method, without):
    step = SelfSupervision(method=method, epochs=8, learning_rate=3e-3, mask=0.3)
    model = step.on_torch(net(), Run(Unlabelled()))
    after = tuned(model)
    assert after > without + 0.01, (without, after)


@pytest.mark.parametrize("method", ["contrastive", "masked"])
@pytest.mark.parametrize("toy", [ConvNet, ResNet, SignalNet, TextNet])
def test_what_it_adds_is_thrown_away(method, toy):
    task = toy()
    model = task.model()
    step = SelfSupervision(method=method, epochs=1)
    made, again = (step.on_torch(model, Run(task, seed=5)) for _ in range(2))
    assert made.state_dict().keys() == model.state_dict().keys()
    assert type(made) is type(model) and not made.training
    assert not any(m._forward_pre_hooks for m in made.modules())
    moved = [
        not torch.equal(p, q)
        for p, q in zip(made.parameters(), model.parameters(), strict=True)
    ]
    assert any(moved)
    same = zip(made.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in same)


def test_a_fresh_start_forgets_the_weights():
    task = ConvNet()
    other = task.model()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    step = SelfSupervision(epochs=1, start="fresh")
    one, two = (step.on_torch(m, Run(task)) for m in (task.model(), other))
    same = zip(one[0].parameters(), two[0].parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in same)


def test_the_last_linear_layer_is_the_one_that_runs_last():
    model = PairNet().model()
    inputs = {"left": torch.zeros(2, 6), "right": torch.zeros(2, 4)}
    assert last_linear(model, inputs) == ("label", 16)
    assert features(model, "label", inputs).shape == (2, 16)


@pytest.mark.parametrize(
    ("model", "task", "part"),
    [
        (PairNet().model(), PairNet(), "what can be varied"),
        (nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()), ConvNet(), "no linear layer"),
    ],
)
def test_what_it_cannot_do_is_said_in_a_sentence(model, task, part):
    with pytest.raises(UnsupportedError, match=part) as error:
        SelfSupervision(epochs=1).on_torch(model.eval(), Run(task))
    assert error.value.message.endswith(".")


def test_twins_that_agree_cost_less_than_strangers():
    torch.manual_seed(0)
    views = torch.randn(16, 8)
    twins = contrastive_loss(torch.cat([views, views]), 0.1)
    strangers = contrastive_loss(torch.cat([views, views.flip(0)]), 0.1)
    assert float(twins) < 0.1 < float(strangers)


def test_views_are_not_blended():
    run = DataAugmentation(blend="mixup").sets(Run(ConvNet()))
    inputs, targets = torch.randn(4, 1, 8, 8), torch.arange(4) % 3
    assert unblended(run.task).augment(inputs, targets)[1] is targets
    assert unblended(ConvNet()).name == "convnet"


def test_no_blend_is_left_of_several_steps():
    run = Run(ConvNet())
    for blend in ("mixup", "cutmix", "none"):
        run = DataAugmentation(blend=blend).sets(run)
    inputs, targets = torch.randn(4, 1, 8, 8), torch.arange(4) % 3
    outer = Delegate(run.task)
    assert isinstance(outer.augment(inputs, targets)[1], Mixed)
    assert unblended(outer).augment(inputs, targets)[1] is targets
    assert isinstance(outer.augment(inputs, targets)[1], Mixed)  # left as it was


@pytest.mark.parametrize("method", ["contrastive", "masked"])
def test_a_wholly_frozen_model_is_trained(method):
    task = ConvNet()
    model = task.model().requires_grad_(False)
    step = SelfSupervision(method=method, epochs=1)
    made = step.on_torch(model, Run(task))
    assert not torch.equal(made[0].weight, model[0].weight)
    assert not any(p.requires_grad for p in model.parameters())


def test_views_of_text_need_no_trained_model():
    class Unread(TextNet):
        def model(self):
            raise AssertionError("labels trained it")

    step = SelfSupervision(method="contrastive", epochs=1)
    model = TextNet().model()
    made = step.on_torch(model, Run(Unread()))
    assert not torch.equal(made.embed.weight, model.embed.weight)


@pytest.mark.parametrize("shape", [(64, 1, 28, 28), (64, 6, 200)])
def test_as_much_is_hidden_as_was_asked(shape):
    torch.manual_seed(0)
    kind = "image" if len(shape) == 4 else "signal"
    hidden = hide(torch.zeros(shape), kind, 0.6, 0).expand(shape)
    assert abs(float(hidden.float().mean()) - 0.6) < 0.05
    tokens = torch.randint(0, 9, (64, 50))
    hit = hide(tokens, "text", 0.5, 2)
    assert not hit[tokens <= 2].any()
    assert abs(float(hit[tokens > 2].float().mean()) - 0.5) < 0.05
