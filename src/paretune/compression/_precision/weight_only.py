"""Layers whose weights alone are in blocks of 4 or 8 bits, in the runtime's kernels."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from paretune.compression._precision.blocks import Blocks, packed, rounded
from paretune.compression._quantization.choice import PRODUCTS, constants, weighted

DOMAIN = "com.microsoft"
# What the kernels compute in: inputs of a product are rounded to 8 bits, block by
# block, as they come. Without that, 8-bit weights are several times slower than
# floats on x86, and 4-bit ones hardly faster.
ACCURACY = 4
INT4_IR = 10  # the first version of ONNX with integers of 4 bits
KINDS = PRODUCTS | {"Gather"}


class Layer(NamedTuple):
    """A product or an embedding with constant weights.

    Attributes:
        node: in the graph.
        weight: the name of its weights.
        flipped: whether rows of the weights are inputs, not outputs.
    """

    node: onnx.NodeProto
    weight: str
    flipped: bool

    def shape(self, known: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """(outputs or entries, weights of each), from the shapes of all weights."""
        return known[self.weight][:: -1 if self.flipped else 1]

    def rows(self, weight: np.ndarray) -> np.ndarray:
        """The weights as (outputs or entries, weights of each)."""
        return np.ascontiguousarray(weight.T if self.flipped else weight)


def layers(graph: onnx.GraphProto) -> list[Layer]:
    """The layers that can be in blocks, in the order of the graph."""
    constant = constants(graph)
    found = []
    for node in graph.node:
        if not weighted(node, constant, KINDS):
            continue
        if node.op_type == "Gather":
            if not _attribute(node, "axis", 0):
                found.append(Layer(node, node.input[0], False))
        else:
            flipped = not (node.op_type == "Gemm" and _attribute(node, "transB", 0))
            found.append(Layer(node, node.input[1], flipped))
    return found


def stored_bytes(shape: tuple[int, ...], bits: int, block: int, symmetric: bool) -> int:
    """What weights take in blocks.

    Args:
        shape: (outputs, weights of each).
        bits: 4 or 8.
        block: weights that share a scale.
        symmetric: whether there are no zero points.

    Example:
        >>> stored_bytes((10, 64), 4, 32, True)
        400
    """
    rows, size = shape
    count = -(-size // block)
    zeros = 0 if symmetric else -(-count * bits // 8)
    return rows * (count * block * bits // 8 + 4 * count + zeros)


def replace(
    model: onnx.ModelProto,
    names: Collection[str],
    bits: int,
    block: int,
    symmetric: bool,
    moments: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Puts the weights of these layers into blocks, in place.

    Args:
        model: a float graph, or one of which these layers are still float.
        names: of the nodes of layers.
        bits: 4 or 8.
        block: weights that share a scale.
        symmetric: whether there are no zero points.
        moments: by the name of a node's input, for `blocks.rounded`.
    """
    graph = model.graph
    held = {i.name: i for i in graph.initializer}
    chosen = {
        layer.node.name: layer for layer in layers(graph) if layer.node.name in names
    }
    done: dict[str, list[onnx.TensorProto]] = {}
    nodes = []
    for node in graph.node:
        layer = chosen.get(node.name)
        if layer is None:
            nodes.append(node)
            continue
        weight = numpy_helper.to_array(held[layer.weight])
        scaled = _attribute(node, "alpha", 1.0)
        rows = layer.rows(weight) * np.float32(scaled)
        lookup = node.op_type == "Gather"
        key = f"{layer.weight}//{lookup}{layer.flipped}{scaled}"
        if key not in done:
            seen = None if lookup else (moments or {}).get(node.input[0])
            found = rounded(rows, bits, block, symmetric, seen)
            base = (
                layer.weight
                if not any(k.startswith(f"{layer.weight}//") for k in done)
                else key
            )
            done[key] = (_table if lookup else _matrix)(found, base, bits, symmetric)
        stored = [part.name for part in done[key]]
        if lookup:
            nodes.append(_gather(node, stored, bits, block))
        else:
            bias = _bias(node, held, graph, len(rows))
            shape = (rows.shape[1], len(rows))
            nodes.append(_product(node, stored, bias, shape, bits, block))
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(itertools.chain(*done.values()))
    _drop(graph, {layer.weight for layer in chosen.values()})
    if not any(o.domain == DOMAIN for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    if bits == 4 and any(layer.node.op_type == "Gather" for layer in chosen.values()):
        model.ir_version = max(model.ir_version, INT4_IR)


def _matrix(
    found: Blocks, name: str, bits: int, symmetric: bool
) -> list[onnx.TensorProto]:
    """Levels, scales and zero points as MatMulNBits takes them."""
    rows, size = found.levels.shape
    count = found.scale.shape[1]
    fill = ((0, 0), (0, count * found.block - size))
    levels = np.where(
        np.pad(np.ones(found.levels.shape, bool), fill),
        np.pad(found.levels, fill),
        np.repeat(found.zero, found.block, 1),
    ).reshape(rows, count, found.block)
    parts = [
        numpy_helper.from_array(packed(levels, bits), f"{name}_quantized"),
        numpy_helper.from_array(found.scale, f"{name}_scale"),
    ]
    if not symmetric:
        zeros = packed(found.zero, bits)
        parts.append(numpy_helper.from_array(zeros, f"{name}_zero_point"))
    return parts


def _table(
    found: Blocks, name: str, bits: int, symmetric: bool
) -> list[onnx.TensorProto]:
    """Levels, scales and zero points as GatherBlockQuantized takes them."""
    middle = 2 ** (bits - 1) if symmetric else 0

    def whole(values: np.ndarray, name: str) -> onnx.TensorProto:
        if bits == 8:
            return numpy_helper.from_array(values, name)
        kind = TensorProto.INT4 if symmetric else TensorProto.UINT4
        raw = (values.astype(np.int8) - middle).astype(np.uint8) & 15
        content = packed(raw.reshape(-1), 4).tobytes()
        return helper.make_tensor(name, kind, values.shape, content, raw=True)

    parts = [
        whole(found.levels, f"{name}_quantized"),
        numpy_helper.from_array(found.scale, f"{name}_scale"),
    ]
    return parts if symmetric else [*parts, whole(found.zero, f"{name}_zero_point")]


def _gather(
    node: onnx.NodeProto, stored: list[str], bits: int, block: int
) -> onnx.NodeProto:
    levels, *grid = stored
    return helper.make_node(
        "GatherBlockQuantized",
        [levels, node.input[1], *grid],
        list(node.output),
        node.name,
        domain=DOMAIN,
        gather_axis=0,
        quantize_axis=1,
        block_size=block,
        **({"bits": bits} if bits == 8 else {}),
    )


def _product(
    node: onnx.NodeProto,
    stored: list[str],
    bias: str,
    shape: tuple[int, int],
    bits: int,
    block: int,
) -> onnx.NodeProto:
    inputs = [node.input[0], *stored]
    if bias:
        inputs += [""] * (5 - len(inputs)) + [bias]
    return helper.make_node(
        "MatMulNBits",
        inputs,
        list(node.output),
        node.name,
        domain=DOMAIN,
        K=shape[0],
        N=shape[1],
        bits=bits,
        block_size=block,
        accuracy_level=ACCURACY,
    )


def _bias(
    node: onnx.NodeProto,
    held: Mapping[str, onnx.TensorProto],
    graph: onnx.GraphProto,
    outputs: int,
) -> str:
    """The name of a Gemm's bias, of one value for each output; "" for none."""
    if node.op_type != "Gemm" or len(node.input) < 3 or not node.input[2]:
        return ""
    given, share = held[node.input[2]], _attribute(node, "beta", 1.0)
    if tuple(given.dims) == (outputs,) and share == 1.0:
        return str(node.input[2])
    values = numpy_helper.to_array(given) * np.float32(share)
    values = np.broadcast_to(values.reshape(-1), (outputs,))
    name = f"{node.name}//bias"
    graph.initializer.append(numpy_helper.from_array(values.copy(), name))
    return name


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    for attribute in node.attribute:
        if attribute.name == name:
            return float(helper.get_attribute_value(attribute))
    return default


def _drop(graph: onnx.GraphProto, names: Collection[str]) -> None:
    """Takes these constants out, but for those that something still reads."""
    if any(a.HasField("g") or a.graphs for n in graph.node for a in n.attribute):
        return  # an inner graph may read any of them
    used = {name for n in graph.node for name in n.input}
    used |= {o.name for o in graph.output}
    for weight in [
        w for w in graph.initializer if w.name in names and w.name not in used
    ]:
        graph.initializer.remove(weight)
