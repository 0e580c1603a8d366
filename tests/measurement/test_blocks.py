"""Weights in blocks: what rounding explains passes, and what it doesn't is named."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from paretune.catalog import usable_runtime
from paretune.compression.mixed_precision import MixedPrecision
from paretune.compression.weight_only_quantization import WeightOnlyQuantization
from paretune.core.candidate import Candidate
from paretune.core.errors import ParityError
from paretune.core.target import Target
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.infrastructure.runtimes.torch_eager import TorchEager
from paretune.measurement._divergence import look
from paretune.measurement._parity import check
from paretune.measurement._reasons import Graphs
from tests.compression import models
from tests.toys import TextNet

FAMILIES = {
    "text": TextNet,
    "tied": functools.partial(models.task, models.Separate),
    "language": functools.partial(models.task, models.Llama),
    "flat": functools.partial(models.task, models.Flattened),
}
HOW = (
    {},
    {"bits": 8},
    {"bits": 8, "block": 16},
    {"symmetric": False},
    {"bits": 8, "symmetric": False},
    {"rounding": "adaptive"},
    {"rounding": "adaptive", "symmetric": False, "block": 16},
)


@functools.cache
def exported(family: str) -> onnx.ModelProto:
    task = FAMILIES[family]()
    return onnx_format.from_torch(Candidate(task.model(), "torch"), task).model


@functools.cache
def quantized(family: str, **how) -> onnx.ModelProto:
    technique = WeightOnlyQuantization(**how)
    return technique.on_onnx(exported(family), Run(FAMILIES[family]()))


def seen(family: str, model: onnx.ModelProto):
    inputs = as_arrays(FAMILIES[family]().split("validation")[0], "input")
    return look(model, exported(family), inputs)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", HOW, ids=str)
def test_rounding_in_blocks_is_explained(family, how):
    found = seen(family, quantized(family, **how))
    assert found.wrong is None
    assert found.layers > 0


def in_blocks(model: onnx.ModelProto, op_type: str) -> list[onnx.NodeProto]:
    return [n for n in model.graph.node if n.op_type == op_type]


PRODUCTS = [n.name for n in in_blocks(quantized("text"), "MatMulNBits")]


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(PRODUCTS),
    st.integers(0, 31),
    st.sampled_from([0.5, 2.0, -1.0]),
    st.sampled_from([4, 8]),
)
def test_a_wrong_scale_of_a_product_is_found_where_it_is(layer, at, factor, bits):
    model = onnx.ModelProto()
    model.CopyFrom(quantized("text", bits=bits))
    (node,) = (n for n in model.graph.node if n.name == layer)
    channel = spoil(model, node.input[2], at, factor)
    found = seen("text", model).wrong
    assert (found.name, found.channel) == (layer, channel)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_wrong_scale_of_an_embedding_is_found(bits):
    model = onnx.ModelProto()
    model.CopyFrom(quantized("text", bits=bits))
    (node,) = in_blocks(model, "GatherBlockQuantized")
    for entry in range(50):
        spoil(model, node.input[2], entry, 2.0)
    assert seen("text", model).wrong.name == "embed/Gather"


def test_levels_that_are_off_by_one_are_found():
    model = onnx.ModelProto()
    model.CopyFrom(quantized("text", bits=8))
    node = in_blocks(model, "MatMulNBits")[2]
    (levels,) = (i for i in model.graph.initializer if i.name == node.input[1])
    values = numpy_helper.to_array(levels).copy()
    values[5] = np.roll(values[5], 1, -1)
    levels.CopyFrom(numpy_helper.from_array(values, levels.name))
    found = seen("text", model).wrong
    assert (found.name, found.channel) == (node.name, 5)


def spoil(model: onnx.ModelProto, name: str, at: int, factor: float) -> int:
    """Changes the scales of one channel."""
    (scale,) = (i for i in model.graph.initializer if i.name == name)
    values = numpy_helper.to_array(scale).copy()
    at %= len(values)
    values[at] *= np.float32(factor)
    scale.CopyFrom(numpy_helper.from_array(values, name))
    return at


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("technique", [WeightOnlyQuantization(), MixedPrecision()])
def test_a_written_file_passes_unless_a_scale_is_wrong(technique, wrong, tmp_path):
    task, source = TextNet(), exported("text")
    if isinstance(technique, MixedPrecision):
        technique = MixedPrecision(budget=0.3, samples=16)
    model = technique.on_onnx(source, Run(task))
    node = in_blocks(model, "MatMulNBits")[1]
    if wrong:
        spoil(model, node.input[2], 7, 2.0)
    made = onnx_format.write(Candidate(model, "onnx"), task, tmp_path)
    parts = (
        TorchEager().session(task.model()),
        usable_runtime("onnxruntime").load(made, Target()),
        [as_arrays(inputs, "input") for inputs, _ in task.batches("validation")],
    )
    graphs = Graphs(model, lambda: source)
    if not wrong:
        assert check(*parts, quantized=True, graphs=graphs)["layers"] > 0
        return
    with pytest.raises(ParityError, match=f"{node.name}, channel 7"):
        check(*parts, quantized=True, graphs=graphs)
