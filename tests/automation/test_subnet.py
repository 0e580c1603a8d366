"""A net out of a supernet: as narrow and shallow as asked, a candidate like others."""

import pytest
import torch

from paretune.automation.subnet import Subnet
from paretune.automation.supernet import Supernet
from paretune.core.candidate import Candidate
from paretune.core.errors import RecipeError, UnsupportedError
from paretune.core.recipe import Recipe
from paretune.core.technique import Run
from tests.toys import TOYS


def elastic(toy, **parameters):
    run = Run(TOYS[toy](), seed=3)
    first = Supernet(epochs=0, **parameters)
    return first.apply(Candidate(run.task.model(), "torch"), run), run


def test_each_third_of_the_depth_has_its_share():
    net, run = elastic("convnet")
    made = Subnet(early=0.5, middle=0.25).apply(net, run)
    convolutions = [m for m in made.model if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [8, 8]
    assert made.traits == {"pruned"}


def test_narrower_nets_hold_the_first_channels_of_wider_ones():
    net, run = elastic("convnet")
    small = Subnet(0.5, 0.5, 0.5).apply(net, run).model
    assert torch.equal(small[0].weight, net.model[0].weight[:8])
    assert torch.equal(small[4].weight, net.model[4].weight[:16, :8])


def test_all_of_it_is_the_supernet_with_fresh_statistics():
    net, run = elastic("convnet")
    whole = Subnet(1.0, 1.0, 1.0).apply(net, run).model
    pairs = zip(whole.parameters(), net.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(whole[1].running_mean, net.model[1].running_mean)


def test_blocks_go_from_the_end_and_what_is_left_gets_narrower_all_the_same():
    net, run = elastic("resnet")
    made = Subnet(0.5, 0.5, 0.5, depth=0.5).apply(net, run).model
    assert type(made[4]).__name__ == "Skip"
    assert made[3].conv1.out_channels == 8
    assert made[0].out_channels == 8


@pytest.mark.parametrize(
    ("given", "asked", "said"),
    [
        ({"narrowest": 0.5}, {"early": 0.375}, "narrower than the supernet's"),
        ({"depth": 0.25}, {"depth": 0.5}, "cuts more blocks"),
    ],
)
def test_what_the_supernet_was_not_trained_for_is_refused(given, asked, said):
    net, run = elastic("resnet", **given)
    with pytest.raises(UnsupportedError, match=said):
        Subnet(**asked).apply(net, run)


def test_depth_without_blocks_is_refused():
    net, run = elastic("convnet")
    with pytest.raises(UnsupportedError, match="set depth to 0"):
        Subnet(depth=0.5).apply(net, run)


def test_it_needs_a_supernet_and_leaves_none():
    with pytest.raises(RecipeError, match="elastic"):
        Recipe((Subnet(),)).check()
    with pytest.raises(RecipeError, match="elastic"):
        Recipe((Supernet(), Subnet(), Subnet())).check()
