from __future__ import annotations

import functools
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, numpy_helper
from torch import nn

from paretune.compression._quantization.calibration import entropy_limit, ranges
from paretune.compression.post_training_quantization import PostTrainingQuantization
from paretune.core.candidate import Candidate
from paretune.core.errors import TaskError, UnsupportedError
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats import onnx as onnx_format
from tests.compression import models
from tests.toys import Classes, ConvNet, PairNet, ResNet, SignalNet, TextNet


class Plain(Classes):
    """A CNN of an everyday size."""

    name = "plain"
    shape = (1, 28, 28)

    def model(self):
        torch.manual_seed(0)

        def block(given, out):
            norm = nn.BatchNorm2d(out)
            return nn.Conv2d(given, out, 3, padding=1, bias=False), norm, nn.ReLU()

        return nn.Sequential(
            *block(1, 32),
            nn.MaxPool2d(2),
            *block(32, 64),
            *block(64, 64),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 3),
        ).eval()


@functools.cache
def exported(make) -> onnx.ModelProto:
    task = make()
    return onnx_format.from_torch(Candidate(task.model(), "torch"), task).model


def quantized(make, model=None, task=None, **parameters) -> onnx.ModelProto:
    technique = PostTrainingQuantization(**parameters)
    return technique.on_onnx(model or exported(make), Run(task or make()))


def session(model: onnx.ModelProto, save: str = "") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.optimized_model_filepath = save
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def answers(model: onnx.ModelProto, make, count=128) -> np.ndarray:
    inputs = as_arrays(make().split("validation")[0], "input")
    feed = {k: np.resize(v, (count, *v.shape[1:])) for k, v in inputs.items()}
    return session(model).run(None, feed)[-1]


def running(model: onnx.ModelProto, tmp_path) -> Counter[str]:
    """The operators that ONNX Runtime runs in the end."""
    path = str(tmp_path / "optimised.onnx")
    session(model, path)
    return Counter(n.op_type for n in onnx.load(path).graph.node)


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}


