"""Values, errors and differences of graphs, layer by layer."""

from __future__ import annotations

import functools
import math

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from paretune.compression.post_training_quantization import PostTrainingQuantization
from paretune.core.candidate import Candidate
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.infrastructure.formats._layers import (
    first_divergence,
    local_errors,
    observed,
    quantized_layers,
    with_only,
)
from tests.compression import models
from tests.toys import ConvNet, PairNet, ResNet, SignalNet, TextNet

FAMILIES = {
    "plain": ConvNet,
    "residual": ResNet,
    "signal": SignalNet,
    "text": TextNet,
    "table": PairNet,
    "recurrent": functools.partial(models.task, models.Recurrent),
}
SCHEMES = ("static_int8", "dynamic_int8", "float16", "half arithmetic")
CASES = [(family, scheme) for family in FAMILIES for scheme in SCHEMES]


@functools.cache
def source(family: str) -> onnx.ModelProto:
    task = FAMILIES[family]()
    return onnx_format.from_torch(Candidate(task.model(), "torch"), task).model


@functools.cache
def quantized(family: str, scheme: str) -> onnx.ModelProto:
    if scheme == "half arithmetic":
        model = copied(source(family))
        return convert_float_to_float16(model, keep_io_types=family != "signal")
    technique = PostTrainingQuantization(scheme=scheme)
    return technique.on_onnx(source(family), Run(FAMILIES[family]()))


@functools.cache
def inputs(family: str) -> dict[str, np.ndarray]:
    arrays = as_arrays(FAMILIES[family]().split("validation")[0], "input")
    return {name: array[:24] for name, array in arrays.items()}


def copied(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def put(model, name, how):
    tensor = next(i for i in model.graph.initializer if i.name == name)
    array = how(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))
    return model


def outputs(model, family):
    names = [o.name for o in source(family).graph.output]
    return observed(model, inputs(family), names)


def off(model, family):
    got, wanted = outputs(model, family), outputs(source(family), family)
    return max(
        np.linalg.norm(got[n].astype(float) - a) / np.linalg.norm(a)
        for n, a in wanted.items()
    )


def test_every_value_of_a_graph_is_observed_or_those_that_are_asked_for():
    model, given = source("residual"), inputs("residual")
    every = observed(model, given)
    assert every.keys() == {v for n in model.graph.node for v in n.output}
    np.testing.assert_array_equal(every["relu"], np.maximum(every["getitem"], 0))
    some = observed(model, given, ["relu", "input", "absent"])
    assert some.keys() == {"relu", "input"}
    np.testing.assert_array_equal(some["relu"], every["relu"])


def test_a_graph_with_a_branch_inside_is_observed():
    """What a graph inside a node reads can be fed as well."""
    inner = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["h"], ["y"])],
            name,
            [],
            [helper.make_tensor_value_info("y", 1, ["n", 3])],
        )
        for name, op in (("then", "Neg"), ("else", "Abs"))
    }
    flag = numpy_helper.from_array(np.array(True), "flag")
    nodes = [
        helper.make_node("Relu", ["x"], ["h"], "first/Relu"),
        helper.make_node("If", ["flag"], ["y_"], "second/If", **inner),
    ]
    ends = [helper.make_tensor_value_info(n, 1, ["n", 3]) for n in ("x", "y_")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [flag])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    given = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}
    assert [e.error for e in local_errors(model, model, given)] == [0.0, 0.0]
    wrong = copied(model)
    wrong.graph.node[0].op_type = "Neg"
    assert first_divergence(wrong, model, given, 1e-4).name == "first/Relu"
    assert [e.error > 0 for e in local_errors(wrong, model, given)] == [True, False]


@pytest.mark.parametrize(("family", "scheme"), CASES)
def test_the_error_of_each_layer_is_small_and_its_own(family, scheme):
    found = local_errors(quantized(family, scheme), source(family), inputs(family))
    names = {n.name for n in source(family).graph.node}
    order = [v for n in source(family).graph.node for v in n.output]
    assert [e.output for e in found] == [v for v in order if v in known(found)]
    assert known(found) >= {o.name for o in source(family).graph.output}
    assert all(e.name in names for e in found)
    worst = max(e.error for e in found)
    assert 1e-5 < worst < (2e-3 if "int8" not in scheme else 0.03)
    for e in found:
        assert e.sqnr_db == (math.inf if not e.error else -20 * math.log10(e.error))
        assert abs(e.offset) <= 20 * e.error


