from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paretune.compression._lowrank import ranks
from paretune.compression._lowrank.factors import canonical, matrix, tucker
from paretune.compression.low_rank_factorization import LowRankFactorization
from paretune.core.candidate import Candidate
from paretune.core.errors import UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats import _columns
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.infrastructure.formats import torch as torch_format
from paretune.tasks.fashion import Fashion
from tests.compression import models
from tests.toys import Classes, ConvNet, KeywordNet, ResNet, SignalNet


def factorized(task, **parameters):
    return LowRankFactorization(**parameters).on_torch(task.model(), Run(task))


def weights(model):
    return sum(p.numel() for p in model.parameters())


def of_rank(layer, r):
    """The layer with weights that are exactly of a rank, in its first two axes."""
    out, inward, *kernel = layer.weight.shape
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(out, r, generator=generator)
    right = torch.randn(inward, r, generator=generator)
    inner = torch.randn(r, *kernel, generator=generator)
    with torch.no_grad():
        layer.weight.copy_(torch.einsum("or,ir,r...->oi...", left, right, inner))
    return layer.eval()


LAYERS = [
    (lambda: nn.Linear(24, 16), (5, 24), [matrix]),
    (lambda: nn.Conv2d(24, 16, 1, stride=2), (2, 24, 6, 6), [matrix]),
    (
        lambda: nn.Conv2d(24, 16, 3, stride=2, padding=1, bias=False),
        (2, 24, 7, 7),
        [tucker, canonical],
    ),
    (
        lambda: nn.Conv2d(24, 16, (3, 1), padding="same", padding_mode="reflect"),
        (2, 24, 6, 6),
        [tucker, canonical],
    ),
    (lambda: nn.Conv1d(24, 16, 5, dilation=2), (2, 24, 20), [tucker, canonical]),
]


@pytest.mark.parametrize(
    ("make", "shape", "how"),
    [(make, shape, how) for make, shape, every in LAYERS for how in every],
)
def test_a_layer_of_low_rank_is_taken_apart_without_loss(make, shape, how):
    layer = of_rank(make(), 4)
    factors = how(layer, None, 1) if how is matrix else how(layer, 1)
    # Alternating least squares comes near, singular values come to the point.
    rank = factors.rank(1e-4 if how is canonical else 1e-6)
    assert 4 <= min(rank) <= 9
    chain = factors.build(rank)
    built = sum(m.weight.numel() for m in chain)
    assert built == factors.cost(rank) < factors.parameters
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = layer(x)
        assert (chain(x) - wanted).norm() < 2e-2 * wanted.norm()


@given(st.integers(1, 12), st.integers(2, 12), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_no_rank_loses_more_than_it_may(out, inward, number):
    rng = np.random.default_rng(number)
    layer = nn.Linear(inward, out)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.normal(size=(out, inward))))
    factors = matrix(layer, None, 1)
    lost = float(rng.uniform())
    chain = factors.build(factors.rank(lost))
    with torch.no_grad():
        product = chain[1].weight @ chain[0].weight
        gone = ((layer.weight - product) ** 2).sum() / (layer.weight**2).sum()
    assert gone <= lost + 1e-4


