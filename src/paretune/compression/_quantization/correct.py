"""Takes the mean error that rounding makes in each channel off the layer's bias.

Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", arXiv:1906.04721, section 4.2; measured layer after layer, as in their
appendix D, so that what the layers before leave is put right as well.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from paretune.compression._quantization.calibration import feeds
from paretune.compression._quantization.weights import (
    Layer,
    arrays,
    outputs_on,
    put,
    uses,
)
from paretune.core.target import Arrays
from paretune.core.technique import Run
from paretune.infrastructure.formats import _segments

SAMPLES = 128  # a mean needs no more
# Of the usual error of a layer's own: a channel that is moved further, to make up for
# the layers before it, would no longer be that layer.
FURTHEST = 2.0
FED = "//fed"


class Bias(NamedTuple):
    """A bias that is one layer's own.

    Attributes:
        name: in the float graph.
        layer: the name of the layer's node.
        value: what the layer reads, in both graphs.
        output: what it gives, in the float graph.
        axis: of the output, that of the channels.
    """

    name: str
    layer: str
    value: str
    output: str
    axis: int


def give_biases(model: onnx.ModelProto, layers: Collection[Layer]) -> None:
    """Adds biases of 0 to convolutions and `Gemm`s that have none, in place."""
    wide = arrays(model, {layer.weight for layer in layers})
    for layer in layers:
        node = layer.node
        if node.op_type == "MatMul" or len(node.input) > 2:
            continue
        name = f"{node.name}.bias"
        zeros = np.zeros(wide[layer.weight].shape[layer.axis], np.float32)
        model.graph.initializer.append(numpy_helper.from_array(zeros, name))
        node.input.append(name)


def biases(model: onnx.ModelProto, layers: Collection[Layer]) -> list[Bias]:
    """The biases of convolutions and `Gemm`s that nothing else uses."""
    used, shapes = uses(model), {i.name: tuple(i.dims) for i in model.graph.initializer}
    found = []
    for layer in layers:
        node = layer.node
        scaled = any(a.name in ("alpha", "beta") and a.f != 1 for a in node.attribute)
        if len(node.input) < 3 or used[node.input[2]] > 1 or scaled:
            continue
        if shapes[node.input[2]] == (shapes[layer.weight][layer.axis],):
            ends = node.input[0], node.output[0]
            found.append(Bias(node.input[2], node.name, *ends, outputs_on(node)))
    return found


def correct(
    quantized: onnx.ModelProto,
    source: onnx.ModelProto,
    found: Collection[Bias],
    run: Run,
    samples: int,
) -> None:
    """Gives each layer's output the mean that it has in float, as far as that goes.

    Args:
        quantized: made from `source`, with nodes of the same names; changed in place.
        source: the float graph.
        found: by `biases`, in `source`.
        run: gives the calibration split, and the threads.
        samples: of it to look at.
    """
    nodes = {n.name: n for n in quantized.graph.node}
    stored = {i.name for i in quantized.graph.initializer}
    own = [b for b in found if f"{b.name}_quantized" in stored and b.layer in nodes]
    if not own:
        return
    data = list(feeds(source, run, min(samples, SAMPLES)))
    alone = _alone(quantized, source, own, data, run.threads)
    floats = _session(source, [b.output for b in own], run.threads)
    rounded, outputs = _with_biases_fed(quantized, own, run.threads)
    now = {b.name + FED: a for b, a in zip(own, _biases(source, own), strict=True)}
    wanted = _means(floats, [b.output for b in own], data, {}, [b.axis for b in own])
    errors = {}
    for bias, output, mean in zip(own, outputs, wanted, strict=True):
        run.give_way()
        (got,) = _means(rounded, [output], data, now, [bias.axis])
        middle, usual = alone[bias.name]
        furthest = FURTHEST * usual
        errors[bias.name] = np.clip(got - mean, middle - furthest, middle + furthest)
        fed = now[bias.name + FED] - errors[bias.name]
        now[bias.name + FED] = fed.astype(np.float32)
    _subtract(quantized, errors)


def _alone(
    quantized: onnx.ModelProto,
    source: onnx.ModelProto,
    own: list[Bias],
    data: list[Arrays],
    threads: int,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(mean, root mean square) of each layer's error by channel, fed with the right."""
    nodes = {n.name: n for n in quantized.graph.node}
    values = sorted({b.value for b in own} - {i.name for i in source.graph.input})
    shown = [*values, *(b.output for b in own)]
    got = [nodes[b.layer].output[0] for b in own]
    floats = _session(source, shown, threads)
    rounded = _session(_segments.forced(quantized, values, got), got, threads)
    sums = {b.name: [np.zeros(1), np.zeros(1), np.zeros(1)] for b in own}
    for feed in data:
        seen = dict(zip(shown, floats.run(None, feed), strict=True))
        given = feed | {v + _segments.GIVEN: seen[v] for v in values}
        for bias, made in zip(own, rounded.run(None, given), strict=True):
            apart = np.moveaxis(made - seen[bias.output], bias.axis, 0)
            flat = apart.reshape(len(apart), -1).astype(np.float64)
            parts = flat.sum(1), (flat**2).sum(1), np.full(1, flat.shape[1])
            sums[bias.name] = [
                a + b for a, b in zip(sums[bias.name], parts, strict=True)
            ]
    return {k: (one / n, np.sqrt(two / n)) for k, (one, two, n) in sums.items()}


