"""Weights in their smallest form give the same bits, and the runtime restores them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from paretune.compression.post_training_quantization import PostTrainingQuantization
from paretune.core.candidate import Candidate
from paretune.core.technique import Run
from paretune.infrastructure.formats import _encoding
from paretune.infrastructure.formats import onnx as onnx_format
from tests.toys import Classes, ConvNet

TYPES = (np.float32, np.float16, np.int8, np.uint8)


def holding(weight: np.ndarray) -> onnx.ModelProto:
    """A model that gives the sum of its input, as many numbers, and one weight."""
    kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
    x, y = (
        helper.make_tensor_value_info(name, kind, list(weight.shape)) for name in "xy"
    )
    graph = helper.make_graph(
        [helper.make_node("Where", ["c", "x", "w"], ["y"], "pick")],
        "g",
        [helper.make_tensor_value_info("c", TensorProto.BOOL, [1]), x],
        [y],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


def encoded(model: onnx.ModelProto, packed: bool = False) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _encoding.encode(copy, packed)
    return copy


def session(model: onnx.ModelProto, save: str = "") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = save
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def seen(model: onnx.ModelProto, like: np.ndarray) -> np.ndarray:
    """The weight as the runtime has it."""
    feed = {"c": np.zeros(1, bool), "x": np.zeros_like(like)}
    (found,) = session(model).run(None, feed)
    return found


def bits(array: np.ndarray) -> tuple:
    return array.dtype, array.shape, array.tobytes()


@st.composite
def weights(draw) -> np.ndarray:
    """Any type and shape; from all values distinct to all alike, and mostly one."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from(TYPES))
    shape = draw(
        st.sampled_from([(1024,), (1031,), (33, 35), (16, 3, 5, 7), (96, 128)])
    )
    if np.dtype(dtype).kind == "f":
        weight = rng.normal(size=shape).astype(dtype)
    else:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        weight = rng.integers(low, high, shape, endpoint=True).astype(dtype)
    if count := draw(st.sampled_from([0, 1, 2, 4, 7, 15, 17, 40, 90, 256])):
        weight = rng.choice(weight.ravel()[:count], shape)
    usual = draw(st.sampled_from([0, 0, 1, 3]))
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.99, 1.0]))
    weight[rng.random(shape) < share] = usual
    if weight.dtype.kind == "f" and draw(st.booleans()):
        weight.flat[[0, -1]] = -0.0, np.nan
    return weight


@settings(max_examples=60, deadline=None)
@given(weights(), st.booleans())
def test_the_runtime_sees_the_same_bits_and_so_does_a_reader(weight, packed):
    plain = holding(weight)
    small = encoded(plain, packed)
    assert small.ByteSize() <= plain.ByteSize()
    assert bits(seen(small, weight)) == bits(weight)
    _encoding.decode(small)
    assert [n.name for n in small.graph.node] == ["pick"]
    (again,) = small.graph.initializer
    assert again.name == "w"
    assert bits(numpy_helper.to_array(again)) == bits(weight)


def palette(count: int, zeros: float = 0.0, dtype=np.float32) -> np.ndarray:
    rng = np.random.default_rng(0)
    weight = rng.choice(np.linspace(-1, 1, count), (128, 256)).astype(dtype)
    weight[rng.random(weight.shape) < zeros] = 0
    return weight


def sparse(zeros: float, dtype=np.float32) -> np.ndarray:
    rng = np.random.default_rng(0)
    weight = (50 * rng.normal(size=(128, 256))).astype(dtype)
    weight[rng.random(weight.shape) < zeros] = 0
    return weight


@pytest.mark.parametrize(
    ("weight", "times"),
    [
        (palette(2), 28),
        (palette(4), 15),
        (palette(8), 10),
        (palette(16), 7.7),
        (palette(32), 6.1),
        (palette(64), 5.0),
        (palette(256), 3.8),
        (palette(15, 0.9), 26),
        (palette(3, 0.98), 90),
        (palette(16, dtype=np.float16), 3.8),
        (palette(16, dtype=np.int8), 3.5),
        (sparse(0.5), 1.85),
        (sparse(0.9), 7.5),
        (sparse(0.99), 55),
        (sparse(0.9, np.int8), 4),
    ],
)
def test_the_file_is_really_smaller(weight, times):
    plain, small = holding(weight), encoded(holding(weight))
    assert plain.ByteSize() / small.ByteSize() > times
    assert bits(seen(small, weight)) == bits(weight)


