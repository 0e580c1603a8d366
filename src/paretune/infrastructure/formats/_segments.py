"""Cuts two ONNX graphs that compute the same at the values that both of them name.

A segment is what lies between one shared value and those before it: a layer, in float
in one graph and quantized in the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from paretune.infrastructure.formats._graph import graphs

QUANTIZERS = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
GIVEN = "//given"  # the end of the name of a value that is fed
_KINDS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}


@dataclass(frozen=True)
class Grid:
    """What a QuantizeLinear node can represent: `scale * (q - zero)`."""

    scale: np.ndarray
    zero: np.ndarray
    low: float
    high: float
    axis: int

    def ends(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """The lowest and the highest value, for an array of that many axes."""
        step = along(np.abs(self.scale.astype(np.float64)), self.axis, rank)
        zero = along(self.zero.astype(np.float64), self.axis, rank)
        return (self.low - zero) * step, (self.high - zero) * step


def initializers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The constants of the outer graph by name."""
    return {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}


def produced(model: onnx.ModelProto) -> list[str]:
    """Names of the values that the outer graph computes, in its order."""
    return [v for node in model.graph.node for v in node.output if v]


def folded(model: onnx.ModelProto) -> set[str]:
    """Names of the values that depend on no input."""
    constant = {i.name for i in model.graph.initializer} | {""}
    for node in model.graph.node:
        if constant.issuperset(node.input) and not _inner(node):
            constant.update(node.output)
    return constant


def shared(model: onnx.ModelProto, source: onnx.ModelProto) -> list[str]:
    """Names of the values that both graphs compute from inputs, in the source's order.

    Example:
        >>> node = helper.make_node("Relu", ["x"], ["y"])
        >>> graph = helper.make_model(helper.make_graph([node], "g", [], []))
        >>> shared(graph, graph)
        ['y']
    """
    there = set(produced(model)) - folded(model)
    there -= {v.name for v in model.graph.input}
    fixed = folded(source)
    return [v for v in produced(source) if v in there and v not in fixed]


def segment(
    model: onnx.ModelProto, target: str, stops: Collection[str]
) -> list[onnx.NodeProto]:
    """The nodes that lead to `target` from `stops`, each after those that it reads."""
    makers = {v: i for i, node in enumerate(model.graph.node) for v in node.output}
    found: dict[int, None] = {}
    ahead = [(target, False)]
    while ahead:
        value, entered = ahead.pop()
        at = makers.get(value)
        if at is None or at in found:
            continue
        if entered:
            found[at] = None
            continue
        ahead.append((value, True))
        read = [v for v in _read(model.graph.node[at]) if v and v not in stops]
        ahead += [(v, False) for v in reversed(read)]
    return [model.graph.node[at] for at in found]


def forced(
    model: onnx.ModelProto, values: Collection[str], shown: Collection[str]
) -> onnx.ModelProto:
    """A copy in which whatever reads one of `values` gets what is fed instead.

    Args:
        model: it is left as it is.
        values: names of computed values; each becomes an input "<name>//given".
        shown: names of the outputs.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kinds = element_types(model)
    for node in copy.graph.node:
        swap(node, {v: v + GIVEN for v in values})
    copy.graph.input.extend(
        helper.make_tensor_value_info(
            v + GIVEN, kinds.get(v, TensorProto.FLOAT), shape=None
        )
        for v in values
    )
    show(copy, shown)
    return copy


def show(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Makes these values the outputs; shapes that were noted are dropped."""
    del model.graph.value_info[:]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=v) for v in names)


def renamed(
    node: onnx.NodeProto, names: Mapping[str, str], prefix: str
) -> onnx.NodeProto:
    """A copy whose values have names of their own, but for those in `names`."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    swap(copy, {v: names.get(v, prefix + v) for v in node.input if v})
    copy.output[:] = [names.get(v, prefix + v) if v else "" for v in node.output]
    copy.name = prefix + node.name
    return copy


def swap(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Renames what a node, and graphs inside it, read."""
    node.input[:] = [names.get(v, v) for v in node.input]
    for graph in _inner(node):
        for each in graphs(graph):
            for child in each.node:
                child.input[:] = [names.get(v, v) for v in child.input]


def quantizers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The node that makes each activation 8-bit, by the activation's name."""
    fixed = folded(model)
    found: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:
        if node.op_type in QUANTIZERS and node.input[0] not in fixed:
            found.setdefault(node.input[0], node)
    return found


def dequantized(model: onnx.ModelProto, node: onnx.NodeProto) -> str | None:
    """The name of the float value that a quantizer's output is turned back to."""
    for other in model.graph.node:
        if other.op_type == "DequantizeLinear" and other.input[0] == node.output[0]:
            return str(other.output[0])
    return None


def grid(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> Grid | None:
    """The grid of a quantizer with constant parameters."""
    if node.op_type != "QuantizeLinear" or node.input[1] not in constants:
        return None
    scale = constants[node.input[1]]
    name = node.input[2] if len(node.input) > 2 else ""
    zero = constants.get(name, np.zeros(scale.shape, np.uint8))
    low, high = limits(zero.dtype)
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    return Grid(scale, zero, low, high, axis)


def limits(dtype: np.dtype) -> tuple[float, float]:
    """The smallest and the largest number of an integer type, of 4 bits too."""
    if dtype.name in ("int4", "uint4"):
        return (-8.0, 7.0) if dtype.name == "int4" else (0.0, 15.0)
    info = np.iinfo(dtype)
    return float(info.min), float(info.max)


def along(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """Values of one axis, so shaped that they go with an array of `rank` axes."""
    if values.ndim != 1 or not rank:
        return values
    shape = [1] * rank
    shape[axis % rank] = -1
    return values.reshape(shape)


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """The number formats of values, as far as they are noted or can be inferred."""
    try:
        known = onnx.shape_inference.infer_shapes(model)
    except Exception:  # of operators that inference doesn't know
        known = model
    graph = known.graph
    parts = itertools.chain(graph.input, graph.value_info, graph.output)
    return {v.name: v.type.tensor_type.elem_type for v in parts}


def halves(model: onnx.ModelProto) -> set[str]:
    """Names of values that are computed in 16 bits."""
    kinds = element_types(model)
    return {v for v, kind in kinds.items() if kind == TensorProto.FLOAT16} - folded(
        model
    )


def is_float(kind: int) -> bool:
    """Whether an element type of ONNX is one of the floats."""
    return kind in _KINDS


def _read(node: onnx.NodeProto) -> Iterator[str]:
    yield from node.input
    for graph in _inner(node):
        for each in graphs(graph):
            for child in each.node:
                yield from child.input


def _inner(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    found = [a.g for a in node.attribute if a.HasField("g")]
    return found + [g for a in node.attribute for g in a.graphs]
