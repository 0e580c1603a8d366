"""Looks into ONNX graphs layer by layer: values, errors, and where two graphs part."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from paretune.infrastructure.formats import _segments
from paretune.infrastructure.formats._naming import channel_axes, layer_names
from paretune.infrastructure.formats._only import quantized_layers, with_only
from paretune.infrastructure.formats._segments import GIVEN

Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class LayerError:
    """How far one layer's output is from what it would be in float.

    Attributes:
        name: of the layer's node, "<module path>/<operator>".
        op_type: its operator in the float graph.
        output: the name of the value that is compared.
        error: ||a - b|| / ||a|| over all samples, 0 or more.
        sqnr_db: 10 log10(||a||^2 / ||a - b||^2), in decibels; infinite without error.
        channel: the output channel with the largest error.
        channel_error: of it, relative to the channel's own size, or to that of the
            usual channel if it is smaller.
        offset: the mean of b - a in the channel where it is largest, relative to the
            size of the usual channel; with its sign.
    """

    name: str
    op_type: str
    output: str
    error: float
    sqnr_db: float
    channel: int
    channel_error: float
    offset: float


@dataclass(frozen=True)
class Divergence:
    """The first value of a graph that differs from its source's.

    Attributes:
        name: of the node, "<module path>/<operator>".
        output: the name of the value.
        channel: the output channel that differs most.
        error: the largest |a - b| in it, relative to the largest |a| of the value.
    """

    name: str
    output: str
    channel: int
    error: float

    def __str__(self) -> str:
        return (
            f"first differs at {self.name or self.output}, channel {self.channel}: "
            f"{self.error:.2g} of its size"
        )


def observed(
    model: onnx.ModelProto,
    inputs: Mapping[str, np.ndarray],
    names: Collection[str] | None = None,
    optimised: bool = False,
) -> Values:
    """The values in a graph when it runs on these inputs.

    Args:
        model: any graph that ONNX Runtime can run.
        inputs: by name; what the graph doesn't take is left out.
        names: which values to give; None for all that the outer graph computes.
        optimised: whether the runtime may rearrange the graph, as it does in use.

    Example:
        >>> model = onnx.parser.parse_model(
        ...     '<ir_version: 8, opset_import: ["": 17]> g (float[n] x) => (float[n] y)'
        ...     "{ h = Abs(x) y = Neg(h) }"
        ... )
        >>> observed(model, {"x": np.array([-1, 2], np.float32)}, ["h"])
        {'h': array([1., 2.], dtype=float32)}
    """
    import onnxruntime

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    wanted = list(dict.fromkeys(_segments.produced(model) if names is None else names))
    there = set(_segments.produced(model))
    _segments.show(probe, [v for v in wanted if v in there])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_ENABLE_ALL if optimised else levels.ORT_DISABLE_ALL
    )
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    taken = {i.name: i.type.tensor_type.elem_type for i in model.graph.input}
    found = {k: v for k, v in inputs.items() if k in wanted}
    shown = [o.name for o in probe.graph.output]
    if not shown:
        return found
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = {k: _fitting(v, taken[k]) for k, v in inputs.items() if k in taken}
    answers = session.run(shown, given)
    pairs = zip(shown, answers, strict=True)
    return found | {v: a for v, a in pairs if isinstance(a, np.ndarray)}


def local_errors(
    quantized: onnx.ModelProto,
    source: onnx.ModelProto,
    inputs: Mapping[str, np.ndarray],
) -> list[LayerError]:
    """Each layer's own error, none of it inherited from the layers before.

    Every layer of the quantized graph is fed with the float graph's own values, for
    all values that both graphs name. What rounding its inputs and its weights does is
    a layer's error, and so is what the range of its output cuts off; what rounding
    the output does belongs to the next layer.

    Args:
        quantized: int8 (static or dynamic), float16 or float.
        source: the float graph that it was made from.
        inputs: by name; some tens of samples are enough.

    Returns:
        one for each float value that both graphs compute, in topological order.

    Example:
        >>> text = (
        ...     '<ir_version: 8, opset_import: ["": 17]> g (float[n] x) => (float[n] y)'
        ...     "{ h = Abs(x) y = Neg(h) }"
        ... )
        >>> source = onnx.parser.parse_model(text)
        >>> wrong = onnx.parser.parse_model(text.replace("Abs", "Relu"))
        >>> inputs = {"x": np.array([-3, 4], np.float32)}
        >>> [(e.output, e.error) for e in local_errors(wrong, source, inputs)]
        [('h', 0.6), ('y', 0.0)]

    """
    wanted = _floats(source, quantized, inputs)
    own = forced_values(quantized, wanted, inputs)
    names = layer_names(quantized, source, wanted)
    axes = channel_axes(source)
    return [
        _error(*names[v], v, a, own[v], axes.get(v, -1))
        for v, a in wanted.items()
        if v in own and own[v].shape == a.shape
    ]


def first_divergence(
    artifact: onnx.ModelProto,
    source: onnx.ModelProto,
    inputs: Mapping[str, np.ndarray],
    tolerance: float,
) -> Divergence | None:
    """The first value in topological order by which two graphs differ.

    Args:
        artifact: the graph under suspicion.
        source: a graph that is right, and names its values alike.
        inputs: by name.
        tolerance: of max |a - b| / max |a|.

    Returns:
        None if they agree in every value that both name.

    Example:
        >>> text = (
        ...     '<ir_version: 8, opset_import: ["": 17]> g (float[n] x) => (float[n] y)'
        ...     "{ h = Abs(x) y = Neg(h) }"
        ... )
        >>> source = onnx.parser.parse_model(text)
        >>> wrong = onnx.parser.parse_model(text.replace("Abs", "Relu"))
        >>> inputs = {"x": np.array([-3, 4], np.float32)}
        >>> first_divergence(wrong, source, inputs, 1e-4).output
        'h'
    """
    wanted = _floats(source, artifact, inputs)
    got = observed(artifact, inputs, wanted)
    names = layer_names(artifact, source, wanted)
    axes = channel_axes(source)
    for value, a in wanted.items():
        b = got.get(value)
        if b is None:
            continue
        if a.shape != b.shape:
            return Divergence(names[value][0], value, 0, math.inf)
        axis = axes.get(value, -1)
        finite = np.isfinite(a)
        apart = by_channel(np.abs(np.where(finite, _wide(b), 0.0) - _finite(a)), axis)
        worst = apart.max(1, initial=0.0)
        peak = float(np.abs(_finite(a)).max(initial=0.0))
        error = float(worst.max(initial=0.0)) / max(peak, 1e-30)
        if not error <= tolerance:
            channel = int(np.nan_to_num(worst, nan=np.inf).argmax())
            return Divergence(names[value][0], value, channel, error)
    return None


def forced_values(
    model: onnx.ModelProto,
    given: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
    shown: Collection[str] | None = None,
) -> Values:
    """What each value comes to when all that it is made from is as given.

    Args:
        model: the graph.
        given: values by name that replace what the graph computes.
        inputs: the graph's own inputs.
        shown: which values to give, by default `given`. One that goes into a static
            quantizer is cut to the quantizer's range, since the runtime's kernels
            do that, and a ReLU may be nothing but that range.
    """
    kinds = _segments.element_types(model)
    feed = {v + GIVEN: _fitting(a, kinds.get(v, 0)) for v, a in given.items()}
    names = list(given) if shown is None else list(shown)
    probe = _segments.forced(model, list(given), names)
    found = observed(probe, {**inputs, **feed}, names)
    constants = _segments.initializers(model)
    for name, node in _segments.quantizers(model).items():
        grid = _segments.grid(node, constants)
        if grid and name in found and name in given:
            found[name] = np.clip(found[name], *grid.ends(found[name].ndim))
    return found


def by_channel(values: np.ndarray, axis: int) -> np.ndarray:
    """(channels, everything else)."""
    if values.ndim < 2:
        return values.reshape(1, -1)
    moved = np.moveaxis(values, axis if axis < values.ndim else -1, 0)
    return moved.reshape(len(moved), -1)


def _floats(
    source: onnx.ModelProto,
    other: onnx.ModelProto,
    inputs: Mapping[str, np.ndarray],
) -> Values:
    """The float values of the source that the other graph computes too."""
    names = _segments.shared(other, source)
    found = observed(source, inputs, names)
    return {v: found[v] for v in names if v in found and found[v].dtype.kind == "f"}


def _error(
    name: str, op_type: str, output: str, a: np.ndarray, b: np.ndarray, axis: int
) -> LayerError:
    finite = np.isfinite(a)
    wanted = by_channel(_finite(a), axis)
    apart = by_channel(np.where(finite, _wide(b), 0.0) - _finite(a), axis)
    size, error = np.linalg.norm(wanted), np.linalg.norm(apart)
    usual = float(size) / math.sqrt(max(len(wanted), 1))
    sizes = np.maximum(np.linalg.norm(wanted, axis=1), max(usual, 1e-30))
    errors = np.linalg.norm(apart, axis=1) / sizes
    offsets = apart.mean(1) if apart.size else np.zeros(1)
    typical = usual / math.sqrt(max(wanted.shape[1], 1))
    relative = float(error / max(float(size), 1e-30))
    return LayerError(
        name,
        op_type,
        output,
        relative,
        -20 * math.log10(relative) if relative else math.inf,
        int(errors.argmax()) if errors.size else 0,
        float(errors.max(initial=0.0)),
        float(offsets[np.abs(offsets).argmax()] / max(float(typical), 1e-30)),
    )


def _fitting(array: np.ndarray, kind: int) -> np.ndarray:
    """Floats in the number format that a graph takes."""
    formats = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}
    if array.dtype.kind != "f" or kind not in formats:
        return array
    return array.astype(formats[kind])


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def _finite(array: np.ndarray) -> np.ndarray:
    wide = _wide(array)
    return np.where(np.isfinite(wide), wide, 0.0)


__all__ = [
    "Divergence",
    "LayerError",
    "first_divergence",
    "local_errors",
    "observed",
    "quantized_layers",
    "with_only",
]
