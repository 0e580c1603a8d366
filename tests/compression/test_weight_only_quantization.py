from __future__ import annotations

import functools
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    DefaultWeightOnlyQuantizer,
)
from torch import nn

from paretune.compression._precision import blocks
from paretune.compression._precision.moments import of
from paretune.compression._precision.weight_only import stored_bytes
from paretune.compression._quantization.choice import prepare
from paretune.compression.weight_only_quantization import WeightOnlyQuantization
from paretune.core.candidate import Candidate
from paretune.core.errors import UnsupportedError
from paretune.core.target import Target
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats import _columns
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.infrastructure.runtimes.onnxruntime import OnnxRuntime
from paretune.tasks.fashion import Fashion
from tests.compression import models
from tests.toys import Classes, ConvNet, PairNet, TextNet


class Wide(Classes):
    """Linear layers that are most of what there is."""

    name = "wide"
    shape = (200,)

    def model(self):
        torch.manual_seed(0)
        layers = (nn.Linear(200, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
        return nn.Sequential(*layers, nn.Linear(256, 3)).eval()


@functools.cache
def exported(make) -> Candidate:
    task = make()
    return onnx_format.from_torch(Candidate(task.model(), "torch"), task)


def quantized(make, **parameters) -> Candidate:
    return WeightOnlyQuantization(**parameters).apply(exported(make), Run(make()))


def answers(model: onnx.ModelProto, inputs) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, as_arrays(inputs, "input"))[0]


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(n.op_type for n in model.graph.node)


def noise(make, model: onnx.ModelProto, split="validation") -> float:
    inputs = make().split(split)[0]
    wanted = answers(exported(make).model, inputs)
    apart = answers(model, inputs) - wanted
    return float((apart**2).sum() / (wanted**2).sum())


def test_every_linear_and_embedding_layer_of_an_encoder_is_in_blocks():
    found = operators(quantized(TextNet).model)
    assert found["MatMulNBits"] == 9 and found["GatherBlockQuantized"] == 1
    assert not found["Gemm"]
    # What is left of float products has no weights: attention itself.
    assert found["MatMul"] == 4


def test_files_shrink_by_what_blocks_promise(tmp_path):
    task = Wide()
    whole = onnx_format.write(exported(Wide), task, tmp_path).size
    for bits, block, ratio in ((4, 32, 5.8), (4, 64, 6.0), (8, 32, 3.3)):
        small = quantized(Wide, bits=bits, block=block)
        assert whole / onnx_format.write(small, task, tmp_path).size > ratio


def test_quality_of_a_real_model_is_kept(tmp_path):
    task, (images, labels) = Fashion(), Fashion().split("validation")
    images, labels = images[:1000], labels[:1000]

    def right(model):
        return float((answers(model, images).argmax(-1) == labels).mean())

    before = right(exported(Fashion).model)
    four, eight = (quantized(Fashion, bits=bits) for bits in (4, 8))
    assert (
        operators(four.model)["MatMulNBits"]
        == operators(exported(Fashion).model)["Gemm"]
    )
    assert right(four.model) > before - 0.01
    assert right(eight.model) > before - 0.003
    sizes = [
        onnx_format.write(candidate, task, tmp_path).size
        for candidate in (exported(Fashion), eight, four)
    ]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("symmetric", [True, False])
def test_adaptive_rounding_loses_less_than_the_nearest(symmetric):
    near, adaptive = (
        quantized(TextNet, symmetric=symmetric, rounding=rounding, keep_float="embed")
        for rounding in ("nearest", "adaptive")
    )
    assert noise(TextNet, adaptive.model) < 0.8 * noise(TextNet, near.model)


@pytest.mark.parametrize("bits", [4, 8])
def test_smaller_blocks_and_zero_points_lose_less(bits):
    weight = np.random.default_rng(0).normal(size=(200, 128)).astype(np.float32) + 0.5

    def error(block, symmetric):
        found = blocks.rounded(weight, bits, block, symmetric).values()
        return float(((found - weight) ** 2).sum() / (weight**2).sum())

    lost = [error(block, True) for block in (16, 32, 64, 128)]
    assert lost == sorted(lost) and lost[-1] < (2e-2 if bits == 4 else 1e-4)
    assert error(32, False) < lost[1]


def test_the_profiler_tells_the_number_format(tmp_path):
    feed = as_arrays(TextNet().split("validation")[0][:1], "input")
    for bits in (4, 8):
        made = onnx_format.write(quantized(TextNet, bits=bits), TextNet(), tmp_path)
        timed = OnnxRuntime().profile(made, Target(), [feed], 20)
        narrow = {o.op: o.dtype for o in timed if o.dtype.startswith("int")}
        assert narrow["MatMulNBits"] == narrow["GatherBlockQuantized"] == f"int{bits}"


@pytest.mark.parametrize("make", [TextNet, PairNet, Wide])
@pytest.mark.parametrize("how", [{}, {"symmetric": False}, {"bits": 8, "block": 16}])
def test_counts_are_those_of_the_float_model(make, how):
    counted = onnx_format.count(exported(make), make())
    assert onnx_format.count(quantized(make, **how), make()) == counted


def test_a_layer_that_is_kept_is_left_alone():
    model = quantized(TextNet, keep_float="layers.0.*, embed").model
    found = operators(model)
    assert found["MatMulNBits"] == 5 and found["Gather"] >= 1
    assert "GatherBlockQuantized" not in found


def test_weights_that_two_layers_share_and_odd_sizes_run():
    make = functools.partial(models.task, models.Separate)
    model = quantized(make).model
    inputs = make().split("validation")[0]
    assert np.isfinite(answers(model, inputs)).all()


def test_where_nothing_gains_it_says_so():
    with pytest.raises(UnsupportedError, match=r"\[not-applicable\].*leave this step"):
        quantized(ConvNet, keep_float="Gemm")


def test_alpha_and_beta_of_a_product_are_kept():
    text = (
        '<ir_version: 8, opset_import: ["": 17]>'
        "g (float[n, 32] x) => (float[n, 4] y) <float[32, 4] w, float[1, 4] b>"
        "{ y = Gemm<alpha = 0.5, beta = 2.0>(x, w, b) }"
    )
    model = onnx.parser.parse_model(text.replace("<float[32, 4] w, float[1, 4] b>", ""))
    rng = np.random.default_rng(0)
    for name, shape in (("w", (32, 4)), ("b", (1, 4))):
        values = rng.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    x = rng.normal(size=(5, 32)).astype(np.float32)
    small = WeightOnlyQuantization(bits=8).on_onnx(model, Run(Wide()))
    wanted, got = (
        onnxruntime.InferenceSession(m.SerializeToString()).run(None, {"x": x})[0]
        for m in (model, small)
    )
    assert np.abs(got - wanted).max() < 0.02 * np.abs(wanted).max()


weights = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=70),
    elements=st.one_of(st.just(0.0), st.floats(-8, 8, width=32)),
)


