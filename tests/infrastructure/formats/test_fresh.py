"""A fresh start: nothing of what was learned is left, all of the structure is."""

import pytest
import torch
from torch import nn

from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.formats._fresh import fresh
from tests.infrastructure.formats.test_zeros import thinned
from tests.infrastructure.formats.zoo import PRUNABLE, pruned
from tests.toys import TOYS, ConvNet, TextNet


@pytest.mark.parametrize("name", TOYS)
def test_every_matrix_is_drawn_anew_and_repeats(name):
    model = TOYS[name]().model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    one, same, other = fresh(model, 3), fresh(model, 3), fresh(model, 4)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    for key, value in one.named_parameters():
        assert torch.equal(value, same.get_parameter(key))
        if value.dim() > 1:
            assert not torch.equal(value, before[key])
            assert not torch.equal(value, other.get_parameter(key))
            assert 0.2 < float(value.detach().std() / before[key].std()) < 5


def test_the_callers_generator_is_left_alone():
    model = TextNet().model()
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    fresh(model, 0)
    assert torch.equal(torch.rand(1), wanted)


@pytest.mark.parametrize("name", PRUNABLE)
def test_a_cut_model_keeps_its_structure(name):
    model = pruned(PRUNABLE[name]())
    assert torch_format.edits(model, fresh(model, 0)) == []


def test_statistics_start_anew_and_zeros_stay():
    model = thinned(ConvNet().model(), 0.5)
    model[1].running_mean.fill_(7.0)
    drawn = fresh(model, 0)
    assert float(drawn[1].running_mean.abs().max()) == 0
    assert torch.equal(drawn[0].weight == 0, model[0].weight == 0)


def test_what_is_frozen_stays_unless_all_is():
    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4))
    model[0].weight.requires_grad_(False)
    drawn = fresh(model, 0)
    assert torch.equal(drawn[0].weight, model[0].weight)
    assert not torch.equal(drawn[1].weight, model[1].weight)
    model.requires_grad_(False)
    assert not torch.equal(fresh(model, 0)[0].weight, model[0].weight)


def test_parameters_of_no_layer_keep_mean_and_spread():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.full((500,), 2.0))
            self.position = nn.Parameter(torch.randn(50, 40) * 0.02)
            self.temperature = nn.Parameter(torch.tensor(0.07))

    drawn = fresh(Scaled(), 0)
    assert torch.allclose(drawn.scale, torch.full((500,), 2.0))
    assert float(drawn.position.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert float(drawn.temperature.detach()) == pytest.approx(0.07)


class Adapted(nn.Linear):
    """A linear layer with more to learn than its `reset_parameters` knows of."""

    def __init__(self):
        super().__init__(20, 20)
        self.down = nn.Parameter(torch.randn(4, 20))


class Outer(nn.Module):
    """Its `reset_parameters` is about its child alone."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(20, 20)
        self.token = nn.Parameter(torch.randn(1, 20))

    def reset_parameters(self):
        nn.init.normal_(self.inner.weight)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.utils.spectral_norm(nn.Linear(20, 20)),
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(20, 20)),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(20, 20)),
        Adapted,
        Outer,
    ],
)
def test_no_trained_weight_is_left_by_a_reset_that_knows_only_some(build):
    torch.manual_seed(0)
    model = build().eval()
    drawn = fresh(model, 0)
    for key, value in model.named_parameters():
        assert not torch.equal(drawn.get_parameter(key), value), key
