"""Resident bytes that an artifact adds to its runtime."""

import numpy as np
import pytest
from onnx import helper

from paretune.catalog import usable_runtime
from paretune.core.target import Target
from paretune.engine import launches
from paretune.measurement.peak_memory import PeakMemory
from tests.measurement.artifacts import Numbers, artifact, onnx_file, sleeper


def chain(width: int, layers: int) -> bytes:
    """8 floats in, then square matrices of `width`."""
    names = ["first", *(f"w{i}" for i in range(layers))]
    shapes = [(8, width), *[(width, width)] * layers]
    values = {n: np.ones(s, np.float32) for n, s in zip(names, shapes, strict=True)}
    tensors = ["input", *(f"h{i}" for i in range(layers)), "output"]
    nodes = [
        helper.make_node("MatMul", [tensors[i], name], [tensors[i + 1]])
        for i, name in enumerate(names)
    ]
    return onnx_file(nodes, values, [8], {"output": [width]})


def test_weights_are_resident_byte_by_byte(tmp_path):
    target, task = Target(), Numbers()
    launches.write_inputs(task, target, tmp_path / "inputs.npz")
    files = [
        artifact(tmp_path, chain(512, layers), f"chain{layers}") for layers in (1, 49)
    ]
    small, large = (
        launches.subject(
            usable_runtime("onnxruntime"), f, target, task, tmp_path / "inputs.npz"
        )
        for f in files
    )
    ((less,), (more,)) = PeakMemory().measure([small, large], small)
    slope = (more.value - less.value) / (files[1].size - files[0].size)
    assert 0.9 < slope < 1.5  # the runtime packs matrices anew, one by one
    assert more.kind == "peak"
    assert more.value == max(more.detail["total"]) - more.detail["empty"]


def test_an_artifact_without_weights_takes_next_to_nothing(tmp_path):
    target, task = Target(runtime="null"), Numbers()
    launches.write_inputs(task, target, tmp_path / "inputs.npz")
    nothing = launches.subject(
        usable_runtime("null"),
        sleeper(tmp_path, 0.0),
        target,
        task,
        tmp_path / "inputs.npz",
    )
    ((measured,),) = PeakMemory().measure([nothing], nothing)
    assert 0 < measured.value < 2 * 2**20


def test_no_subject_costs_nothing():
    assert PeakMemory().measure([], pytest.fail) == []
