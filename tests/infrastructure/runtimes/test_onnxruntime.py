"""It runs what it can, and says in one sentence what it can't."""

import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

from paretune.core.candidate import Artifact
from paretune.core.errors import MeasurementError, UnsupportedError
from paretune.core.target import Target
from paretune.infrastructure.runtimes.onnxruntime import OnnxRuntime


def artifact(path, nodes, outputs=("y",), constants=()):
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])]
    results = [
        helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs
    ]
    graph = helper.make_graph(nodes, "g", values, results, constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10
    )
    path.write_bytes(model.SerializeToString())
    return Artifact(path, "onnx", "0" * 64, path.stat().st_size)


@pytest.fixture
def run(tmp_path):
    nodes = [
        helper.make_node("Relu", ["x"], ["b"]),
        helper.make_node("Neg", ["b"], "a"),
    ]
    loaded = artifact(tmp_path / "m.onnx", nodes, outputs=("b", "a"))
    return OnnxRuntime().load(loaded, Target())


def test_outputs_come_in_the_graphs_order(run):
    got = run({"x": np.array([[-1, 0, 2]], np.float32)})
    assert list(got) == ["b", "a"]
    assert got["a"].tolist() == [[0, 0, -2]]


@pytest.mark.parametrize(
    ("inputs", "code", "words"),
    [
        ({"x": np.zeros((2, 3))}, "data-dtype", ["'x'", "float64", "float32"]),
        ({"x": np.zeros((2, 4), "f4")}, "data-shape", ["'x'", "(2, 4)", "(batch, 3)"]),
        ({"x": np.zeros(3, "f4")}, "data-shape", ["(3,)", "(batch, 3)"]),
        ({"z": np.zeros((2, 3), "f4")}, "input-names", ["'z'", "'x'"]),
        ({}, "input-names", ["[]", "'x'"]),
    ],
)
def test_a_wrong_input_is_named_not_cast(inputs, code, words, run):
    with pytest.raises(MeasurementError) as caught:
        run(inputs)
    assert caught.value.code == code
    assert all(word in caught.value.message for word in words)


def test_a_failing_operator_is_an_error_and_prints_nothing(tmp_path, capfd):
    shape = helper.make_tensor("s", TensorProto.INT64, [2], [4, -1])
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    loaded = artifact(tmp_path / "m.onnx", [node], constants=[shape])
    run = OnnxRuntime().load(loaded, Target())
    assert run({"x": np.zeros((4, 3), np.float32)})["y"].shape == (4, 3)
    with pytest.raises(MeasurementError, match="Reshape"):
        run({"x": np.zeros((3, 3), np.float32)})
    assert capfd.readouterr() == ("", "")


def test_what_it_has_no_kernel_for_is_unsupported(tmp_path, capfd):
    for node in (
        helper.make_node("NoSuchOperator", ["x"], ["y"]),
        helper.make_node("Relu", ["x"], ["y"], domain="nobody.knows"),
    ):
        with pytest.raises(UnsupportedError, match=r"m\.onnx"):
            OnnxRuntime().load(artifact(tmp_path / "m.onnx", [node]), Target())
    for content in (b"junk", b""):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(UnsupportedError):
            bad = Artifact(tmp_path / "m.onnx", "onnx", "0" * 64, len(content))
            OnnxRuntime().load(bad, Target())
    assert capfd.readouterr() == ("", "")


def test_it_needs_neither_torch_nor_onnx(tmp_path):
    loaded = artifact(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])])
    program = f"""
import sys, pathlib, numpy
from paretune.catalog import RUNTIMES
from paretune.core.candidate import Artifact
from paretune.core.target import Target
runtime = RUNTIMES["onnxruntime"]()
assert "onnxruntime" not in sys.modules
session = runtime.load(
    Artifact(pathlib.Path({str(loaded.path)!r}), "onnx", "", 0), Target(threads=2)
)
session({{"x": numpy.zeros((2, 3), "f4")}})
assert not {{"torch", "onnx"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
