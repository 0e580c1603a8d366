"""Channels of one size between two layers, by moving factors from one to the other.

Between a layer and the next, a channel may be made smaller by any factor above 0 if the
weights that read it are made larger by the same, as long as what lies between them
commutes with it (ReLU, pooling, nothing at all). One scale for all channels then fits
each of them.

Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", arXiv:1906.04721, section 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from paretune.compression._quantization.choice import constants, weighted
from paretune.compression._quantization.weights import (
    LAYERS,
    arrays,
    axis_of,
    integer,
    integers,
    put,
    readers,
    separate,
    uses,
)

ROUNDS = 20
ENOUGH = 1e-3  # of the logarithm of a factor
THROUGH = frozenset({"Relu", "LeakyRelu", "Identity", "Dropout"})
POOLING = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool"})
FLAT = frozenset({"Flatten", "Reshape", "Squeeze"})

Shapes = dict[str, tuple[int, ...]]


class Pair(NamedTuple):
    """Two layers with nothing between them that a factor would change.

    Attributes:
        first: gives the channels.
        biases: names of constants that are added to them.
        second: reads them.
    """

    first: onnx.NodeProto
    biases: tuple[str, ...]
    second: onnx.NodeProto


def channels(model: onnx.ModelProto, kept: Collection[str]) -> int:
    """Evens out the channels between layers; what the graph computes stays the same.

    Args:
        model: from `prepare`; its weights are changed in place.
        kept: names of nodes to leave alone.

    Returns:
        how many pairs of layers there were.
    """
    separate(model)
    found = pairs(model, kept)
    names = {n for p in found for n in (p.first.input[1], *p.biases, p.second.input[1])}
    held = {k: v.astype(np.float64) for k, v in arrays(model, names).items()}
    for _ in range(ROUNDS):
        moved = max((_equalise(pair, held) for pair in found), default=0.0)
        if moved < ENOUGH:
            break
    put(model, {k: v.astype(np.float32) for k, v in held.items()})
    return len(found)


def pairs(model: onnx.ModelProto, kept: Collection[str]) -> list[Pair]:
    """The pairs of layers in a graph between which factors can be moved."""
    constant, used, read = constants(model.graph), uses(model), readers(model)
    shapes = _shapes(model)
    fixed = {i.name: i for i in model.graph.initializer}
    found = []
    for first in model.graph.node:
        if first.name in kept or not weighted(first, constant, LAYERS):
            continue
        size = constant[first.input[1]][axis_of(first)]
        biases = [name for name in first.input[2:] if name]
        if any(constant[name] not in ((size,), (1, size)) for name in biases):
            continue
        value, second = first.output[0], None
        while used[value] == 1 and len(read[value]) == 1:
            (node,) = read[value]
            if weighted(node, constant, LAYERS):
                second = node if node.input[0] == value else None
                break
            if node.op_type == "Add" and first.op_type == "MatMul":
                bias = next((n for n in node.input if n != value), "")
                if constant.get(bias) != (size,) or biases:
                    break
                biases.append(bias)
            elif not _passes(node, value, first.op_type == "Conv", shapes, fixed):
                break
            value = node.output[0]
        if second is None or second.name in kept or len(biases) > 1:
            continue
        alone = [first.input[1], second.input[1], *biases]
        if all(used[n] == 1 for n in alone) and _fits(second, constant, size, first):
            found.append(Pair(first, tuple(biases), second))
    return found


def _passes(
    node: onnx.NodeProto,
    value: str,
    maps: bool,
    shapes: Shapes,
    fixed: dict[str, onnx.TensorProto],
) -> bool:
    """Whether factors of channels go through it unchanged, in the order they came."""
    if node.input[0] != value:
        return False
    if node.op_type in THROUGH:
        return True
    before, after = shapes.get(value, ()), shapes.get(node.output[0], ())
    if not maps or len(before) < 3:
        return False
    if node.op_type in POOLING:
        return True
    axes = integers(node, "axes")
    if len(node.input) > 1 and node.input[1] in fixed:
        axes = np.atleast_1d(numpy_helper.to_array(fixed[node.input[1]])).tolist()
    if node.op_type in ("Squeeze", "Unsqueeze") and axes and len(after) > 2:
        return min(a % max(len(before), len(after)) for a in axes) > 1
    if node.op_type in FLAT:
        # Whatever its parameters are: a row of all channels, one after the other.
        wide = math.prod(before[1:])
        return len(after) == 2 and after[1] == wide > 0
    if node.op_type == "ReduceMean":
        return sorted(a % len(before) for a in axes) == list(range(2, len(before)))
    return False


def _fits(
    second: onnx.NodeProto,
    constant: dict[str, tuple[int, ...]],
    size: int,
    first: onnx.NodeProto,
) -> bool:
    shape = constant[second.input[1]]
    if second.op_type == "Conv":
        return shape[1] * integer(second, "group", 1) == size
    inner = shape[1 - axis_of(second)]
    return inner % size == 0 if first.op_type == "Conv" else inner == size


def _equalise(pair: Pair, held: dict[str, np.ndarray]) -> float:
    """The largest logarithm of the factors that were moved."""
    rows = np.moveaxis(held[pair.first.input[1]], axis_of(pair.first), 0)
    size = len(rows)
    columns, shape = _columns(held[pair.second.input[1]], pair.second, size)
    given = np.abs(rows).reshape(size, -1).max(1)
    others = tuple(i for i, length in enumerate(shape) if length == 1)
    taken = np.abs(columns).max(others).reshape(size)
    used = (given > 0) & (taken > 0)
    factor = np.ones(size)
    factor[used] = np.sqrt(given[used] / taken[used])
    for name in pair.biases:
        bias = np.abs(held[name]).reshape(-1)
        # A channel of small weights and a large bias would come to outweigh all else.
        factor = np.maximum(factor, np.where(used, bias / max(bias.max(), 1e-30), 0))
    rows /= factor.reshape(-1, *[1] * (rows.ndim - 1))
    for name in pair.biases:
        held[name] /= factor
    columns *= factor.reshape(shape)
    return float(np.abs(np.log(factor)).max(initial=0.0))


def _columns(
    weight: np.ndarray, node: onnx.NodeProto, size: int
) -> tuple[np.ndarray, tuple[int, ...]]:
    """The weights with axes for the channels that they read; factors' shape for it."""
    if node.op_type == "Conv":
        groups = integer(node, "group", 1)
        own = size // groups
        return weight.reshape(groups, -1, own, weight[0, 0].size), (groups, 1, own, 1)
    if axis_of(node) == 0:
        return weight.reshape(len(weight), size, -1), (1, size, 1)
    return weight.reshape(size, -1, weight.shape[1]), (size, 1, 1)


def _shapes(model: onnx.ModelProto) -> Shapes:
    """Shapes of values, with 0 for an axis of unknown size."""
    graph = model.graph
    return {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for part in (graph.input, graph.value_info, graph.output)
        for v in part
        if v.type.tensor_type.HasField("shape")
    }