def off(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("make", [ConvNet, ResNet, SignalNet, Plain])
def test_static_int8_runs_a_cnn_in_8_bits_from_end_to_end(make, tmp_path):
    ran = running(quantized(make), tmp_path)
    assert ran["QuantizeLinear"] == 1
    assert ran["QLinearConv"] == sum(
        n.op_type == "Conv" for n in exported(make).graph.node
    )
    assert ran["QLinearGlobalAveragePool"] == ran["QGemm"] == 1
    floats = {"Conv", "FusedConv", "Relu", "Add", "MaxPool", "Gemm", "ReduceMean"}
    assert not ran.keys() & {*floats, "DequantizeLinear", "GlobalAveragePool"}
    assert ran["QLinearAdd"] == (2 if make is ResNet else 0)


def test_static_int8_of_an_encoder_keeps_what_must_be_float(tmp_path):
    ran = running(quantized(TextNet), tmp_path)
    assert ran["MatMulIntegerToFloat"] == 8 and ran["QGemm"] == 1
    # Norms and softmax get floats without a detour through 8 bits.
    assert ran["DequantizeLinear"] == 1 and ran["QuantizeLinear"] == 9
    assert ran["Softmax"] == 2
    stored = weights(quantized(TextNet))["embed.weight_quantized"]
    assert stored.dtype == np.uint8


@pytest.mark.parametrize("make", [ConvNet, ResNet, SignalNet, TextNet, PairNet, Plain])
@pytest.mark.parametrize("calibration", ["minmax", "percentile", "entropy"])
def test_static_int8_agrees_with_the_float_model_at_every_batch_size(make, calibration):
    model = quantized(make, calibration=calibration)
    whole = answers(model, make)
    same = whole.argmax(-1) == answers(exported(make), make).argmax(-1)
    assert same.mean() > 0.85
    for count in (1, 33):
        np.testing.assert_array_equal(answers(model, make, count), whole[:count])


def test_files_shrink_by_what_the_number_format_says(tmp_path):
    def size(model):
        candidate = Candidate(model, "onnx")
        return onnx_format.write(candidate, Plain(), tmp_path / "model.onnx").size

    full = size(exported(Plain))
    assert size(quantized(Plain)) < 0.30 * full
    assert size(quantized(Plain, scheme="float16")) < 0.52 * full
    full = size(exported(TextNet))
    assert size(quantized(TextNet, scheme="dynamic_int8")) < 0.5 * full


@pytest.mark.parametrize("bits", [8, 7])
def test_weights_are_symmetric_with_a_scale_a_channel(bits):
    model = quantized(SignalNet, weight_bits=bits)
    stored = weights(model)
    nodes = {n.output[0]: n for n in model.graph.node}
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    assert len(convolutions) == 2
    for node in convolutions:
        weight, scale, zero = (stored[i] for i in nodes[node.input[1]].input)
        assert weight.dtype == np.int8 and zero.dtype == np.int8 and not zero.any()
        assert scale.shape == zero.shape == weight.shape[:1]
        assert np.abs(weight.astype(int)).max() == (127 if bits == 8 else 64)
        bias = stored[nodes[node.input[2]].input[0]]
        assert bias.dtype == np.int32 and bias.any()


def test_dynamic_int8_leaves_convolutions_in_float(tmp_path):
    ran = running(quantized(ConvNet, scheme="dynamic_int8"), tmp_path)
    assert ran["Conv"] == 2 and ran["DynamicQuantizeMatMul"] == 1
    assert "ConvInteger" not in ran


def test_dynamic_int8_quantizes_products_embeddings_and_lstms(tmp_path):
    make = functools.partial(models.task, models.Recurrent)
    graph = quantized(make, scheme="dynamic_int8")
    ran = running(graph, tmp_path)
    assert ran["DynamicQuantizeLSTM"] == 1 and "LSTM" not in ran
    assert weights(graph)["embed.weight_quantized"].dtype in (np.uint8, np.int8)
    assert off(answers(graph, make), answers(exported(make), make)) < 0.05


@pytest.mark.parametrize("scheme", ["static_int8", "dynamic_int8"])
def test_a_scheme_with_nothing_to_do_says_so(scheme):
    class Bare(ConvNet):
        def model(self):
            return nn.Sequential(nn.ReLU(), nn.Flatten(), nn.LayerNorm(64)).eval()

    with pytest.raises(UnsupportedError, match=r"\[not-applicable\]"):
        quantized(Bare, scheme=scheme)


def test_dynamic_int8_of_a_network_of_convolutions_points_to_static():
    class Convolutions(ConvNet):
        def model(self):
            torch.manual_seed(0)
            return nn.Sequential(nn.Conv2d(1, 3, 8), nn.Flatten()).eval()

    with pytest.raises(UnsupportedError, match="static_int8"):
        quantized(Convolutions, scheme="dynamic_int8")


def test_float16_rounds_weights_and_nothing_else(tmp_path):
    model = quantized(Plain, scheme="float16")
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert model.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert running(model, tmp_path) == running(exported(Plain), tmp_path)
    rounded = onnx.ModelProto()
    rounded.CopyFrom(exported(Plain))
    for weight in rounded.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= 16:
            half = values.astype(np.float16).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(half, weight.name))
    np.testing.assert_array_equal(answers(model, Plain), answers(rounded, Plain))


def test_float16_leaves_weights_that_it_can_not_hold():
    model = onnx.ModelProto()
    model.CopyFrom(exported(Plain))
    huge = model.graph.initializer[0]
    values = numpy_helper.to_array(huge).copy()
    values.flat[0] = 1e6
    huge.CopyFrom(numpy_helper.from_array(values, huge.name))
    kinds = {
        i.name: i.data_type
        for i in quantized(Plain, model, scheme="float16").graph.initializer
    }
    assert kinds[huge.name] == TensorProto.FLOAT
    assert TensorProto.FLOAT16 in kinds.values()


@pytest.mark.parametrize(
    ("patterns", "floats"),
    [
        ("", 0),
        ("Conv", 3),
        ("2", 0),
        ("0", 1),
        (" 0 , 4/Conv ", 2),
        ("?", 3),
        ("GRU", 0),
    ],
)
def test_layers_and_operators_can_be_kept_in_float(patterns, floats, tmp_path):
    ran = running(quantized(Plain, keep_float=patterns), tmp_path)
    assert ran["Conv"] == floats


def test_a_layer_is_kept_with_all_that_is_inside_it(tmp_path):
    ran = running(quantized(TextNet, keep_float="layers.0"), tmp_path)
    assert ran["MatMulIntegerToFloat"] == 4
    ran = running(quantized(TextNet, keep_float="layers.*.mlp"), tmp_path)
    assert ran["MatMulIntegerToFloat"] == 4
    ran = running(
        quantized(TextNet, keep_float="layers", scheme="dynamic_int8"), tmp_path
    )
    assert ran["DynamicQuantizeMatMul"] == 1


def test_a_pattern_that_matches_nothing_names_the_nearest_layers():
    with pytest.raises(UnsupportedError, match=r"\[keep-float\].*'haed'.*'head'"):
        quantized(TextNet, keep_float="haed")


