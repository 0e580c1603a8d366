"""Layers described and built again; modules replaced and brought back."""

import json

import pytest
import torch
from torch import nn

from paretune.core.candidate import Candidate
from paretune.core.errors import UnsupportedError
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.formats._blocks import Skip
from paretune.infrastructure.formats._modules import LAYERS, build, describe
from tests.toys import ConvNet, ResNet

ARGUMENTS = {
    "Linear": (3, 2),
    "Bilinear": (3, 2, 4),
    "Embedding": (7, 3),
    "Softmax": (1,),
    "LayerNorm": ((3, 2),),
    "GroupNorm": (2, 4),
    "RMSNorm": (3,),
}


@pytest.mark.parametrize("kind", LAYERS, ids=lambda k: k.__name__)
def test_layers_are_built_again(kind):
    name = kind.__name__
    given = ARGUMENTS.get(name, ())
    if name.startswith("Conv"):
        given = (4, 6, 3)
    elif name.startswith("BatchNorm"):
        given = (5,)
    elif "Pool" in name:
        given = (2,)
    layer = kind(*given)
    text = json.dumps(describe(layer))
    again = build(json.loads(text))
    assert json.dumps(describe(again)) == text
    assert repr(again) == repr(layer)
    shapes = {k: v.shape for k, v in layer.state_dict().items()}
    assert {k: v.shape for k, v in again.state_dict().items()} == shapes


def test_what_is_not_the_default_is_kept():
    layer = nn.Sequential()
    conv = nn.Conv2d(4, 8, (3, 1), stride=2, padding="valid", groups=2, bias=False)
    layer.add_module("narrow", conv)
    layer.add_module("act", nn.Sequential(nn.GELU("tanh"), nn.LeakyReLU(0.2)))
    assert repr(build(json.loads(json.dumps(describe(layer))))) == repr(layer)


def test_other_layers_are_refused():
    with pytest.raises(UnsupportedError, match="Threshold can't be put into a model"):
        describe(nn.Threshold(1, 2))
    with pytest.raises(UnsupportedError, match="'Magic' is not known"):
        build({"type": "Magic"})


def same(task, model, other):
    with torch.inference_mode():
        sample = torch_format.sample(task)
        return torch.equal(model(sample), other(sample))


def test_a_replaced_layer_and_a_cut_block_come_back(tmp_path):
    task = ResNet()
    model = torch_format.clone(task.model())
    model[4] = Skip()
    model[7] = nn.Sequential(nn.Linear(16, 2, bias=False), nn.Linear(2, 3))
    torch_format.save(Candidate(model.eval(), "torch"), task, tmp_path)
    assert same(task, torch_format.load(tmp_path, task).model, model)
    changes = torch_format.edits(task.model(), model)
    assert [c["module"] for c in changes] == ["4", "7"]


def test_a_layer_in_two_places_is_replaced_by_one(tmp_path):
    class Twice(ConvNet):
        def model(self):
            torch.manual_seed(0)
            inner = nn.Linear(64, 64)
            return nn.Sequential(nn.Flatten(), inner, nn.ReLU(), inner).eval()

    task = Twice()
    model = torch_format.clone(task.model())
    model[1] = model[3] = nn.Sequential(nn.Linear(64, 4), nn.Linear(4, 64))
    torch_format.save(Candidate(model.eval(), "torch"), task, tmp_path)
    loaded = torch_format.load(tmp_path, task).model
    assert loaded[1] is loaded[3]
    assert same(task, loaded, model)


def test_a_module_that_is_gone_is_said():
    change = {"edit": "replace", "module": "99", "layer": {"type": "Identity"}}
    with pytest.raises(UnsupportedError, match="no module '99'"):
        torch_format.replay(ConvNet().model(), [change])
