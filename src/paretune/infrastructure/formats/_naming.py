"""What the layers of a float graph are called in the graph that was made from it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection

import onnx
from onnx import TensorProto

from paretune.infrastructure.formats import _segments

WEIGHTED = frozenset(
    {"Conv", "ConvTranspose", "MatMul", "Gemm", "Gather", "LSTM", "GRU", "RNN"}
)
INTEGER = {
    "MatMulInteger": "MatMul",
    "ConvInteger": "Conv",
    "QLinearConv": "Conv",
    "QLinearMatMul": "MatMul",
    "QGemm": "Gemm",
    "MatMulNBits": "MatMul",
    "GatherBlockQuantized": "Gather",
    "DynamicQuantizeLSTM": "LSTM",
}
# They vanish into the range of the operator before them.
ABSORBED = frozenset({"Relu", "Clip"})
# What quantizing adds to the name of a layer's node.
_ADDED = re.compile(r"(_MatMul|_Add|_quant|_Q4|_output_scale_mul|_quant_scales_mul)+$")
# Operators whose channels are axis 1; after others they are the last axis.
_SECOND = frozenset(
    {
        *("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "MaxPool"),
        *("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization"),
        *("InstanceNormalization", "GroupNormalization"),
    }
)
_LAST = frozenset(
    {
        *("MatMul", "Gemm", "Gather", "LayerNormalization", "MatMulInteger"),
        *("MatMulNBits", "GatherBlockQuantized"),
    }
)


def layer_names(
    model: onnx.ModelProto, source: onnx.ModelProto, values: Collection[str]
) -> dict[str, tuple[str, str]]:
    """(node name, operator) of the layer that each value comes from.

    The node with weights counts, if there is one between the value and those before;
    or else a node that the source has there, and the other graph hasn't.
    """
    ops = {n.name: n.op_type for n in source.graph.node if n.name}
    makers = {v: n for n in source.graph.node for v in n.output}
    every = _segments.shared(model, source)
    stops = {*every, *(i.name for i in source.graph.input)}
    found = {}
    for value in values:
        theirs = _segments.segment(model, value, stops - {value})
        nodes = [n for n in theirs if original(n.name, ops) in ops]
        heavy = [n for n in nodes if n.op_type in WEIGHTED or n.op_type in INTEGER]
        maker = makers[value]
        names = [original(n.name, ops) for n in heavy or nodes]
        if not heavy:
            reads = {v for n in theirs for v in n.input}
            mine = _segments.segment(source, value, (stops & reads) - {value})
            names += [
                n.name
                for n in mine
                if n.name not in names and n.op_type not in ABSORBED
            ]
        name = next(reversed(names), "") or maker.name
        found[value] = (name, ops.get(name, maker.op_type))
    return found


def channel_axes(model: onnx.ModelProto) -> dict[str, int]:
    """Which axis of a value is that of its channels, where it isn't the last."""
    found: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in _SECOND:
            axis = 1
        elif node.op_type in _LAST or node.op_type in ("Transpose", "Reshape"):
            axis = -1
        else:
            axis = next((found[v] for v in node.input if v in found), -1)
        for value in node.output:
            if axis == 1:
                found[value] = axis
    return found


def narrow_constants(model: onnx.ModelProto) -> set[str]:
    """Constants of fewer than 32 bits that are weights, and what is made from them."""
    small = {
        *(TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4),
        *(TensorProto.FLOAT16, TensorProto.BFLOAT16),
    }
    found = {
        i.name
        for i in model.graph.initializer
        if i.data_type in small and math.prod(i.dims) > 1
    }
    fixed = _segments.folded(model)
    for node in model.graph.node:
        if set(node.output) <= fixed and found.intersection(node.input[:1]):
            found.update(node.output)
    return found


def original(name: str, names: Collection[str]) -> str:
    """The float graph's name of a quantized graph's node."""
    if name in names:
        return name
    first = name.partition("#")[0]
    return first if first in names else bare(name)


def bare(name: str) -> str:
    """A node's name without what quantizing adds to it.

    Example:
        >>> bare("head/Gemm_MatMul_quant")
        'head/Gemm'
    """
    return _ADDED.sub("", name)