@pytest.mark.parametrize(
    ("weight", "without"),
    [
        (sparse(0.3), 1.0),
        (sparse(0.9), 1.0),
        (sparse(0.9, np.int8), 1.0),
        (palette(15, 0.9), 1 / 8),  # 4 bits of 32 are enough for the values
        (palette(16), 1 / 8),
        (sparse(0.05), 1.0),
        (sparse(0.05, np.int8), 1.0),
    ],
)
def test_it_is_known_what_zeros_spare(weight, without):
    model = holding(weight)
    spared = _encoding.spared_by_zeros(model)
    otherwise = without * weight.nbytes
    assert spared == pytest.approx(
        otherwise - encoded(model).ByteSize(), abs=0.01 * weight.nbytes
    )
    assert (spared > 0) == (np.mean(weight == 0) > 0.1)


def test_a_value_that_is_no_zero_spares_nothing_by_being_frequent():
    weight = palette(16)
    weight[np.random.default_rng(0).random(weight.shape) < 0.9] = weight[0, 0]
    assert _encoding.spared_by_zeros(holding(weight)) == 0


def test_ordinary_weights_are_not_touched():
    task = ConvNet()
    exported = onnx_format.from_torch(Candidate(task.model(), "torch"), task)
    quantized = PostTrainingQuantization().apply(exported, Run(task))
    for model in (exported.model, quantized.model, holding(sparse(0.05))):
        assert encoded(model) == model
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        _encoding.decode(copy)
        assert copy == model


class Wide(Classes):
    """A CNN whose weights have few values, most of them 0."""

    name = "wide"

    def model(self):
        import torch
        from torch import nn

        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2048, 3),
        ).eval()
        for weight in model.parameters():
            if weight.dim() > 1:
                top = weight.data.abs().max()
                weight.data = top * torch.round(3 * weight.data / top) / 3
                weight.data[torch.rand(weight.shape) < 0.7] = 0.0
        return model


def running(path) -> list[tuple[str, str]]:
    """(operator, its name) of all that the runtime runs in the end."""
    return [(n.op_type, n.domain) for n in onnx.load(path).graph.node]


@pytest.mark.parametrize("scheme", [None, "static_int8", "dynamic_int8", "float16"])
def test_it_runs_in_the_same_kernels_with_the_same_answers(scheme, tmp_path):
    task = Wide()
    made = onnx_format.from_torch(Candidate(task.model(), "torch"), task)
    if scheme:
        made = PostTrainingQuantization(scheme=scheme).apply(made, Run(task))
    artifact = onnx_format.write(made, task, tmp_path / "small.onnx")
    small = onnx.load(artifact.path)
    plain = onnx_format.open_artifact(artifact.path, None).model
    assert len(small.graph.node) > len(plain.graph.node)
    assert small.ByteSize() < 0.5 * plain.ByteSize()
    images = task.split("validation")[0]
    found = []
    for number, model in enumerate((small, plain)):
        path = str(tmp_path / f"{number}.onnx")
        at = session(model, path)
        found.append(at.run(None, {at.get_inputs()[0].name: images})[0])
    assert np.array_equal(*found)
    assert running(tmp_path / "0.onnx") == running(tmp_path / "1.onnx")
    if scheme == "static_int8":
        assert "QLinearConv" in {op for op, _ in running(tmp_path / "0.onnx")}
    counts = onnx_format.count(onnx_format.open_artifact(artifact.path, None), task)
    assert counts == onnx_format.count(made, task)


def test_a_file_that_was_read_is_written_the_same_again(tmp_path):
    task = Wide()
    made = onnx_format.from_torch(Candidate(task.model(), "torch"), task)
    first = onnx_format.write(made, task, tmp_path / "first.onnx")
    opened = onnx_format.open_artifact(first.path, None)
    assert onnx_format.write(opened, task, tmp_path / "second.onnx").size == first.size