def test_outputs_on_data_are_kept_better_with_data():
    """Inputs of one small subspace: its directions are what has to stay."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 32))
    layer = nn.Linear(32, 32, bias=False)
    spread = x.T @ x / len(x)
    errors = []
    with torch.no_grad():
        inputs = torch.from_numpy(x).float()
        for given_spread in (None, spread):
            chain = matrix(layer, given_spread, 1).build((4,))
            errors.append(float((chain(inputs) - layer(inputs)).norm()))
        assert errors[1] < 1e-2 * layer(inputs).norm() < errors[0]


@pytest.mark.parametrize("task", [ConvNet(), ResNet(), SignalNet()])
@pytest.mark.parametrize("convolutions", ["tucker", "cp"])
def test_models_get_as_small_as_asked(task, convolutions, tmp_path):
    model = factorized(task, keep=0.6, convolutions=convolutions, round_to=1)
    assert weights(model) < 0.72 * weights(task.model())
    candidate = Candidate(model, "torch")
    torch_format.save(candidate, task, tmp_path)
    loaded = torch_format.load(tmp_path, task).model
    sample = torch_format.sample(task)
    with torch.inference_mode():
        assert torch.equal(loaded(sample), model(sample))
    assert onnx_format.from_torch(candidate, task).model.graph.node


def test_all_energy_is_no_saving():
    with pytest.raises(UnsupportedError, match="no layer of this model gets smaller"):
        factorized(ConvNet(), by="energy", keep=0.99, round_to=16)


def test_layers_can_be_skipped():
    model = factorized(ConvNet(), skip="4", keep=0.3, round_to=1)
    assert isinstance(model[4], nn.Conv2d)
    with pytest.raises(UnsupportedError, match="no layer matches 'haed'"):
        factorized(ConvNet(), skip="haed")


@pytest.mark.parametrize("make", models.ALL, ids=lambda m: m.__name__)
def test_odd_models_run_afterwards_or_are_refused(make):
    task = models.task(make)
    try:
        model = factorized(task, keep=0.4, round_to=1)
    except UnsupportedError:
        return
    with torch.inference_mode():
        torch_format.call(model, torch_format.sample(task))
    assert weights(model) < weights(task.model())


class Repeating(Classes):
    """A layer, and a block with one, that are in two places each."""

    name = "repeating"

    def model(self):
        torch.manual_seed(0)
        layer, block = nn.Linear(64, 64), nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        return nn.Sequential(
            nn.Flatten(), layer, block, layer, block, nn.Linear(64, 3)
        ).eval()


def test_a_layer_in_two_places_stays_and_one_in_a_repeated_block_need_not(tmp_path):
    task = Repeating()
    model = factorized(task, keep=0.6, round_to=1)
    assert weights(model) < 0.85 * weights(task.model())
    assert type(model[1]) is nn.Linear and model[1] is model[3]
    assert type(model[2][0]) is nn.Sequential and model[2] is model[4]
    torch_format.save(Candidate(model, "torch"), task, tmp_path)
    loaded = torch_format.load(tmp_path, task).model
    sample = torch_format.sample(task)
    with torch.inference_mode():
        assert torch.equal(loaded(sample), model(sample))
    for skip in ("2.0", "4"):
        with pytest.raises(UnsupportedError, match="no linear layer or convolution"):
            factorized(task, skip=f"{skip}, 5")


def test_layers_may_be_called_by_keyword():
    one, other = (factorized(task, round_to=1) for task in (ConvNet(), KeywordNet()))
    sample = torch_format.sample(ConvNet())
    with torch.inference_mode():
        assert torch.equal(one(sample), other(sample))


def test_wide_layers_are_taken_apart_without_data(monkeypatch):
    task, said = Repeating(), []
    run = Run(task, progress=lambda what, share: said.append(what))

    def chain(data):
        step = LowRankFactorization(data=data, keep=0.5, round_to=1)
        return step.on_torch(task.model(), run)[2][0]

    with_data = chain("calibration")
    assert said[-1] == "took apart 2 of 2"
    monkeypatch.setattr(_columns, "MOST", 63)
    wide = chain("calibration")
    assert said[-1] == "took apart 2 of 2; without data, as too wide: 2.0, 5"
    plain = chain("none")
    assert torch.equal(wide[0].weight, plain[0].weight)
    assert not torch.equal(with_data[0].weight, plain[0].weight)


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.8])
def test_size_is_met_where_it_can_be(ratio):
    rng = np.random.default_rng(0)
    layers = {}
    for number in range(4):
        layer = nn.Linear(64, 64)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(rng.normal(size=(64, 64))))
        layers[str(number)] = matrix(layer, None, 1)
    chosen = ranks.by_size(layers, ratio)
    size = sum(
        f.cost(chosen[n]) if n in chosen else f.parameters for n, f in layers.items()
    )
    assert ratio - 0.1 < size / (4 * 64 * 64) <= ratio


def test_fashion_keeps_most_of_its_quality_at_half_its_size():
    task = Fashion()
    images, labels = task.split("validation")
    images, labels = torch.from_numpy(images[:1000]), labels[:1000]

    def accuracy(model):
        with torch.inference_mode():
            return float((model(images).argmax(-1).numpy() == labels).mean())

    model = factorized(task, keep=0.5)
    assert weights(model) < 0.55 * weights(task.model())
    # Before any fine-tuning.
    assert accuracy(model) > accuracy(task.model()) - 0.1