@given(weights, st.sampled_from([4, 8]), st.sampled_from([16, 32]), st.booleans())
def test_a_weight_is_half_a_step_off_at_most_and_zeros_stay(
    weight, bits, block, symmetric
):
    found = blocks.rounded(weight, bits, block, symmetric)
    values, step = found.values(), np.abs(found.spread(found.scale))
    # The largest weight of the other sign may be one step beyond the range.
    most = 1.0 if symmetric else 0.5
    assert (np.abs(values - weight) <= (most + 1e-3) * step).all()
    assert (values[weight == 0] == 0).all()
    size = stored_bytes(weight.shape, bits, block, symmetric)
    assert size * 8 >= bits * weight.size


@given(weights, st.integers(0, 3))
@settings(max_examples=30)
def test_adaptive_rounding_is_never_worse_for_what_it_was_made_for(weight, seed):
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(40, weight.shape[1]))
    moments = seen.T @ seen / 40 + 1e-2 * np.eye(weight.shape[1])
    own = blocks.rounded(weight, 8, 16, True, moments).values() - weight
    near = blocks.rounded(weight, 8, 16, True).values() - weight
    own, near = own.astype(float), near.astype(float)
    assert np.trace(own @ moments @ own.T) <= np.trace(near @ moments @ near.T) + 1e-6
    assert (own[weight == 0] == 0).all()


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_rounding_agrees_with_the_runtimes_own(bits, symmetric):
    weight = np.random.default_rng(0).normal(size=(64, 24)).astype(np.float32)
    config = DefaultWeightOnlyQuantConfig(32, symmetric, bits=bits)
    packed, scale, zero = DefaultWeightOnlyQuantizer(config).qbits_block_quant(weight)
    own = blocks.rounded(np.ascontiguousarray(weight.T), bits, 32, symmetric)
    assert np.allclose(own.scale, scale, rtol=1e-6)
    if not symmetric:
        assert np.array_equal(blocks.packed(own.zero, bits), zero)
    mine = blocks.packed(own.levels, bits).reshape(packed.shape)
    assert (mine != packed).mean() < 0.01  # ties fall either way


def test_moments_of_several_layers_come_from_one_pass(monkeypatch):
    graph, run = prepare(exported(TextNet).model), Run(TextNet())
    inputs = {n.input[0]: 32 for n in graph.graph.node if n.op_type == "Gemm"}
    inputs |= (
        {"layer_norm": 32}
        if "layer_norm" in {v for n in graph.graph.node for v in n.output}
        else {}
    )
    together = of(graph, inputs, run, 64)
    monkeypatch.setattr("paretune.compression._precision.moments.VALUES", 1)
    apart = of(graph, inputs, run, 64)
    assert together.keys() == apart.keys() == inputs.keys()
    for name, moments in together.items():
        assert np.allclose(moments, apart[name])
        assert np.linalg.eigvalsh(moments).min() > 0


def test_wide_layers_are_rounded_to_the_nearest(monkeypatch):
    said = []
    run = Run(Wide(), progress=lambda what, share: said.append(what))

    def levels(how):
        step = WeightOnlyQuantization(rounding=how)
        weights = step.on_onnx(exported(Wide).model, run).graph.initializer
        found = [numpy_helper.to_array(i) for i in weights]
        return [values for values in found if values.dtype == np.uint8]

    fine, near = levels("adaptive"), levels("nearest")
    assert not any("too wide" in text for text in said)
    monkeypatch.setattr(_columns, "MOST", 220)
    mixed = levels("adaptive")
    assert any(
        t.startswith("rounded to the nearest, as too wide: inputs ") for t in said
    )
    assert np.array_equal(mixed[0], fine[0]) and not np.array_equal(fine[0], near[0])
    for own, nearest in zip(mixed[1:], near[1:], strict=True):
        assert np.array_equal(own, nearest)
