"""Channels in order, nets that share weights, and a training that serves them all."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.automation.subnet import Subnet
from paretune.automation.supernet import SHARES, Supernet
from paretune.core.candidate import Candidate
from paretune.core.errors import UnsupportedError
from paretune.core.recipe import Recipe
from paretune.core.technique import Run
from paretune.infrastructure.formats import _elastic
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.formats._checks import flat
from paretune.infrastructure.formats._judging import quality
from paretune.infrastructure.formats._modes import Mode
from tests.toys import TOYS

on_each_toy = pytest.mark.parametrize("toy", TOYS)


def start(toy):
    task = TOYS[toy]()
    return Candidate(task.model(), "torch"), Run(task, seed=3)


def answers(model, task):
    inputs = torch_format.tensors(next(iter(task.batches("validation")))[0])
    with torch.no_grad():
        return flat(torch_format.call(model, inputs))


@on_each_toy
def test_sorting_moves_channels_and_changes_no_answer(toy):
    candidate, run = start(toy)
    made = Supernet(epochs=0).apply(candidate, run)
    before, after = (answers(c.model, run.task) for c in (candidate, made))
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    pairs = zip(candidate.model.parameters(), made.model.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


@on_each_toy
def test_the_most_important_channels_come_first(toy):
    candidate, run = start(toy)
    made = Supernet(epochs=0).apply(candidate, run).model
    places = _elastic._pruner(made, run)
    for units in (places.channels() | places.heads()).values():
        assert list(units.scores) == sorted(units.scores, reverse=True)


@on_each_toy
@settings(max_examples=5, deadline=None)
@given(widths=st.tuples(*[st.sampled_from(SHARES)] * 3), deep=st.sampled_from([0, 0.5]))
def test_a_shared_net_has_the_weights_of_the_one_that_is_cut_out(toy, widths, deep):
    candidate, run = start(toy)
    known = _elastic.anatomy(candidate.model, run, True)
    cut = _elastic.Cut(*widths, deep if known.blocks else 0.0)
    net = _elastic.shared(candidate.model, cut, known, run)
    small = _elastic.narrow(candidate.model, cut, known, run)
    weights = net.weights(dict(candidate.model.named_parameters()))
    own = dict(small.named_parameters())
    assert weights.keys() == own.keys()
    assert all(torch.equal(weights[name], own[name]) for name in own)


def test_gradients_of_a_narrow_net_reach_the_elements_that_it_shares():
    candidate, run = start("resnet")
    known = _elastic.anatomy(candidate.model, run, False)
    net = _elastic.shared(candidate.model, _elastic.Cut(0.5, 0.5, 0.5), known, run)
    wide = dict(candidate.model.named_parameters())
    sum(w.sum() for w in net.weights(wide).values()).backward()
    for name, parameter in wide.items():
        place = net.places[name]
        shared = parameter.numel() if place is None else place[0].numel()
        assert parameter.grad.sum() == shared
        assert set(parameter.grad.unique().tolist()) <= {0.0, 1.0}
    assert any(place is not None for place in net.places.values())


def test_weights_of_half_precision_are_refused():
    candidate, run = start("convnet")
    half = torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    candidate.model[0].register_parameter("scale", half)
    known = _elastic.anatomy(candidate.model, run, False)
    with pytest.raises(UnsupportedError, match="bfloat16"):
        _elastic.shared(candidate.model, _elastic.Cut(0.5), known, run)


def test_training_makes_narrow_nets_better_and_keeps_the_widest():
    candidate, run = start("convnet")
    results = {}
    for epochs in (0, 12):
        net = Supernet(epochs=epochs, learning_rate=1e-2).apply(candidate, run)
        widths = [(0.5, 0.5, 0.5), (0.5, 1.0, 1.0), (1.0, 1.0, 1.0)]
        results[epochs] = [
            quality(Subnet(*w).apply(net, run).model, Mode(), run) for w in widths
        ]
    assert min(results[12]) > 0.8
    assert np.mean(results[12]) > np.mean(results[0]) + 0.2


def test_it_trains_the_same_bits_again():
    candidate, run = start("resnet")
    one, other = (Supernet(epochs=1).apply(candidate, run).model for _ in range(2))
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_its_footprint_needs_no_training():
    step = Supernet(epochs=7, narrowest=0.5)
    assert step.structural() == Supernet(epochs=0, narrowest=0.5)
    whole = Recipe((step, Subnet()))
    whole.structure().check()
    assert [s.name() for s in whole.structure().steps] == ["supernet", "subnet"]


def test_the_random_nets_of_a_step_take_turns():
    sandwich = _elastic.Sandwich(torch.nn.Identity(), list("abcdef"), 2, 0)
    taken = [net for _ in range(5) for net in sandwich._next()]
    assert len(taken) == 10
    assert "a" not in taken
    assert set(taken) == set("bcdef")


def test_a_model_without_anything_to_remove_is_refused():
    class Fixed(TOYS["convnet"]):
        def model(self):
            flat = torch.nn.Flatten()
            return torch.nn.Sequential(flat, torch.nn.Linear(64, 3)).eval()

    run = Run(Fixed(), seed=3)
    with pytest.raises(UnsupportedError, match="leave supernet and subnet out"):
        Supernet(epochs=0).apply(Candidate(run.task.model(), "torch"), run)
