from __future__ import annotations

import functools
import itertools
import tempfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paretune.compression._precision import mix, noise
from paretune.compression._precision.knapsack import solve
from paretune.compression._quantization.choice import prepare
from paretune.compression.mixed_precision import MixedPrecision
from paretune.core.candidate import Candidate
from paretune.core.errors import UnsupportedError
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.infrastructure.formats._only import quantized_layers
from paretune.measurement._divergence import look
from paretune.tasks.fashion import Fashion
from tests.compression.test_weight_only_quantization import answers, exported, operators
from tests.toys import Classes, PairNet, TextNet


class Sensitive(Classes):
    """Layers alike, but for one whose outputs nearly cancel in the next."""

    name = "sensitive"
    shape = (64,)

    def model(self):
        torch.manual_seed(0)
        layers = [nn.Linear(64, 64) for _ in range(6)]
        with torch.no_grad():
            # What most of its weights have in common cancels in what reads them.
            layers[3].weight.mul_(0.3).add_(1.0)
            layers[4].weight.sub_(layers[4].weight.mean(1, keepdim=True)).mul_(3)
        body = itertools.chain.from_iterable((m, nn.Tanh()) for m in layers[:3])
        return nn.Sequential(*body, *layers[3:5], nn.Tanh(), layers[5]).eval()


def run(make, said=None) -> Run:
    heard = [] if said is None else said
    return Run(make(), progress=lambda what, share: heard.append(what))


@functools.cache
def told(make, **parameters) -> tuple[onnx.ModelProto, str]:
    """The model, and the last thing that was said about it."""
    said: list[str] = []
    technique = MixedPrecision(**{"samples": 32, **parameters})
    return technique.on_onnx(exported(make).model, run(make, said)), said[-1]


def quantized(make, **parameters) -> onnx.ModelProto:
    return told(make, **parameters)[0]


def size(model, make, folder) -> int:
    return onnx_format.write(Candidate(model, "onnx"), make(), folder).size


def lost(make, model) -> float:
    """Noise on samples that nothing was chosen by."""
    inputs = make().split("validation")[0][:500]
    wanted = answers(exported(make).model, inputs)
    return float(((answers(model, inputs) - wanted) ** 2).sum() / (wanted**2).sum())


amounts = st.floats(0, 100, allow_subnormal=False).map(lambda x: round(x, 3))


@st.composite
def problems(draw):
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    losses = [draw(st.lists(amounts, min_size=n, max_size=n)) for n in sizes]
    costs = [draw(st.lists(amounts, min_size=n, max_size=n)) for n in sizes]
    return losses, costs, draw(st.floats(0, 400))


@given(problems())
@settings(max_examples=80, deadline=None)
def test_the_knapsack_is_solved_as_by_trying_all(problem):
    losses, costs, budget = problem

    def total(table, chosen):
        return sum(own[i] for own, i in zip(table, chosen, strict=True))

    every = itertools.product(*(range(len(own)) for own in losses))
    least = min(
        (total(losses, c) for c in every if total(costs, c) <= budget - 1e-6),
        default=None,
    )
    found = solve(losses, costs, budget)
    if found is None:
        assert least is None
        return
    assert total(costs, found) <= budget + 1e-4
    assert least is None or total(losses, found) <= least + 1e-4


CASES = ((TextNet, 0.35), (TextNet, 0.6), (Fashion, 0.2), (Sensitive, 0.3))
each = pytest.mark.parametrize(("make", "budget"), CASES)


@each
def test_the_written_file_is_within_the_budget(make, budget, tmp_path):
    whole = size(exported(make).model, make, tmp_path)
    share = size(quantized(make, budget=budget), make, tmp_path) / whole
    assert 0.8 * budget < share <= budget


def test_a_smaller_budget_than_can_be_is_refused_with_the_least():
    with pytest.raises(UnsupportedError, match=r"\[budget\].*set budget to that"):
        quantized(PairNet, budget=0.1)


def test_a_sensitive_layer_keeps_more_bits_and_the_whole_loses_less(tmp_path):
    mixer = mix.Mixer(
        prepare(exported(Sensitive).model), frozenset(), run(Sensitive), 32
    )
    parts = mixer.parts()
    whole = size(mixer.graph, Sensitive, tmp_path)
    # Nothing is smaller than int4 everywhere: two layers of six may be larger.
    for precision, room in ((mix.INT8, 1.0), (mix.INT4, 1.3)):
        uniform = noise.everywhere(mixer, parts, precision)
        share = size(uniform, Sensitive, tmp_path) / whole
        model, said = told(Sensitive, budget=room * share)
        assert lost(Sensitive, model) < 0.5 * lost(Sensitive, uniform)
        ops = {n.name: n.op_type for n in model.graph.node}
        products = [n.name for n in mixer.graph.graph.node if n.op_type == "Gemm"]
        assert ops[products[3]] == ops[products[4]] == "Gemm"
        assert "MatMulNBits" in ops.values()
        assert said.startswith("layers: ")


