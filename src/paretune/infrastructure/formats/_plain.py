"""Runs a float graph with its numbers rounded as a quantized graph rounds them.

Where a layer has few channels, its error by rounding to the nearest may be small by
luck. So more is tried: the weights are moved at random before, and moved back after
rounding, which leaves an error of the same distribution (subtractive dither).

Source: Schuchman 1964, "Dither signals and their effect on quantization noise",
IEEE Transactions on Communication Technology 12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

from paretune.infrastructure.formats import (
    _counts,
    _layers,
    _naming,
    _segments,
    _steps,
)
from paretune.infrastructure.formats._layers import Values
from paretune.infrastructure.formats._segments import GIVEN

ROUNDED = "//rounded"
PLAIN = "//plain"
ENOUGH = 64  # channels that the usual error of a layer is taken from
MOST = 16


def plain(
    quantized: onnx.ModelProto,
    source: onnx.ModelProto,
    given: Values,
    rounded: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray],
    axes: Mapping[str, int],
) -> tuple[dict[str, tuple[np.ndarray, ...]], set[str]]:
    """What plain rounding makes of each value, and for which all of it is known.

    Args:
        quantized: gives the step sizes.
        source: the float graph.
        given: its values by name, and its float inputs.
        rounded: those that are quantized, as they are after that.
        inputs: of the graph.
        axes: which axis of a value is that of its channels; the last if not given.

    Returns:
        by value, its arrays by rounding to the nearest and by each dither; and the
        names of the values for which no narrow number is of an unknown kind.
    """
    stops = {*given, *inputs}
    weights = _steps.roundings(quantized, source)
    known = {origin for origins in weights.values() for origin in origins}
    narrow = _narrow_weights(quantized)
    constants = _segments.initializers(source)
    nodes: list[onnx.NodeProto] = []
    taken: dict[str, np.ndarray] = {}
    feeds: Values = {}
    mapped = set()
    shown: dict[str, list[str]] = {}
    coarsest: dict[str, float] = {}
    for value in (v for v in given if v not in inputs):
        theirs = _segments.segment(quantized, value, stops - {value})
        reads = {v for n in theirs for v in n.input}
        coarse = {n.input[0] for n in theirs if n.op_type in _segments.QUANTIZERS}
        coarsest[value] = _inner_step(quantized, theirs, coarse - stops)
        blocks = {n.input[0]: _block(n) for n in theirs if _block(n)}
        # Where 8-bit numbers go on without a float between, so must this segment.
        mine = _segments.segment(source, value, (stops & reads) - {value})
        names: dict[str, str] = {}
        narrowed = []
        for name in {v for n in mine for v in n.input if v}:
            if name in blocks and name in given:
                names[name] = f"{name}{ROUNDED}{blocks[name]}"
                feeds[names[name]] = _steps.by_blocks(given[name], blocks[name])
            elif name in coarse and name in rounded:
                names[name] = name + ROUNDED
                feeds[names[name]] = rounded[name]
            elif name in given and name in reads:
                names[name] = name + GIVEN
                feeds[names[name]] = given[name]
            elif name in inputs:
                names[name] = name
            elif name in constants:
                names[name] = name
                origins = sorted(weights.get(name, {}).keys() & reads)
                narrowed += [(name, weights[name][o]) for o in origins[:1]]
        # Weights of another layer are known, and wrong here.
        if narrow & reads <= known:
            mapped.add(value)
        tries = _tries(given[value], axes.get(value, -1)) if narrowed else 1
        shown[value] = [f"{value}{PLAIN}{i}" for i in range(tries)]
        for i, end in enumerate(shown[value]):
            own = {**names, value: end}
            for name, rounding in narrowed:
                own[name] = f"{name}{PLAIN}{i}"
                if own[name] not in taken:
                    dither = np.random.default_rng(i) if i else None
                    taken[own[name]] = rounding(constants[name], dither)
            nodes += [_segments.renamed(node, own, f"{end}//") for node in mine]
    model = _with_nodes(source, nodes, taken, feeds)
    every = [end for ends in shown.values() for end in ends]
    found = _layers.observed(model, {**inputs, **feeds}, every)
    answers = {}
    for value, ends in shown.items():
        arrays = [found[end] for end in ends if end in found]
        if step := coarsest[value]:
            arrays = [np.round(a / step) * np.float32(step) for a in arrays]
        if arrays:
            answers[value] = tuple(arrays)
    return answers, mapped


def _block(node: onnx.NodeProto) -> int:
    """How many inputs share a scale in a product that rounds them itself; or 0."""
    own = {a.name: a.i for a in node.attribute}
    in_8_bits = own.get("accuracy_level") == _steps.IN_8_BITS
    return own["block_size"] if node.op_type == "MatMulNBits" and in_8_bits else 0


def _tries(values: np.ndarray, axis: int) -> int:
    """So many that `ENOUGH` channels are rounded, all tries together."""
    channels = len(_layers.by_channel(values, axis))
    return min(-(-ENOUGH // max(channels, 1)), MOST)


def _with_nodes(
    source: onnx.ModelProto,
    nodes: Iterable[onnx.NodeProto],
    taken: Mapping[str, np.ndarray],
    feeds: Mapping[str, np.ndarray],
) -> onnx.ModelProto:
    """The source with other nodes, and with more constants and inputs."""
    model = onnx.ModelProto()
    model.CopyFrom(source)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        numpy_helper.from_array(a, name) for name, a in taken.items()
    )
    model.graph.input.extend(
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(a.dtype), shape=None
        )
        for name, a in feeds.items()
    )
    return model


def _inner_step(
    quantized: onnx.ModelProto, nodes: list[onnx.NodeProto], inner: set[str]
) -> float:
    """The coarsest step between two operators that are one in the source; or 0."""
    constants = _segments.initializers(quantized)
    fixed = _segments.folded(quantized)
    steps = [
        float(np.abs(grid.scale).max())
        for node in nodes
        if node.input and node.input[0] in inner - fixed
        if (grid := _segments.grid(node, constants))
    ]
    return max(steps, default=0.0)


def _narrow_weights(quantized: onnx.ModelProto) -> set[str]:
    """Names of constants that are weights in fewer bits."""
    grids = set(_counts._grids(quantized.graph))
    narrow = _naming.narrow_constants(quantized) - grids
    zeros = {
        v
        for n in quantized.graph.node
        if n.op_type == "DynamicQuantizeLSTM"
        for v in n.input[8:]
    }
    return {i.name for i in quantized.graph.initializer if i.name in narrow - zeros}
