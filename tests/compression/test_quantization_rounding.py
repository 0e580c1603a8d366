"""Fewer bits: the grid of weights, adaptive rounding, corrected biases, 4-bit files."""

from __future__ import annotations

import functools
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, numpy_helper
from torch import nn

from paretune.compression._quantization import grid
from paretune.compression._quantization.patches import array, matrix, rows
from paretune.compression._quantization.rounding import best_levels
from paretune.compression._quantization.weights import Layer, arrays, integer
from paretune.compression.post_training_quantization import PostTrainingQuantization
from paretune.core.candidate import Candidate
from paretune.core.errors import UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats import _columns
from paretune.infrastructure.formats import onnx as onnx_format
from tests.compression.separable import (
    Clothes,
    accuracy,
    answers,
    exported,
    off,
    passes_parity,
    quantized,
)
from tests.toys import ConvNet, TextNet

FINE = {"rounding": "adaptive", "bias_correction": True}


@functools.cache
def source() -> onnx.ModelProto:
    return exported(Clothes())


@functools.cache
def made(**parameters) -> onnx.ModelProto:
    return quantized(Clothes(), source(), **parameters)


def error(**parameters) -> float:
    return off(made(**parameters), source(), Clothes())


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        (3, 5),
        elements=st.floats(-1e3, 1e3, width=32, allow_subnormal=False),
    ),
    st.sampled_from([0, 1]),
    st.sampled_from([2, 4, 7, 8]),
)
def test_the_grid_holds_every_weight_to_half_a_step(weight, axis, bits):
    scale = grid.scales(weight, axis, bits)
    assert scale.dtype == np.float32 and scale.shape == (weight.shape[axis],)
    assert (scale > 0).all()
    apart = np.abs(grid.rounded(weight, scale, axis, bits) - weight)
    assert (apart <= 0.5001 * grid.along(scale, axis, 2)).all()
    top = np.abs(grid.levels(weight, scale, axis, bits)).max()
    assert top <= grid.highest(bits)


@pytest.mark.parametrize("bits", [8, 7, 4])
def test_what_is_written_is_the_grid(bits):
    model = made(weight_bits=bits)
    floats, nodes = source(), {n.output[0]: n for n in model.graph.node}
    layers = [n for n in floats.graph.node if n.op_type in ("Conv", "Gemm")]
    weights = arrays(floats, [n.input[1] for n in layers])
    stored = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    for name, weight in weights.items():
        scale = grid.scales(weight, 0, bits)
        np.testing.assert_array_equal(stored[f"{name}_scale"], scale)
        whole = stored[f"{name}_quantized"].astype(np.float32)
        np.testing.assert_array_equal(whole, grid.levels(weight, scale, 0, bits))
    assert nodes


