"""Which weights count: averaged ones, flat ones, the best ones."""

import copy

import pytest
import torch
from torch import nn

from paretune.core.errors import TaskError
from paretune.core.technique import Run
from paretune.infrastructure.formats import _training
from paretune.infrastructure.formats._regime import Average, Regime, climb, descend
from tests.toys import ConvNet, TextNet


def fitted(task, regime, epochs=4, learning_rate=3e-2, **options):
    return _training.fit(
        task.model(),
        lambda forward, x, y: task.loss(forward(x), y),
        Run(task, **options),
        epochs=epochs,
        learning_rate=learning_rate,
        regime=regime,
    )


def number(value):
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def test_swa_is_the_mean_of_the_last_quarter():
    average = Average("swa", number(0.0), steps=100)
    for done in range(1, 101):
        average.update(number(float(done)), done)
    assert float(average.model.weight) == pytest.approx(sum(range(75, 101)) / 26)


def test_ema_forgets_the_start():
    average = Average("ema", number(1000.0), steps=200)
    for done in range(1, 201):
        average.update(number(float(done)), done)
    assert 180 < float(average.model.weight) < 200
    short = Average("ema", number(1000.0), steps=3)
    short.update(number(1.0), 1)
    assert float(short.model.weight) == 1.0


def test_the_climb_has_its_length_and_is_undone_to_the_bit():
    model = TextNet().model()
    before = copy.deepcopy(model.state_dict())
    model(torch.randint(0, 50, (4, 12))).square().sum().backward()
    moved = climb(model.parameters(), 0.3)
    length = sum(
        float((p.detach() - before[k]).square().sum())
        for k, p in model.named_parameters()
    )
    assert length**0.5 == pytest.approx(0.3, rel=1e-3)
    descend(moved)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def steepness(task, model, distance=0.5):
    """How much the training loss rises when the weights move up the gradient."""
    inputs, targets = (torch.from_numpy(a) for a in task.split("train"))
    loss = task.loss(model(inputs), targets)
    loss.backward()
    climb(model.parameters(), distance)
    with torch.no_grad():
        return float(task.loss(model(inputs), targets) - loss)


def test_a_sharpness_aware_minimum_is_flatter():
    task = ConvNet()
    plain = fitted(task, Regime(), epochs=8)
    flat = fitted(task, Regime(sharpness=0.3), epochs=8)
    assert steepness(task, flat) < 0.7 * steepness(task, plain)


@pytest.mark.parametrize("average", ["ema", "swa"])
def test_averaged_weights_learn_too_and_repeat(average):
    task = ConvNet()
    regime = Regime(average=average, schedule="constant")
    one, two = (fitted(task, regime, learning_rate=1e-2) for _ in range(2))
    assert all(torch.equal(v, two.state_dict()[k]) for k, v in one.state_dict().items())
    inputs, targets = (torch.from_numpy(a) for a in task.split("validation"))
    assert float((one(inputs).argmax(1) == targets).float().mean()) > 0.6
    # Statistics are those of the averaged weights.
    with torch.no_grad():
        hidden = one[0](torch.from_numpy(task.split("train")[0]))
    off = (hidden.mean((0, 2, 3)) - one[1].running_mean).abs() / hidden.std((0, 2, 3))
    assert float(off.max()) < 0.02


class Judged(ConvNet):
    """Its validation quality is what a test says, epoch after epoch."""

    def __init__(self, qualities, direction="higher"):
        self.left = list(qualities)
        self.metrics = {"said": direction}
        self.asked = 0

    def quality(self, outputs, targets):
        assert len(outputs) == len(targets) == 128
        self.asked += 1
        return {"said": self.left.pop(0)}


@pytest.mark.parametrize(
    ("qualities", "direction", "asked", "best"),
    [
        ([0.1, 0.3, 0.2, 0.2, 0.9], "higher", 4, 2),
        ([0.9, 0.3, 0.4, 0.3, 0.1], "lower", 4, 2),
        ([0.1, 0.2, float("nan"), 0.3, 0.4], "higher", 5, 5),
        ([float("nan")] * 5, "higher", 2, 5),
    ],
)
def test_it_stops_in_time_and_keeps_the_best(qualities, direction, asked, best):
    task, weights = Judged(qualities, direction), []

    def note(model, done, total):
        if done % 8 == 0:
            weights.append(model[0].weight.detach().clone())

    trained = _training.fit(
        task.model(),
        lambda forward, x, y: task.loss(forward(x), y),
        Run(task),
        epochs=5,
        learning_rate=1e-2,
        regime=Regime(patience=2),
        after_step=note,
    )
    assert task.asked == len(weights) == asked
    assert torch.equal(trained[0].weight, weights[min(best, asked) - 1])


def test_stopping_early_needs_a_validation_split():
    class Blind(ConvNet):
        def batches(self, split):
            return iter(()) if split == "validation" else super().batches(split)

    with pytest.raises(TaskError, match="patience to 0"):
        fitted(Blind(), Regime(patience=1), epochs=1)


def test_after_step_is_told_how_far_it_is():
    told = []
    task = ConvNet()
    _training.fit(
        task.model(),
        lambda forward, x, y: task.loss(forward(x), y),
        Run(task),
        epochs=2,
        learning_rate=1e-3,
        precision="float32",
        after_step=lambda model, done, total: told.append((done, total)),
    )
    assert told == [(i + 1, 16) for i in range(16)]