def _with_biases_fed(
    quantized: onnx.ModelProto, own: list[Bias], threads: int
) -> tuple[onnxruntime.InferenceSession, list[str]]:
    """A session that takes biases as inputs, and the names of the layers' outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(quantized)
    nodes = {n.name: n for n in model.graph.node}
    for bias in own:
        nodes[bias.layer].input[2] = bias.name + FED
        model.graph.input.append(
            helper.make_tensor_value_info(bias.name + FED, TensorProto.FLOAT, [None])
        )
    outputs = [nodes[b.layer].output[0] for b in own]
    return _session(model, outputs, threads), outputs


def _biases(source: onnx.ModelProto, own: list[Bias]) -> list[np.ndarray]:
    held = arrays(source, {b.name for b in own})
    return [held[b.name] for b in own]


def _means(
    session: onnxruntime.InferenceSession,
    names: list[str],
    data: list[Arrays],
    fixed: Arrays,
    axes: list[int],
) -> list[np.ndarray]:
    """The mean of each channel of these values over all samples."""
    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    totals, counts = [np.zeros(1)] * len(names), [0] * len(names)
    for feed in data:
        for i, value in enumerate(session.run(names, feed | fixed, options)):
            wide = np.moveaxis(value, axes[i], 0).reshape(value.shape[axes[i]], -1)
            totals[i] = totals[i] + wide.sum(1, dtype=np.float64)
            counts[i] += wide.shape[1]
    return [t / n for t, n in zip(totals, counts, strict=True)]


def _subtract(quantized: onnx.ModelProto, errors: Arrays) -> None:
    """Takes the mean errors off the int32 biases, in place."""
    names = [f"{name}_quantized{end}" for name in errors for end in ("", "_scale")]
    held, limits = arrays(quantized, names), np.iinfo(np.int32)
    changed = {}
    for name, error in errors.items():
        step = held[f"{name}_quantized_scale"].astype(np.float64)
        whole = held[f"{name}_quantized"] - np.round(error / step)
        inside = np.clip(whole, limits.min, limits.max)
        changed[f"{name}_quantized"] = inside.astype(np.int32)
    put(quantized, changed)


def _session(
    model: onnx.ModelProto, names: list[str], threads: int
) -> onnxruntime.InferenceSession:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:], shown.graph.value_info[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    # Floats that are rounded are fast; 8-bit kernels would need the biases beforehand.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