def test_weights_of_4_bits_halve_the_file_and_run_in_8_bits(tmp_path):
    class Wide(ConvNet):
        def model(self):
            torch.manual_seed(0)
            return nn.Sequential(
                *(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.Conv2d(64, 128, 3), nn.ReLU()),
                *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 3)),
            ).eval()

    import onnxruntime

    task = Wide()
    floats = exported(task)
    narrow = quantized(task, floats, weight_bits=4)
    sizes = [
        onnx_format.write(Candidate(m, "onnx"), task, tmp_path / "model.onnx").size
        for m in (floats, quantized(task, floats), narrow)
    ]
    assert sizes[2] < 0.15 * sizes[0] and sizes[2] < 0.58 * sizes[1]
    kinds = Counter(i.data_type for i in narrow.graph.initializer)
    assert kinds[TensorProto.INT4] == 3
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(
        narrow.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    run = Counter(n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert run["QLinearConv"] == 2 and run["QGemm"] == 1
    assert not run.keys() & {"Conv", "FusedConv", "Gemm", "Cast"}
    counted = onnx_format.count(Candidate(narrow, "onnx"), task)
    assert counted == onnx_format.count(
        Candidate(quantized(task, floats), "onnx"), task
    )


def test_a_transformer_has_weights_of_4_bits_too(tmp_path):
    task = TextNet()
    floats = exported(task)
    model = quantized(task, floats, weight_bits=4, rounding="adaptive")
    kinds = Counter(i.data_type for i in model.graph.initializer)
    assert kinds[TensorProto.INT4] == 9
    assert passes_parity(model, floats, task) >= 15
    assert off(model, floats, task) < off(
        quantized(task, floats, weight_bits=4), floats, task
    )


def test_dynamic_int8_has_no_weights_of_4_bits():
    with pytest.raises(UnsupportedError, match="static_int8"):
        made(scheme="dynamic_int8", weight_bits=4)


def test_adaptive_rounding_and_corrected_biases_help_at_4_bits():
    nearest = error(weight_bits=4)
    adaptive = error(weight_bits=4, rounding="adaptive")
    corrected = error(weight_bits=4, bias_correction=True)
    assert adaptive < 0.7 * nearest
    assert corrected < 0.9 * nearest
    assert error(weight_bits=4, **FINE) < 1.05 * adaptive
    task = Clothes()
    lost = accuracy(source(), task) - accuracy(made(weight_bits=4, **FINE), task)
    assert lost <= 0.02


@pytest.mark.parametrize(
    "how",
    [
        {"bias_correction": True},
        {"rounding": "adaptive"},
        {"weight_bits": 4},
        {"weight_bits": 4, "bias_correction": True},
        {"weight_bits": 4, **FINE},
    ],
    ids=str,
)
def test_they_pass_parity(how):
    assert passes_parity(made(**how), source(), Clothes()) >= 10


def test_wide_layers_are_rounded_to_the_nearest(monkeypatch):
    said = []
    task, graph = ConvNet(), exported(ConvNet())
    run = Run(task, progress=lambda what, share: said.append(what))

    def quantize(how):
        step = PostTrainingQuantization(rounding=how, weight_bits=4, samples=32)
        found = step.on_onnx(graph, run).graph.initializer
        return {i.name: numpy_helper.to_array(i) for i in found}

    fine, near = quantize("adaptive"), quantize("nearest")
    assert not any(text.startswith("rounded;") for text in said)
    monkeypatch.setattr(_columns, "MOST", 100)  # the second layer has 144
    mixed = quantize("adaptive")
    (told,) = {text for text in said if text.startswith("rounded;")}
    assert told.startswith("rounded; to the nearest, as too wide: ")
    (wide,) = told.partition(": ")[2].split(", ")
    apart = {name for name in near if not np.array_equal(near[name], fine[name])}
    assert {n for n in apart if np.array_equal(mixed[n], near[n])} == {
        n for n in apart if n.startswith(wide)
    }
    assert any(np.array_equal(mixed[n], fine[n]) for n in apart)


def test_the_same_seed_gives_the_same_file():
    again = quantized(Clothes(), source(), weight_bits=4, **FINE)
    assert again.SerializeToString(deterministic=True) == made(
        weight_bits=4, **FINE
    ).SerializeToString(deterministic=True)


@pytest.mark.parametrize("rounding", ["nearest", "adaptive"])
def test_weights_that_are_0_stay_0(rounding):
    def cut(model):
        with torch.no_grad():
            for layer in (model.features[6], model.features[12], model.head):
                small = layer.weight.abs() < layer.weight.abs().median()
                layer.weight[small] = 0.0

    task = Clothes(cut)
    floats = exported(task)
    model = quantized(task, floats, weight_bits=4, rounding=rounding)
    stored = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    for name in ("features.6.weight", "features.12.weight", "head.weight"):
        zero = arrays(floats, [name])[name] == 0
        assert 0.4 < zero.mean() < 0.6
        assert not stored[f"{name}_quantized"].astype(int)[zero].any()


def test_the_mean_error_of_a_channel_is_taken_off_its_bias():
    floats = source()
    last = floats.graph.output[0].name

    def shift(**how):
        apart = answers(made(**how), Clothes(), "calibration")
        apart = apart - answers(floats, Clothes(), "calibration")
        return float(np.abs(apart.mean(0)).max())

    assert last
    assert shift(weight_bits=4, bias_correction=True) < 0.5 * shift(weight_bits=4)


def test_a_convolution_without_a_bias_gets_one():
    class Bare(ConvNet):
        def model(self):
            torch.manual_seed(0)
            return nn.Sequential(
                *(nn.Conv2d(1, 8, 3, bias=False), nn.ReLU()),
                *(nn.Conv2d(8, 8, 3, bias=False), nn.AdaptiveAvgPool2d(1)),
                *(nn.Flatten(), nn.Linear(8, 3)),
            ).eval()

    task = Bare()
    floats = exported(task)
    model = quantized(task, floats, weight_bits=4, bias_correction=True)
    biases = [n.input[2] for n in model.graph.node if n.op_type == "Conv"]
    assert len(biases) == 2
    assert passes_parity(model, floats, task) >= 4


def positive(size, rng, strength):
    factors = rng.normal(size=(size, 3 * size)) + strength * rng.normal(size=3 * size)
    return factors @ factors.T / size + 1e-3 * np.eye(size)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([7, 127]), st.integers(1, 90))
def test_no_levels_are_worse_than_the_nearest(seed, top, size):
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=(2, 3, size)) * (rng.random((2, 3, size)) > 0.3)
    step = np.abs(wide).max(-1) / top + 1e-3
    moments = np.stack([positive(size, rng, 2.0), positive(size, rng, 0.0)])
    found = best_levels(wide, step, moments, top)
    near = np.clip(np.round(wide / step[..., None]), -top, top)
    assert np.abs(found).max() <= top and (found == np.round(found)).all()
    assert not found[wide == 0].any()

    def cost(levels):
        apart = wide - levels * step[..., None]
        return np.einsum("gri,gij,grj->gr", apart, moments, apart)

    assert (cost(found) <= cost(near) * (1 + 1e-9) + 1e-12).all()


