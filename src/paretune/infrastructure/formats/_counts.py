"""Counts what an ONNX graph holds and does: weights and multiply-accumulates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import TensorProto

from paretune.infrastructure.formats._graph import graphs

Shapes = dict[str, tuple[int, ...]]

_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_PRODUCTS = {"MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3}
_GEMMS = {"Gemm": 1, "QGemm": 3}
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
# Which inputs of an operator are scales and zero points.
_GRIDS = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
    "MatMulNBits": (2, 3),
    "GatherBlockQuantized": (2, 3),
}
# INT64 and BOOL hold shapes, indices and masks.
_WEIGHT_TYPES = frozenset(
    {
        *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16),
        *(TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT16),
        *(TensorProto.UINT16, TensorProto.INT8, TensorProto.UINT8),
        *(TensorProto.INT4, TensorProto.UINT4),
    }
)


def parameters(model: onnx.ModelProto) -> int:
    """Elements of the weights: no scales, zero points, shapes or lone constants."""
    total = 0
    for graph in graphs(model.graph):
        grids = set(_grids(graph))
        padded = {
            node.input[1]: attribute(node, "N") * attribute(node, "K")
            for node in graph.node
            if node.op_type == "MatMulNBits"
        }
        total += sum(
            padded.get(i.name, math.prod(i.dims))
            for i in graph.initializer
            if i.data_type in _WEIGHT_TYPES and i.dims and i.name not in grids
        )
    return total


def attribute(node: onnx.NodeProto, name: str, default: int = 0) -> int:
    """An attribute that is a whole number."""
    return next((a.i for a in node.attribute if a.name == name), default)


def _grids(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of the scales and zero points."""
    measured = {
        node.output[1] for node in graph.node if node.op_type == "DynamicQuantizeLinear"
    }
    for node in graph.node:
        for i in _GRIDS.get(node.op_type, ()):
            if i < len(node.input):
                yield node.input[i]
        # Dynamic quantization multiplies the scale of the input by the weight's.
        if node.op_type == "Mul" and measured.intersection(node.input):
            yield from node.input


def shapes(model: onnx.ModelProto, inputs: Mapping[str, tuple[int, ...]]) -> Shapes:
    """Shapes of the values in the graph when the inputs have these shapes.

    Values whose shape can't be inferred are left out.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in fixed.graph.input:
        if value.name in inputs:
            shape = value.type.tensor_type.shape
            del shape.dim[:]
            for size in inputs[value.name]:
                shape.dim.add().dim_value = size
    fixed = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    values = (fixed.graph.input, fixed.graph.output, fixed.graph.value_info)
    found = {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in itertools.chain(*values)
        if value.type.tensor_type.HasField("shape")
        and all(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim)
    }
    found |= {i.name: tuple(i.dims) for i in fixed.graph.initializer}
    return found


def observed_shapes(model: onnx.ModelProto, inputs: Mapping[str, np.ndarray]) -> Shapes:
    """Shapes of the values in the graph when it runs on these inputs.

    For graphs whose shapes are computed by operators that inference doesn't follow.
    """
    from paretune.infrastructure.formats._literal import literal

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    values = sorted({v for node in model.graph.node for v in node.output if v})
    probe.graph.output.extend(onnx.ValueInfoProto(name=v) for v in values)
    session = literal(probe)
    outputs = session.run(values, dict(inputs))
    found = {v: np.shape(o) for v, o in zip(values, outputs, strict=True)}
    found |= {name: array.shape for name, array in inputs.items()}
    return found | {i.name: tuple(i.dims) for i in model.graph.initializer}


def macs(model: onnx.ModelProto, known: Shapes) -> tuple[int, list[str]]:
    """(multiply-accumulates, nodes whose shapes aren't known).

    A convolution is `prod(output) * prod(weight[1:])`, a product of matrices
    `prod(output) * inner size`.
    """
    total, unknown = 0, []
    for node in model.graph.node:
        try:
            total += _of_node(node, known)
        except (KeyError, IndexError, ValueError):
            unknown.append(node.name or node.output[0])
    return total, unknown


def _of_node(node: onnx.NodeProto, known: Shapes) -> int:
    kind = node.op_type
    if kind in _CONVOLUTIONS:
        weight = known[node.input[_CONVOLUTIONS[kind]]]
        return math.prod(known[node.output[0]]) * math.prod(weight[1:])
    if kind == "ConvTranspose":
        weight = known[node.input[1]]
        return math.prod(known[node.input[0]]) * math.prod(weight[1:])
    if kind in _PRODUCTS:
        return math.prod(known[node.output[0]]) * known[node.input[0]][-1]
    if kind == "MatMulNBits":
        return math.prod(known[node.output[0]]) * attribute(node, "K")
    if kind in _GEMMS:
        left, right = (known[node.input[i]] for i in (0, _GEMMS[kind]))
        flags = {a.name: a.i for a in node.attribute}
        rows, inner = reversed(left) if flags.get("transA") else left
        return rows * inner * right[0 if flags.get("transB") else 1]
    if kind in _RECURRENT:
        steps, batch, _ = known[node.input[0]]
        return steps * batch * sum(math.prod(known[w]) for w in node.input[1:3])
    if kind == "Einsum" and len(node.input) == 2:
        (equation,) = (a.s.decode() for a in node.attribute if a.name == "equation")
        left, right = equation.partition("->")[0].replace(" ", "").split(",")
        sizes = dict(zip(left, known[node.input[0]], strict=True))
        sizes |= dict(zip(right, known[node.input[1]], strict=True))
        return math.prod(sizes.values())
    return 0
