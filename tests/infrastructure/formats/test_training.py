"""The training loop: it learns, repeats to the bit, gives way, and notices NaN."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from paretune.core.errors import MeasurementError, TaskError
from paretune.core.technique import Run
from paretune.infrastructure.formats import _training
from paretune.infrastructure.formats._regime import Plan, Regime
from paretune.infrastructure.formats.torch import call, seed, tensors
from tests.toys import TOYS, ConvNet, PairNet, SignalNet, TextNet


def task_loss(task):
    return lambda forward, inputs, targets: task.loss(forward(inputs), targets)


def train(task, model=None, epochs=2, learning_rate=3e-3, **run):
    return _training.fit(
        model or task.model(),
        task_loss(task),
        Run(task, **run),
        epochs=epochs,
        learning_rate=learning_rate,
    )


def validation_loss(task, model):
    with torch.no_grad():
        return float(
            sum(
                task.loss(call(model, tensors(x)), tensors(y))
                for x, y in task.batches("validation")
            )
        )


def weights(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(v, other[k]) for k, v in one.items()
    )


@pytest.mark.parametrize("name", TOYS)
def test_every_toy_gets_better_and_the_given_model_stays_as_it_was(name):
    task = TOYS[name]()
    model = task.model()
    before = weights(model)
    trained = train(task, model, epochs=8, learning_rate=1e-2)
    assert same(before, weights(model))
    assert not trained.training
    assert validation_loss(task, trained) < 0.9 * validation_loss(task, model)
    assert all(p.dtype == torch.float32 for p in trained.parameters())
    assert all(p.is_contiguous() for p in trained.parameters())
    assert all(p.grad is None for p in trained.parameters())


@pytest.mark.parametrize("task", [ConvNet(), TextNet(), PairNet()])
def test_equal_seeds_give_equal_bits_and_others_do_not(task):
    first = weights(train(task, seed=5))
    seed(123)  # whatever was drawn before must not matter
    assert same(first, weights(train(task, seed=5)))
    assert not same(first, weights(train(task, seed=6)))


def test_epochs_differ_from_one_another_and_repeat():
    task = SignalNet()
    orders = []

    def order(forward, inputs, targets):
        orders.append(targets.numpy().copy())
        return task.loss(forward(inputs), targets)

    def epochs():
        orders.clear()
        run = Run(task, seed=1)
        _training.fit(task.model(), order, run, epochs=2, learning_rate=1e-3)
        seen = orders[1:]  # the first was the attempt at a fast mode, if there was one
        return np.split(np.concatenate(seen[-16:]), 2)

    first, second = epochs()
    assert not np.array_equal(first, second)
    again = epochs()
    assert np.array_equal(first, again[0])
    assert np.array_equal(second, again[1])


def test_gives_way_before_every_batch_and_tells_how_far_it_is():
    task = ConvNet()
    ways, told = [], []
    train(
        task,
        epochs=3,
        give_way=lambda: ways.append(1),
        progress=lambda what, share: told.append((what, share)),
    )
    assert len(ways) >= 3 * 8
    assert told[-1] == ("training", 1.0)
    assert [s for _, s in told] == sorted(s for _, s in told)


def test_a_loss_that_is_not_finite_ends_it():
    task = PairNet()

    def broken(forward, inputs, targets):
        return task.loss(forward(inputs), targets) * float("nan")

    with pytest.raises(MeasurementError, match=r"\[nan\].*learning rate"):
        _training.fit(task.model(), broken, Run(task), epochs=1, learning_rate=1e-3)


def test_weights_that_overflow_in_the_last_step_are_noticed():
    class OneStep(ConvNet):
        def batches(self, split):
            return [next(iter(super().batches(split)))]

    class Overflow(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1.0

        @staticmethod
        def backward(ctx, grad):
            return grad * float("inf")

    task = OneStep()
    with pytest.raises(MeasurementError, match=r"\[nan\]"):
        _training.fit(
            task.model(),
            lambda f, x, y: Overflow.apply(task.loss(f(x), y)),
            Run(task),
            epochs=1,
            learning_rate=1e-3,
        )


def test_no_training_data_is_the_tasks_fault():
    class Empty(ConvNet):
        def batches(self, split):
            return iter(())

    with pytest.raises(TaskError, match="data-too-small"):
        train(Empty())


def test_a_single_sample_at_the_end_does_not_trip_batch_normalisation():
    class Last(ConvNet):
        def batches(self, split):
            inputs, targets = self.split(split)
            yield inputs[:32], targets[:32]
            yield inputs[32:33], targets[32:33]

    train(Last(), epochs=1)


def test_statistics_of_normalisation_are_those_of_the_final_weights():
    task = ConvNet()
    model = train(task, epochs=1)
    seen = []
    model[0].register_forward_hook(lambda module, given, out: seen.append(out.detach()))
    with torch.no_grad():
        for inputs, _ in task.batches("train"):
            model(tensors(inputs))
    activations = torch.cat(seen).transpose(0, 1).flatten(1)
    spread = activations.std(1)
    off = (model[1].running_mean - activations.mean(1)).abs() / spread
    assert float(off.max()) < 0.02
    assert torch.allclose(model[1].running_var.sqrt(), spread, rtol=0.05)
    assert model[1].momentum == 0.1


def test_frozen_parts_stay_and_a_wholly_frozen_model_trains():
    task = ConvNet()
    model = task.model()
    model[0].weight.requires_grad_(False)
    trained = train(task, model)
    assert torch.equal(trained[0].weight, model[0].weight)
    assert not torch.equal(trained[4].weight, model[4].weight)
    model.requires_grad_(False)
    assert not torch.equal(train(task, model)[0].weight, model[0].weight)


def test_shared_weights_stay_shared():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)
            self.two.weight = self.one.weight
            self.out = nn.Linear(6, 3)

        def forward(self, left, right):
            hidden = self.two(torch.relu(self.one(left)))
            return {"label": self.out(hidden), "value": hidden[:, :1]}

    trained = train(PairNet(), Tied())
    assert trained.one.weight is trained.two.weight


def test_a_view_that_needs_contiguous_channels_trains_all_the_same():
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)
            self.out = nn.Linear(4 * 36, 3)

        def forward(self, x):
            hidden = self.conv(x)
            return self.out(hidden.view(len(hidden), -1))

    train(ConvNet(), Viewing(), epochs=1)


def test_the_schedule_warms_up_and_ends_near_nothing():
    plan = Plan(Regime(), highest=1.0, steps=200)
    rates = [plan.rate(step) for step in range(200)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-3
    assert plan.rate(10_000) < 1e-12
    assert {plan.momentum(step) for step in range(200)} == {0.9}
    assert Plan(Regime(), 1.0, 1).rate(0) == 1.0


def test_one_cycle_is_that_of_torch():
    steps = 200
    plan = Plan(Regime(schedule="one_cycle"), highest=0.01, steps=steps)
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(2))], lr=0.01)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.01, total_steps=steps, final_div_factor=400
    )
    apart = []
    for step in range(steps):
        group = optimizer.param_groups[0]
        apart.append(abs(plan.rate(step) - group["lr"]) / 0.01)
        apart.append(abs(plan.momentum(step) - group["betas"][0]))
        optimizer.step()
        theirs.step()
    assert max(apart) < 0.03  # theirs is a step later
    rates = [plan.rate(step) for step in range(steps)]
    assert rates.index(max(rates)) == 59
    assert 0 < rates[-1] < 2e-6


@given(
    st.sampled_from(["cosine", "one_cycle", "constant"]),
    st.sampled_from(["none", "ema", "swa"]),
    st.integers(1, 300),
)
def test_rates_are_in_bounds_whatever_the_regime(schedule, average, steps):
    plan = Plan(Regime(schedule=schedule, average=average), 0.5, steps)
    rates = [plan.rate(step) for step in range(steps + 3)]
    assert all(0 < rate <= 0.5 for rate in rates[:steps])
    assert all(0.85 <= plan.momentum(step) <= 0.95 for step in range(steps))
    if average == "swa":
        late = rates[3 * steps // 4 :]
        assert max(late) == min(late)