def test_levels_make_up_for_one_another():
    rng = np.random.default_rng(0)
    wide, step = rng.normal(size=(1, 16, 64)), np.full((1, 16), 0.3)
    moments = positive(64, rng, 3.0)[None]
    found = best_levels(wide, step, moments, 7)
    near = np.clip(np.round(wide / 0.3), -7, 7)

    def cost(levels):
        apart = wide - 0.3 * levels
        return np.einsum("gri,gij,grj->", apart, moments, apart)

    assert cost(found) < 0.5 * cost(near)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(6, 8, 3, padding=1, stride=2), (5, 6, 9, 7)),
        (nn.Conv2d(6, 12, (3, 2), groups=3, dilation=(2, 1)), (5, 6, 9, 7)),
        (nn.Conv2d(6, 6, 3, groups=6, padding=(0, 2)), (5, 6, 9, 7)),
        (nn.Conv1d(6, 4, 5, padding=2, dilation=2), (5, 6, 17)),
        (nn.Linear(6, 4), (5, 6)),
        (nn.Linear(6, 4), (5, 3, 6)),
    ],
)
def test_rows_times_weights_are_the_outputs(layer, shape):
    class Task(ConvNet):
        def split(self, name):
            rng = np.random.default_rng(0)
            return rng.normal(size=shape).astype(np.float32), np.zeros(shape[0], int)

        def model(self):
            return nn.Sequential(layer).eval()

    model = exported(Task())
    node = next(n for n in model.graph.node if n.op_type in ("Conv", "Gemm", "MatMul"))
    axis = 1 if node.op_type == "MatMul" else 0
    if node.op_type == "Gemm" and not integer(node, "transB"):
        axis = 1
    spot = Layer(node, node.input[1], axis)
    weight = arrays(model, [spot.weight])[spot.weight]
    inputs = Task().split("train")[0]
    got = rows(spot, inputs, weight.shape, np.random.default_rng(0), 10**6)
    wide = matrix(spot, weight)
    made = got @ wide.transpose(0, 2, 1)  # (groups, rows, outputs of one)
    made = made.transpose(1, 0, 2).reshape(made.shape[1], -1)
    bias = layer.bias.detach().numpy()
    with torch.no_grad():
        wanted = layer(torch.as_tensor(inputs)).numpy()
    if node.op_type == "Conv":
        wanted = np.moveaxis(wanted, 1, -1)
    np.testing.assert_allclose(
        made + bias, wanted.reshape(len(made), -1), atol=1e-5, rtol=1e-4
    )
    np.testing.assert_array_equal(array(spot, wide, weight.shape), weight)
    few = rows(spot, inputs, weight.shape, np.random.default_rng(0), 4)
    assert few.shape[1] == 4


def test_a_layer_that_is_used_twice_is_rounded_once():
    from tests.compression import models

    task = models.task(models.Reused)
    floats = exported(task)
    technique = PostTrainingQuantization(weight_bits=4, **FINE)
    model = technique.on_onnx(floats, Run(task))
    stored = [n for n in model.graph.initializer if n.name == "twice.weight_quantized"]
    assert [i.data_type for i in stored] == [TensorProto.INT4]
    assert off(model, floats, task) < 0.5
