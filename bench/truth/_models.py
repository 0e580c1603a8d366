"""Artifacts of which something is known: how much work, how many weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from paretune import catalog
from paretune.core.candidate import Artifact
from paretune.core.meter import Subject
from paretune.core.target import Target
from paretune.engine import launches
from paretune.engine.comparison import RandomInputs

ONNX, NULL = Target(), Target(runtime="null")


def subject(
    folder: Path, name: str, content: bytes, shape: tuple[int, ...], target: Target
) -> Subject:
    """An artifact of that content, to be measured on random inputs of that shape."""
    path = folder / f"{name}.onnx"
    task = RandomInputs({"input": ("float32", (None, *shape))})
    path.write_bytes(content)
    inputs = folder / f"inputs-{'-'.join(map(str, shape))}.npz"
    if not inputs.exists():
        launches.write_inputs(task, target, inputs)
    digest = hashlib.sha256(content).hexdigest()
    runtime = catalog.usable_runtime(target.runtime)
    artifact = Artifact(path, runtime.format, digest, len(content))
    return launches.subject(runtime, artifact, target, task, inputs)


def sleeper(seconds: float, holds: int = 0) -> bytes:
    """What the null runtime takes exactly that long for, with so many bytes held."""
    return json.dumps({"sleep_s": seconds, "holds": holds}).encode()


def convolutions(width: int, layers: int) -> bytes:
    """3x3 convolutions of equal work, one after the other."""

    def layer(i: int, rng: np.random.Generator) -> tuple[str, np.ndarray]:
        scale = (2 / (9 * width)) ** 0.5
        return "Conv", scale * rng.normal(size=(width, width, 3, 3))

    return _chain(layers, ("N", width, "H", "W"), layer, pads=[1, 1, 1, 1])


def products(width: int, layers: int) -> bytes:
    """Square matrices, one after the other."""

    def layer(i: int, rng: np.random.Generator) -> tuple[str, np.ndarray]:
        return "MatMul", (2 / width) ** 0.5 * rng.normal(size=(width, width))

    return _chain(layers, ("N", width), layer)


def _chain(
    layers: int,
    shape: tuple[int | str, ...],
    layer: Callable[[int, np.random.Generator], tuple[str, np.ndarray]],
    **attributes: Any,
) -> bytes:
    rng = np.random.default_rng(0)
    nodes, weights, at = [], [], "input"
    for i in range(layers):
        kind, weight = layer(i, rng)
        weights.append(numpy_helper.from_array(weight.astype(np.float32), f"w{i}"))
        nodes.append(
            helper.make_node(kind, [at, f"w{i}"], [f"h{i}"], f"l{i}", **attributes)
        )
        nodes.append(helper.make_node("Relu", [f"h{i}"], [f"r{i}"], f"r{i}"))
        at = f"r{i}"
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(at, TensorProto.FLOAT, shape)],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    model: ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=8)
    content: bytes = model.SerializeToString()
    return content
