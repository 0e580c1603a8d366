"""Tiny real artifacts and tasks that tests of measuring share."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from paretune.core.candidate import Artifact
from paretune.core.target import Target
from paretune.core.task import Held, Task


class Numbers(Held, Task):
    """Eight floats to three scores; a task that needs no framework."""

    name = "numbers"
    batch = 32
    samples = 160

    def model(self):
        raise NotImplementedError

    def loss(self, outputs, targets):
        raise NotImplementedError

    def split(self, name):
        rng = np.random.default_rng(len(name))
        inputs = rng.normal(size=(self.samples, 8)).astype(np.float32)
        return inputs, rng.integers(0, 3, self.samples)

    def quality(self, outputs, targets):
        return {"accuracy": outputs.argmax(-1) == targets}


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Of `network`."""
    rng = np.random.default_rng(seed)
    return {
        "w1": rng.normal(size=(8, 16)).astype(np.float32),
        "b1": rng.normal(size=16).astype(np.float32),
        "w2": rng.normal(size=(16, 3)).astype(np.float32),
        "b2": rng.normal(size=3).astype(np.float32),
        "w3": rng.normal(size=(16, 3)).astype(np.float32),
    }


def network(
    values: dict[str, np.ndarray], outputs: tuple[str, str] = ("scores", "sides")
) -> bytes:
    """A two-layer network with two outputs, as an ONNX file."""
    nodes = [
        helper.make_node("MatMul", ["input", "w1"], ["m"]),
        helper.make_node("Add", ["m", "b1"], ["a"]),
        helper.make_node("Relu", ["a"], ["h"]),
        helper.make_node("Gemm", ["h", "w2", "b2"], [outputs[0]]),
        helper.make_node("MatMul", ["h", "w3"], [outputs[1]]),
    ]
    return onnx_file(nodes, values, [8], {"scores": [3], "sides": [3]})


def onnx_file(
    nodes: list[Any],
    values: dict[str, np.ndarray],
    takes: list[int],
    gives: dict[str, list[int]],
) -> bytes:
    """An ONNX file with one float input "input" and a dynamic batch axis."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", *takes])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])
            for name, shape in gives.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    return model.SerializeToString()


def artifact(folder: Path, content: bytes, name: str = "model") -> Artifact:
    """A file with that content."""
    path = folder / f"{name}.onnx"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return Artifact(path, "onnx", digest, len(content))


def sleeper(folder: Path, seconds: float) -> Artifact:
    """What the null runtime takes exactly that long for."""
    content = json.dumps({"outputs": {"output": [3]}, "sleep_s": seconds})
    return artifact(folder, content.encode(), f"sleep_{seconds}")


TARGET = Target(runtime="null")
