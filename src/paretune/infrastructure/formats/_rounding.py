"""What plain rounding makes of each layer: the yardstick of a quantized graph.

Whatever else a quantizer does to a layer (scales moved between layers, weights rounded
up or down by their effect, biases corrected), it does to bring the layer's output
nearer to the float one than rounding every number to the nearest would. The step sizes
are those of the quantized graph itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from paretune.infrastructure.formats import (
    _layers,
    _naming,
    _plain,
    _segments,
)
from paretune.infrastructure.formats._layers import Values


@dataclass(frozen=True)
class Comparison:
    """A layer's output by three graphs that get the same inputs.

    Attributes:
        name: of the layer's node, "<module path>/<operator>".
        output: the name of the value.
        axis: of its channels.
        wanted: in float.
        got: as the quantized graph makes it.
        plain: as rounding to the nearest would make it, and then with the weights
            moved at random.
        ends: the lowest and the highest number that a quantizer leaves of `got`.
        mapped: whether the rounding of every narrow number in it is known.
        half: whether it is computed in 16 bits.
    """

    name: str
    output: str
    axis: int
    wanted: np.ndarray
    got: np.ndarray
    plain: tuple[np.ndarray, ...]
    ends: tuple[np.ndarray, np.ndarray] | None
    mapped: bool
    half: bool


@dataclass(frozen=True)
class Rounding:
    """An activation, and what its quantizer makes of it.

    Attributes:
        name: of the layer that it comes from.
        value: its name.
        given: in float.
        rounded: after quantizing and dequantizing.
        step: between neighbouring numbers; shaped to go with the values.
        ends: the lowest and the highest number that there is.
    """

    name: str
    value: str
    given: np.ndarray
    rounded: np.ndarray
    step: np.ndarray
    ends: tuple[np.ndarray, np.ndarray]


def compare(
    quantized: onnx.ModelProto,
    source: onnx.ModelProto,
    inputs: Mapping[str, np.ndarray],
    gains: Mapping[str, np.ndarray] | None = None,
) -> tuple[list[Rounding], list[Comparison]]:
    """Roundings of activations, and outputs of layers, in topological order.

    Args:
        quantized: int8, static or dynamic, or float16.
        source: the float graph that it was made from.
        inputs: by name; some tens of samples are enough.
        gains: by value, factors of its channels by which the quantized graph has it
            larger, because the layers that read it have smaller weights.
    """
    names = _segments.shared(quantized, source)
    seen = _layers.observed(source, inputs, names)
    given = {v: seen[v] for v in names if v in seen and seen[v].dtype.kind == "f"}
    makers = _naming.layer_names(quantized, source, given)
    axes = _naming.channel_axes(source)
    factors = {
        v: _segments.along(g, axes.get(v, -1), given[v].ndim)
        for v, g in (gains or {}).items()
    }
    fed = {
        v: (a * factors[v]).astype(a.dtype) if v in factors else a
        for v, a in given.items()
    }
    floats = {k: v for k, v in inputs.items() if v.dtype.kind == "f"}
    roundings = _roundings(quantized, fed, inputs)
    own = _layers.forced_values(quantized, fed, inputs)
    unscaled = {
        v: (a / factors[v] if v in factors else a).astype(np.float32)
        for v, (a, _) in roundings.items()
    }
    plain, mapped = _plain.plain(
        quantized, source, {**floats, **given}, unscaled, inputs, axes
    )
    constants = _segments.initializers(quantized)
    ends = {
        v: grid.ends(given[v].ndim)
        for v, node in _segments.quantizers(quantized).items()
        if v in given and (grid := _segments.grid(node, constants))
    }
    halves = _halves(quantized, given)
    compared = [
        Comparison(
            *(makers[v][0], v, axes.get(v, -1), wanted, own[v], plain[v]),
            *(ends.get(v), v in mapped, v in halves),
        )
        for v, wanted in given.items()
        if v in own and v in plain
    ]
    told = []
    for value, (rounded, grid) in roundings.items():
        array = {**floats, **fed}[value]
        if grid is not None:
            name = makers[value][0] if value in makers else value
            scale = np.abs(grid.scale.astype(np.float64))
            step = _segments.along(scale, grid.axis, array.ndim)
            told.append(
                Rounding(name, value, array, rounded, step, grid.ends(array.ndim))
            )
    return told, compared


def _roundings(
    quantized: onnx.ModelProto, given: Values, inputs: Mapping[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, _segments.Grid | None]]:
    """The activations as they are after quantizing, with the grid if it is fixed."""
    constants = _segments.initializers(quantized)
    found: dict[str, tuple[np.ndarray, _segments.Grid | None]] = {}
    nodes = {
        v: n
        for v, n in _segments.quantizers(quantized).items()
        if v in given or v in inputs
    }
    back = {v: _segments.dequantized(quantized, n) for v, n in nodes.items()}
    shown = [
        w
        for v, n in nodes.items()
        for w in ([back[v]] if back[v] else list(n.output))
        if w
    ]
    values = _layers.forced_values(quantized, given, inputs, shown)
    for value, node in nodes.items():
        grid, name = _segments.grid(node, constants), back[value]
        if name:
            found[value] = values[name], grid
            continue
        whole = values[node.output[0]].astype(np.float64)
        if grid is None:
            scale, zero = (values[o] for o in node.output[1:3])
        else:
            scale, zero = (
                _segments.along(a, grid.axis, whole.ndim)
                for a in (grid.scale, grid.zero)
            )
        rounded = (whole - zero.astype(np.float64)) * scale
        found[value] = rounded.astype(np.float32), grid
    return found


def _halves(quantized: onnx.ModelProto, given: Values) -> set[str]:
    """The values that come from arithmetic in 16 bits."""
    halves = _segments.halves(quantized)
    return {
        v
        for v in given
        if halves
        and (
            v in halves
            or any(
                halves.intersection(n.output)
                for n in _segments.segment(quantized, v, given.keys() - {v})
            )
        )
    }