def known(found):
    return {e.output for e in found}


@pytest.mark.parametrize("scheme", ["static_int8", "dynamic_int8", "float16"])
def test_a_fault_in_one_layer_is_seen_in_that_layer_alone(scheme):
    right = quantized("text", scheme)
    wrong, layer = copied(right), "layers.0.mlp.2"
    suffix = "float16" if scheme == "float16" else "scale"

    def double(values):
        values[..., 5] *= 2
        return values

    put(wrong, f"{layer}.weight_{suffix}", double)
    before, after = (
        {e.output: e for e in local_errors(m, source("text"), inputs("text"))}
        for m in (right, wrong)
    )
    changed = [v for v, e in after.items() if e.error > before[v].error + 1e-6]
    assert [after[v].name for v in changed] == [f"{layer}/MatMul"]
    (value,) = changed
    assert after[value].channel == 5 and after[value].op_type == "MatMul"
    assert after[value].channel_error == pytest.approx(1.0, abs=0.2)


def test_channels_of_convolutions_are_axis_1_and_a_bias_shows_as_an_offset():
    def higher(values):
        values[3] += 1000
        return values

    source_ = source("plain")
    (head,) = (n for n in source_.graph.node if n.op_type == "Gemm")
    wrong = put(copied(source_), head.input[2], lambda b: b + np.eye(3, dtype="f4")[1])
    (found,) = (e for e in local_errors(wrong, source_, inputs("plain")) if e.error)
    assert (found.name, found.channel) == (head.name, 1) and found.offset > 0
    weight = next(i.name for i in source_.graph.initializer if len(i.dims) == 4)
    wrong = put(copied(source_), weight, higher)
    found = first_divergence(wrong, source_, inputs("plain"), 1e-4)
    assert (found.name, found.channel) == ("0/Conv", 3)
    assert str(found).startswith("first differs at 0/Conv, channel 3: ")


def test_graphs_that_agree_have_no_first_difference():
    model = source("text")
    assert first_divergence(model, model, inputs("text"), 1e-6) is None
    other = quantized("text", "float16")
    assert first_divergence(other, model, inputs("text"), 0.1) is None
    assert first_divergence(other, model, inputs("text"), 1e-6).name == "embed/Gather"


def test_a_layer_that_is_left_out_is_named_by_what_is_missing():
    wrong = copied(source("text"))
    (add,) = (n for n in wrong.graph.node if n.name == "layers.0.attention.qkv/Add")
    for node in wrong.graph.node:
        node.input[:] = [add.input[0] if v == add.output[0] else v for v in node.input]
    wrong.graph.node.remove(add)
    found = first_divergence(wrong, source("text"), inputs("text"), 1e-4)
    assert found.name == "layers.0.attention.qkv/Add"


@pytest.mark.parametrize(("family", "scheme"), CASES)
def test_layers_that_are_quantized_are_those_with_weights(family, scheme):
    layers = quantized_layers(quantized(family, scheme))
    kinds = {n.name: n.op_type for n in source(family).graph.node}
    found = [kinds[layer] for layer in layers]
    wanted = {
        "static_int8": {"Conv", "MatMul", "Gemm", "Gather"},
        "dynamic_int8": {"MatMul", "Gemm", "Gather", "LSTM"},
    }.get(scheme, {"Conv", "MatMul", "Gemm", "Gather", "LSTM"})
    constant = {i.name for i in source(family).graph.initializer if len(i.dims) > 1}
    assert found == [
        n.op_type
        for n in source(family).graph.node
        if n.op_type in wanted and constant.intersection(n.input)
    ]


@pytest.mark.parametrize(("family", "scheme"), CASES)
def test_layers_can_be_quantized_one_at_a_time(family, scheme):
    model, float_ = quantized(family, scheme), source(family)
    layers = quantized_layers(model)
    assert off(with_only(model, float_, []), family) == 0.0
    whole, every = off(model, family), off(with_only(model, float_, layers), family)
    assert 0.3 * whole < every < 1.5 * whole
    for layer in layers[:3] + layers[-1:]:
        alone = with_only(model, float_, [layer])
        onnx.checker.check_model(alone)
        assert 0.0 < off(alone, family) < 4 * whole
        names = [n.name for n in alone.graph.node]
        assert len(set(names)) == len(names)
        ends = [o.name for o in alone.graph.output]
        assert ends == [o.name for o in float_.graph.output]