def test_a_mean_over_the_image_becomes_pooling(tmp_path):
    make = functools.partial(models.task, models.Gated)
    ran = running(quantized(make), tmp_path)
    assert ran["QLinearGlobalAveragePool"] == 2 and "ReduceMean" not in ran
    assert ran["QLinearSigmoid"] == ran["QLinearMul"] == 1


def test_weights_too_large_for_the_exporter_to_transpose_are_quantized(tmp_path):
    class Wide(TextNet):
        def model(self):
            torch.manual_seed(0)
            return nn.Sequential(
                nn.Embedding(50, 520), nn.Linear(520, 520), nn.AdaptiveAvgPool1d(3)
            ).eval()

    ran = running(quantized(Wide), tmp_path)
    assert ran["MatMulIntegerToFloat"] == 1


class Outlier(ConvNet):
    """One calibration sample has one value far from all others."""

    counts = {**ConvNet.counts, "calibration": 1024}

    def split(self, name):
        inputs, labels = super().split(name)
        if name == "calibration":
            inputs[3, 0, 0, 0] = 1000.0
        return inputs, labels


def of_input(task, method, samples=1024):
    model = onnx.shape_inference.infer_shapes(exported(ConvNet))
    return ranges(model, ["input"], Run(task), method, samples)["input"]


def test_minmax_covers_all_values_and_the_others_cut_outliers_off():
    inputs = Outlier().split("calibration")[0]
    whole = (float(inputs.min()), 1000.0)
    assert of_input(Outlier(), "minmax") == whole
    for method in ("percentile", "entropy"):
        low, high = of_input(Outlier(), method)
        assert whole[0] <= low < 0 < high < 500


def test_only_so_many_samples_are_looked_at():
    inputs = ConvNet().split("calibration")[0]
    for samples in (16, 40, 64):
        seen = inputs[:samples]
        expected = (float(seen.min()), float(seen.max()))
        assert of_input(ConvNet(), "minmax", samples) == expected


def test_calibration_data_must_be_there_and_finite():
    class Empty(ConvNet):
        counts = {**ConvNet.counts, "calibration": 0}

    class Infinite(ConvNet):
        def split(self, name):
            inputs, labels = super().split(name)
            inputs[0, 0, 0, 0] = np.inf
            return inputs, labels

    class Missing(ConvNet):
        def split(self, name):
            inputs, labels = super().split(name)
            inputs[5, 0, 0, 0] = np.nan
            return inputs, labels

    with pytest.raises(TaskError, match=r"\[data-too-small\]"):
        quantized(ConvNet, task=Empty())
    for task in (Infinite(), Missing()):
        with pytest.raises(UnsupportedError, match=r"\[calibration-nonfinite\]"):
            quantized(ConvNet, task=task)


def test_nothing_is_printed_or_left_behind(capfd, caplog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for scheme in ("static_int8", "dynamic_int8", "float16"):
        session(quantized(TextNet, scheme=scheme))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert not list(tmp_path.iterdir())


def test_progress_is_told_and_way_is_given():
    said, ways = [], []
    run = Run(
        ConvNet(),
        give_way=lambda: ways.append(1),
        progress=lambda what, share: said.append(share),
    )
    PostTrainingQuantization(samples=64).on_onnx(exported(ConvNet), run)
    assert said == sorted(said) and len(ways) == len(said) == 4


@given(
    hnp.arrays(np.float64, st.integers(1, 300), elements=st.floats(1e-3, 1e3)),
    st.sampled_from([128, 256]),
)
def test_an_entropy_limit_is_within_the_values(values, levels):
    assert 0 < entropy_limit(values, levels) <= values.max() * (1 + 1e-9)


def test_an_entropy_limit_keeps_an_even_spread_and_cuts_a_long_tail():
    rng = np.random.default_rng(0)
    even = rng.uniform(0, 1, 100_000)
    assert entropy_limit(even, 128) > 0.95
    tailed = np.concatenate([np.abs(rng.normal(size=100_000)), [1000.0]])
    assert entropy_limit(tailed, 128) < 100


def test_a_value_that_is_shown_before_its_relu_keeps_its_own_range():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(1, 8, 3)
            self.second = nn.Conv2d(8, 8, 3)

        def forward(self, x):
            before = self.first(x)
            return self.second(torch.relu(before)), before

    class Task(ConvNet):
        def model(self):
            torch.manual_seed(0)
            return Both().eval()

    before = answers(exported(Task), Task)
    assert before.min() < -0.5
    assert off(answers(quantized(Task), Task), before) < 0.2