@each
def test_each_layer_is_explained_by_rounding(make, budget):
    model = quantized(make, budget=budget)
    inputs = as_arrays(make().split("validation")[0][:64], "input")
    found = look(model, exported(make).model, inputs)
    assert found.wrong is None
    assert found.layers > 0 and quantized_layers(model)


def test_formats_are_mixed_and_a_real_model_keeps_its_quality(tmp_path):
    images, labels = Fashion().split("validation")
    images, labels = images[:1000], labels[:1000]

    def right(model):
        return float((answers(model, images).argmax(-1) == labels).mean())

    model = quantized(Fashion, budget=0.2)
    whole = size(exported(Fashion).model, Fashion, tmp_path)
    assert size(model, Fashion, tmp_path) <= 0.2 * whole
    assert right(model) >= right(exported(Fashion).model) - 0.01
    kinds = {i.data_type for i in model.graph.initializer}
    assert onnx.TensorProto.INT8 in kinds
    assert operators(model)["MatMulNBits"] or onnx.TensorProto.INT4 in kinds


def fastest() -> float:
    """The share of the time that is left with the cheapest format of each layer."""
    try:
        told.__wrapped__(Fashion, by="latency", budget=0.1)
    except UnsupportedError as error:
        return float(error.message.split("it is ")[1].split(";")[0])
    return 0.1


def test_latency_is_bought_where_it_is_cheap(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    least = fastest()
    assert least < 0.8
    budget = (1 + least) / 2
    model, said = told(Fashion, by="latency", budget=budget)
    assert "of the latency" in said
    again = told.__wrapped__(Fashion, by="latency", budget=budget)[0]
    assert again.SerializeToString(deterministic=True) == model.SerializeToString(
        deterministic=True
    )
    assert lost(Fashion, model) < 1e-3
    assert list((tmp_path / "paretune" / "times").iterdir())


def test_layers_that_are_kept_stay_float32():
    model = quantized(TextNet, budget=0.6, keep_float="layers.0.*")
    assert not [n for n in quantized_layers(model) if n.startswith("layers.0.")]
    assert [n for n in quantized_layers(model) if n.startswith("layers.1.")]


def test_noise_is_that_of_what_a_layer_becomes():
    mixer = mix.Mixer(prepare(exported(TextNet).model), frozenset(), run(TextNet), 32)
    parts = mixer.parts()
    judge = noise.Judge(mixer.graph, mixer.run, 32)
    assert judge.noise(mixer.graph) == 0
    found = noise.alone(mixer, parts, judge)
    assert all(own[mix.FLOAT32] == 0 < own[mix.FLOAT16] < 1e-6 for own in found)
    narrow = [own for own in found if mix.INT8 in own]  # all but the positions
    assert len(narrow) == len(found) - 1 == 10
    assert all(own[mix.FLOAT16] < own[mix.INT8] < 0.1 for own in narrow)
    assert np.mean([own[mix.INT8] < own[mix.INT4] for own in narrow]) > 0.8


def test_adaptive_rounding_of_4_bits_loses_less():
    near, fine = (
        quantized(TextNet, budget=0.3, rounding=rounding)
        for rounding in ("nearest", "adaptive")
    )
    assert lost(TextNet, fine) < 0.8 * lost(TextNet, near)


def test_convolutions_of_4_bits_run_in_8():
    mixer = mix.Mixer(prepare(exported(Fashion).model), frozenset(), run(Fashion), 16)
    parts = mixer.parts()
    model = noise.everywhere(mixer, parts, mix.INT4)
    convolutions = {n.input[1] for n in mixer.graph.graph.node if n.op_type == "Conv"}
    stored = {i.name: i.data_type for i in model.graph.initializer}
    for name in convolutions:
        assert stored[f"{name}_quantized"] == onnx.TensorProto.INT4
    options = onnxruntime.SessionOptions()
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = f"{folder}/model.onnx"
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options)
        ran = operators(onnx.load(f"{folder}/model.onnx"))
    assert ran["QLinearConv"] == len(convolutions) and not ran["Conv"]


def test_what_does_not_add_up_is_measured_again(monkeypatch):
    monkeypatch.setattr("paretune.compression._precision.allocation.FAR", 0.0)
    model = told.__wrapped__(TextNet, budget=0.35)[0]
    assert lost(TextNet, model) < 1.2 * lost(TextNet, quantized(TextNet, budget=0.35))


def test_progress_is_told_and_way_is_given():
    said, ways = [], []
    heard = Run(
        PairNet(),
        give_way=lambda: ways.append(1),
        progress=lambda what, share: said.append((what, share)),
    )
    MixedPrecision(budget=0.9, samples=16).on_onnx(exported(PairNet).model, heard)
    assert all(0 <= share <= 1 for _, share in said) and len(ways) > 5
    assert said[-1][0].startswith("layers: ")
