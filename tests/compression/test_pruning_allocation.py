"""How much each layer loses when what its channels cost counts."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from paretune.compression._pruning import costs as costs_module
from paretune.compression._pruning.allocation import Cost, allocate, total
from paretune.compression._pruning.costs import costs
from paretune.compression.structured_pruning import StructuredPruning
from paretune.core.candidate import Candidate
from paretune.core.errors import UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.formats._units import Units
from tests.compression import models
from tests.toys import TOYS, ConvNet, TextNet

# Where all that costs much is left alone, a half of it can't go.
REACH = [m for m in models.ALL if m not in (models.Builtin, models.Hardcoded)]
EVERY = [lambda m=m: models.task(m) for m in REACH] + list(TOYS.values())
NAMES = [m.__name__ for m in REACH] + list(TOYS)


def pruned(task, **parameters):
    said = []
    run = Run(task, progress=lambda what, share: said.append(what))
    return StructuredPruning(**parameters).on_torch(task.model(), run), said[-1]


def counted(model, task):
    return torch_format.count(Candidate(model, "torch"), task)["macs"]


@st.composite
def chains(draw):
    """Layers one after the other, each as wide as its scores are many."""
    widths = draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    scores = st.floats(0, 10)
    places, parts = {}, [Cost(draw(st.floats(0, 100)))]
    for number, width in enumerate(widths):
        axes = {(f"{number}", "out"): 1 / width, (f"{number + 1}", "in"): 1 / width}
        each = draw(st.lists(scores, min_size=width, max_size=width))
        places[f"{number}"] = Units(tuple(each), shares=axes)
        both = ((f"{number}", "in"), (f"{number}", "out"))
        parts.append(Cost(draw(st.floats(1, 100)), both))
    return places, parts


@given(chains(), st.floats(0.1, 0.95), st.sampled_from([1, 2, 8]))
def test_allocations_drop_the_least_important_and_reach_what_they_say(
    chain, ratio, round_to
):
    places, parts = chain
    steps = dict.fromkeys(places, round_to)
    gone, left = allocate(places, parts, 1 - ratio, ratio, steps)
    again = 0.0
    for cost in parts:
        levels = [
            1 - len(gone[name]) * units.shares[axis]
            for axis in cost.axes
            for name, units in places.items()
            if name in gone and axis in units.shares
        ]
        again += cost.value * math.prod(levels)
    assert again == pytest.approx(left * total(parts))
    for name, drop in gone.items():
        scores = places[name].scores
        kept = [s for i, s in enumerate(scores) if i not in set(drop)]
        assert kept and drop == sorted(set(drop))
        assert max(scores[i] for i in drop) <= min(kept)
        assert len(kept) % round_to == 0
        assert len(kept) >= places[name].fewest(ratio)


def test_a_channel_that_costs_more_goes_first():
    def units(layer):
        return Units((1.0,) * 10, shares={(layer, "out"): 0.1})

    parts = [Cost(90.0, (("a", "out"),)), Cost(10.0, (("b", "out"),))]
    places = {"a": units("a"), "b": units("b")}
    gone, left = allocate(places, parts, 0.7, 0.3, {"a": 1, "b": 1})
    # Neither is another of the dear ones taken, nor are many cheap ones in its place.
    assert ({n: len(drop) for n, drop in gone.items()}, left) == ({"a": 3}, 0.73)
    # The less is left of a layer, the dearer it gets.
    gone, _ = allocate(places, parts, 0.15, 0.85, {"a": 1, "b": 1})
    assert len(gone["b"]) > 0


def test_nothing_that_costs_nothing_can_be_saved():
    assert allocate({}, [], 0.5, 0.5, {}) == ({}, 1.0)


@pytest.mark.parametrize("make", EVERY, ids=NAMES)
def test_multiplications_are_all_counted_and_the_share_is_reached(make):
    task = make()
    model = task.model()
    assert total(costs(model, "macs", Run(task))) == counted(model, task)
    small, said = pruned(task, scope="macs", ratio=0.5, round_to=1)
    left = counted(small, task) / counted(model, task)
    # A unit of a grouped layer is a channel of each group.
    assert abs(left - 0.5) < (0.05 if isinstance(model, models.Grouped) else 0.02)
    assert said.startswith(f"pruned; {1 - left:.1%} of the MACs went")


@pytest.mark.parametrize("importance", ["taylor", "bn_scale"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_the_share_is_reached_by_every_importance_and_in_rounds(importance, rounds):
    task = models.task(models.Depthwise)
    small, _ = pruned(
        task, scope="macs", ratio=0.6, importance=importance, rounds=rounds, round_to=2
    )
    left = counted(small, task) / counted(task.model(), task)
    assert abs(left - 0.4) < 0.05


def test_what_can_not_be_reached_is_said():
    _, said = pruned(models.task(models.Builtin), scope="macs", ratio=0.9, round_to=1)
    share = float(said.partition("; ")[2].partition("%")[0])
    assert share < 80
    assert said.endswith("left alone: embed (nn.MultiheadAttention adds to it)")


class Uneven(ConvNet):
    """Most of the time goes into the first of two convolutions of one size."""

    shape = (1, 32, 32)
    counts = dict.fromkeys(ConvNet.counts, 8)

    def model(self):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 3),
        ).eval()


def test_time_is_taken_from_where_it_is_spent_and_measured_once():
    task = Uneven()
    small, said = pruned(task, scope="latency", ratio=0.5)
    slow, quick = small[2], small[5]
    assert slow.in_channels * slow.out_channels < 0.75 * 32 * 64
    assert quick.out_channels >= 48
    share = float(said.partition("; ")[2].partition("%")[0])
    assert abs(share - 50) < 15
    assert "% of the modelled time went" in said
    known = dict(costs_module._timed)
    again, _ = pruned(task, scope="latency", ratio=0.5)
    assert costs_module._timed == known
    for a, b in zip(small.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_time_belongs_to_heads_and_layers():
    task = TextNet()
    parts = costs(task.model(), "latency", Run(task))
    axes = {axis for cost in parts for axis in cost.axes}
    assert {("layers.0.attention", "out"), ("layers.1.mlp.0", "in")} <= axes
    assert total(parts) > 0


def test_what_can_not_be_exported_can_not_be_timed():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(64, 16)
            self.last = nn.Linear(16, 3)

        def forward(self, x):
            hidden = torch.relu(self.first(x.flatten(1)))
            return self.last(torch.special.spherical_bessel_j0(hidden))

    class Task(ConvNet):
        def model(self):
            torch.manual_seed(0)
            return Odd().eval()

    with pytest.raises(UnsupportedError, match="bessel"):
        pruned(Task(), scope="latency")
