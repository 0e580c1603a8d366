"""What rounding explains passes, whatever the technique; what it doesn't is named."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from paretune.compression.post_training_quantization import PostTrainingQuantization
from paretune.core.candidate import Candidate
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats import _rounding
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.infrastructure.formats._layers import forced_values, observed
from paretune.measurement._divergence import look
from paretune.measurement._reasons import Graphs, explain
from tests.compression import models
from tests.compression import separable as separables
from tests.compression.separable import Clothes, uneven
from tests.toys import ConvNet, PairNet, ResNet, SignalNet, TextNet

FAMILIES = {
    "residual": ResNet,
    "signal": SignalNet,
    "text": TextNet,
    "table": PairNet,
    "depthwise": functools.partial(models.task, models.Depthwise),
    "gated": functools.partial(models.task, models.Gated),
    "recurrent": functools.partial(models.task, models.Recurrent),
    "language": functools.partial(models.task, models.Llama),
}
SCHEMES = (
    {},
    {"weight_bits": 7},
    {"calibration": "percentile"},
    {"calibration": "entropy"},
    {"scheme": "dynamic_int8"},
    {"scheme": "float16"},
)


@functools.cache
def exported(family: str) -> onnx.ModelProto:
    task = FAMILIES[family]()
    return onnx_format.from_torch(Candidate(task.model(), "torch"), task).model


def quantized(family, source=None, **how) -> onnx.ModelProto:
    technique = PostTrainingQuantization(**how)
    return technique.on_onnx(source or exported(family), Run(FAMILIES[family]()))


@functools.cache
def inputs(family: str):
    arrays = as_arrays(FAMILIES[family]().split("validation")[0], "input")
    return {name: array[:32] for name, array in arrays.items()}


def wrong(family, model):
    return look(model, exported(family), inputs(family)).wrong


def initializer(model, name):
    return next(i for i in model.graph.initializer if i.name == name)


def values(model, name):
    return numpy_helper.to_array(initializer(model, name)).copy()


def put(model, name, array):
    tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
    initializer(model, name).CopyFrom(tensor)


def copied(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", SCHEMES, ids=str)
def test_rounding_to_the_nearest_is_explained(family, how):
    try:
        model = quantized(family, **how)
    except Exception as error:
        pytest.skip(str(error))
    assert wrong(family, model) is None


CONVOLUTIONS = [n.name for n in exported("residual").graph.node if n.op_type == "Conv"]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(CONVOLUTIONS), st.integers(0, 15), st.sampled_from([0.5, 2, -1]))
def test_a_scale_that_is_off_by_2_or_by_its_sign_is_found_where_it_is(
    layer, at, factor
):
    model = copied(quantized_residual())
    name = f"{layer.removesuffix('/Conv')}.weight_scale"
    scale = values(model, name)
    scale[at] *= factor
    put(model, name, scale)
    found = wrong("residual", model)
    assert (found.name, found.channel) == (layer, at)
    assert found.error > 2 * found.limit
    assert f"first differs at {layer}, channel {at}: " in str(found)


@functools.cache
def quantized_residual():
    return quantized("residual")


@pytest.mark.parametrize("amount", [1, 2])
@pytest.mark.parametrize("name", ["3.conv1.weight", "4.conv2.weight"])
def test_a_zero_point_that_is_off_is_found(name, amount):
    model = copied(quantized_residual())
    put(
        model,
        f"{name}_zero_point",
        values(model, f"{name}_zero_point") + np.int8(amount),
    )
    assert wrong("residual", model).name == name.replace(".weight", "/Conv")


def test_two_scales_for_one_activation_are_found():
    model = copied(quantized_residual())
    put_twice(model, "relu_1", lambda a: a * np.float32(1.1))
    found = wrong("residual", model)
    assert found.name == "3.conv1/Conv" and found.channel is None
    assert "quantized output" in str(found)


def put_twice(model, value, change):
    (node,) = (n for n in model.graph.node if n.name == f"{value}_DequantizeLinear")
    tensor = numpy_helper.from_array(change(values(model, node.input[1])), "other")
    model.graph.initializer.append(tensor)
    node.input[1] = "other"


def test_a_range_that_cuts_most_of_an_activation_off_is_found():
    model = copied(quantized_residual())
    put(model, "relu_1_scale", values(model, "relu_1_scale") / np.float32(16))
    found = wrong("residual", model)
    assert found.name == "3.conv1/Conv" and "cuts off" in str(found)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32 - 1), st.sampled_from(["residual", "text", "signal"]))
def test_weights_may_be_rounded_up_or_down(seed, family):
    """As by a technique that is no better than rounding to the nearest."""
    rng, source = np.random.default_rng(seed), exported(family)
    model = copied(quantized(family))
    for node in model.graph.node:
        name = node.input[0]
        if node.op_type != "DequantizeLinear" or not name.endswith(".weight_quantized"):
            continue
        if "embed" in name:
            continue
        stored, scale = values(model, name), values(model, node.input[1])
        weight = values(source, name.removesuffix("_quantized"))
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        shape = [1] * weight.ndim
        shape[axis] = -1
        exact = weight / scale.reshape(shape)
        either = np.round(exact + rng.uniform(-0.3, 0.3, exact.shape))
        put(model, name, np.clip(either, -127, 127).astype(stored.dtype))
    assert wrong(family, model) is None


def test_biases_may_be_corrected():
    """A mean error of the output is taken off the bias."""
    source, model = exported("table"), copied(quantized("table"))
    seen = observed(source, inputs("table"))
    own = forced_values(model, seen, inputs("table"))
    for output, layer in (("linear", "left"), ("label", "label"), ("value", "value")):
        error = (own[output] - seen[output]).mean(0)
        scale = values(model, f"{layer}.bias_quantized_scale")
        stored = values(model, f"{layer}.bias_quantized") - np.round(error / scale)
        put(model, f"{layer}.bias_quantized", stored.astype(np.int32))
    assert wrong("table", model) is None


def equalised(source, first, second, factors):
    """Channels larger after one convolution, and smaller weights in the next."""
    model = copied(source)
    weight = values(model, f"{first}.weight")
    put(model, f"{first}.weight", weight * factors[:, None, None, None])
    if any(i.name == f"{first}.bias" for i in model.graph.initializer):
        put(model, f"{first}.bias", values(model, f"{first}.bias") * factors)
    after = values(model, f"{second}.weight")
    put(model, f"{second}.weight", after / factors[None, :, None, None])
    return model


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32 - 1))
def test_channels_may_be_equalised_between_layers(seed):
    rng = np.random.default_rng(seed)
    moved = exported("residual")
    for block in ("3", "4"):
        factors = np.exp2(rng.uniform(-2, 2, 16)).astype(np.float32)
        moved = equalised(moved, f"{block}.conv1", f"{block}.conv2", factors)
    for how in ({}, {"scheme": "float16"}):
        assert wrong("residual", quantized("residual", moved, **how)) is None


def test_a_factor_that_nothing_takes_back_is_no_equalisation():
    for factors in (np.full(16, 2.0), np.where(np.arange(16) == 5, 2.0, 1.0)):
        moved = copied(exported("residual"))
        weight = values(moved, "3.conv1.weight")
        put(
            moved,
            "3.conv1.weight",
            (weight * factors[:, None, None, None]).astype(np.float32),
        )
        found = wrong("residual", quantized("residual", moved))
        assert found.name == "3.conv1/Conv"


def four_bits(model, weight, block=0):
    """The weights of a product as DequantizeLinear of int4, with a scale a column."""
    model = copied(model)
    array = values(model, weight)
    rows = array.reshape(-1, block or len(array), array.shape[1])
    scale = np.abs(rows).max(1, keepdims=True) / 7
    stored = np.clip(np.round(rows / scale), -7, 7).reshape(array.shape).astype(np.int8)
    model.graph.initializer.remove(initializer(model, weight))
    narrow = helper.make_tensor(f"{weight}_q", TensorProto.INT4, array.shape, stored)
    scales = (scale[:, 0] if block else scale[0, 0]).astype(np.float32)
    model.graph.initializer.extend(
        [narrow, numpy_helper.from_array(scales, f"{weight}_s")]
    )
    grid = {"axis": 0, "block_size": block} if block else {"axis": 1}
    node = helper.make_node(
        "DequantizeLinear",
        [f"{weight}_q", f"{weight}_s"],
        [weight],
        f"{weight}_dq",
        **grid,
    )
    model.graph.node.insert(0, node)
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", 21)])
    return model


@pytest.mark.parametrize("block", [0, 16])
def test_weights_of_4_bits_are_explained_and_a_wrong_scale_is_not(block):
    weight, layer = "layers.0.mlp.0.weight", "layers.0.mlp.0/MatMul"
    model = four_bits(exported("text"), weight, block)
    assert wrong("text", model) is None
    scale = values(model, f"{weight}_s")
    put(model, f"{weight}_s", scale * np.float32(2))
    assert wrong("text", model).name == layer


def test_weights_in_a_layout_that_is_not_known_are_left_to_the_outputs():
    source = exported("text")
    model, weight = copied(source), "layers.0.mlp.0.weight"
    array = values(model, weight)  # (32, 64)
    scale = np.abs(array).max(0) / 7
    stored = np.round(array / scale).astype(np.int8) + 8
    low, high = stored.T[:, ::2], stored.T[:, 1::2]
    packed = (low | (high << 4)).astype(np.uint8).reshape(64, 1, 16)
    (node,) = (n for n in model.graph.node if weight in n.input)
    packed_node = helper.make_node(
        "MatMulNBits",
        [node.input[0], "packed", "scales"],
        list(node.output),
        node.name,
        domain="com.microsoft",
        K=32,
        N=64,
        bits=4,
        block_size=32,
    )
    node.CopyFrom(packed_node)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(packed, "packed"),
            numpy_helper.from_array(scale.astype(np.float32), "scales"),
        ]
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert wrong("text", model) is None


def test_a_bias_that_is_left_out_and_a_changed_mean_are_named():
    model = copied(quantized("text", scheme="dynamic_int8"))
    (add,) = (n for n in model.graph.node if n.name == "layers.1.mlp.0/Add")
    for node in model.graph.node:
        node.input[:] = [add.input[0] if v == add.output[0] else v for v in node.input]
    model.graph.node.remove(add)
    assert wrong("text", model).name == "layers.1.mlp.0/Add"


def test_outputs_that_change_places_are_found():
    model = copied(quantized("table"))
    names = {"value": "label", "label": "value"}
    for node in model.graph.node:
        node.output[:] = [names.get(v, v) for v in node.output]
    assert wrong("table", model).name in ("value/Gemm", "label/Gemm")


def test_a_float_artifact_is_compared_with_a_fresh_export():
    source, given = exported("residual"), inputs("residual")
    model = copied(source)
    weight = values(model, "4.conv1.weight")
    weight[7] *= 2
    put(model, "4.conv1.weight", weight)
    got = observed(source, given, ["output"])
    said = explain(Graphs(model, lambda: source), given, got, 1e-4)
    assert said.startswith("first differs at 4.conv1/Conv, channel 7: ")
    said = explain(Graphs(source, lambda: source), given, got, 1e-4)
    assert "exporter or the runtime" in said
    other = {"output": got["output"] * 2}
    said = explain(Graphs(source, lambda: source), given, other, 1e-4)
    assert "'output' of the file" in said
    assert explain(Graphs(model, lambda: None), given, got, 1e-4) == ""
    assert explain(Graphs(b"no graph", lambda: source), given, got, 1e-4) == ""


def test_a_graph_that_can_not_be_taken_apart_is_left_to_the_outputs():
    seen = look(copied(exported("text")), exported("residual"), inputs("residual"))
    assert seen.wrong is None and seen.layers == 0


def test_a_layer_of_another_shape_is_named():
    model = copied(quantized_residual())
    name = "3.conv1.weight"
    put(model, f"{name}_quantized", values(model, f"{name}_quantized")[:12])
    for part in ("scale", "zero_point"):
        put(model, f"{name}_{part}", values(model, f"{name}_{part}")[:12])
    weight = "3.conv2.weight_quantized"
    put(model, weight, values(model, weight)[:, :12])
    assert wrong("residual", model).name == "3.conv1/Conv"


def test_a_convolution_net_takes_less_than_half_a_second():
    import time

    assert "residual" in FAMILIES and ConvNet.batch
    model = quantized_residual()
    wrong("residual", model)
    begin = time.process_time()
    wrong("residual", model)
    assert time.process_time() - begin < 0.5


NARROW = {"weight_bits": 4}


@functools.cache
def separable(change=None, **how):
    """A depthwise-separable net's graphs and inputs: (quantized, float, inputs)."""
    task = Clothes(change) if change else Clothes()
    source = separables.exported(task)
    arrays = as_arrays(next(iter(task.batches("validation")))[0], "input")
    return separables.quantized(task, source, **how), source, arrays


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize(
    ("change", "layer", "channel"),
    [
        (None, "features.0", 5),
        (None, "features.6", 9),
        (None, "features.12", 12),
        (None, "features.18", 11),
        (None, "head", 3),
        (uneven, "features.9", 17),
        (uneven, "features.18", 50),
    ],
)
def test_a_wrong_scale_of_4_bit_weights_is_excused_by_no_factors_before_it(
    change, layer, channel, factor
):
    right, source, given = separable(change, **NARROW)
    assert look(right, source, given).wrong is None
    model, name = copied(right), f"{layer}.weight_scale"
    scale = values(model, name)
    if change is uneven and factor == 2:
        factor = 16
    scale[channel % len(scale)] *= np.float32(factor)
    put(model, name, scale)
    assert look(model, source, given).wrong is not None


def test_hidden_factors_that_are_taken_back_are_found_in_few_runs(monkeypatch):
    runs, compare = [], _rounding.compare
    monkeypatch.setattr(
        _rounding, "compare", lambda *args: runs.append(1) or compare(*args)
    )
    how = {**NARROW, "equalise": True, "rounding": "adaptive"}
    seen = look(*separable(uneven, **how))
    assert seen.wrong is None and seen.layers == 10
    assert len(runs) <= 2 * seen.layers
