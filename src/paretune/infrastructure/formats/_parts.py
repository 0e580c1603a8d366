"""Which layer of the model each part of an ONNX graph belongs to, and its channels."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

# They are fused into the operator before them where the runtime can.
FUSED = frozenset(
    {"Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh"}
)
FORMATS = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"}
)
WEIGHTED = frozenset(
    {
        *("Conv", "ConvTranspose", "ConvInteger", "Gemm", "MatMul", "MatMulInteger"),
        *("MatMulNBits", "Gather", "GatherBlockQuantized"),
        *("LSTM", "GRU", "DynamicQuantizeLSTM"),
    }
)
_FAMILIES = (
    *("QLinear", "Nhwc", "FusedConv", "DynamicQuantize", "Fused"),
    *("Integer", "NBits", "BlockQuantized"),
)


@dataclass(frozen=True)
class Parts:
    """The layers of a graph.

    Attributes:
        layers: module paths in the order that they run in.
        owner: the layer of each value, and of each weight that has only one.
        weighted: layers with weights of their own, and the operator that has them.
        rest: (layer, family of operator) of every node that computes, in order.
    """

    layers: tuple[str, ...]
    owner: Mapping[str, str]
    weighted: Mapping[str, str]
    rest: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Channels:
    """A layer whose weights make output channels.

    Attributes:
        layer: its module path.
        node: which node of the graph it is.
        axis: of the weights that counts the channels.
        norms: L2 norm of each channel's weights, shape (channels,).
    """

    layer: str
    node: int
    axis: int
    norms: np.ndarray


def names(model: onnx.ModelProto, twin: onnx.ModelProto | None = None) -> list[str]:
    """The name of each node, from `twin` where the file has dropped it.

    Args:
        model: of an artifact.
        twin: the graph that it was written from, if that is at hand.
    """
    own = [node.name for node in model.graph.node]
    if twin is None:
        return own
    before = len(own) - len(twin.graph.node)  # weights that are stored transposed
    pairs = zip(
        itertools.islice(model.graph.node, max(0, before), None),
        twin.graph.node,
        strict=False,
    )
    if before < 0 or any(a.op_type != b.op_type for a, b in pairs):
        return own
    return own[:before] + [
        mine or its.name
        for mine, its in zip(own[before:], twin.graph.node, strict=True)
    ]


def matched(
    model: onnx.ModelProto, like: onnx.ModelProto, named: Sequence[str]
) -> list[str]:
    """Names for a file whose source is gone: those of the same layers of another.

    Operators are matched in their order, if both graphs have the same ones; else those
    with weights alone.

    Args:
        model: of the artifact.
        like: a graph of the same architecture.
        named: the names of its nodes.
    """
    own = names(model)
    for weighted in (False, True):
        mine, its = (_working(graph, weighted) for graph in (model, like))
        if [kind for _, kind in mine] == [kind for _, kind in its]:
            for (i, _), (j, _) in zip(mine, its, strict=True):
                own[i] = own[i] or named[j]
            break
    return own


def _working(model: onnx.ModelProto, weighted: bool) -> list[tuple[int, str]]:
    """Number and family of the nodes that runtimes run as operators of their own."""
    same = {"ReduceMean": "GlobalAveragePool"}
    found = []
    for number, node in enumerate(model.graph.node):
        kind = family(node.op_type)
        if node.op_type in (WEIGHTED if weighted else {node.op_type} - FORMATS - FUSED):
            found.append((number, same.get(kind, kind)))
    return found


def layer(name: str) -> str:
    """The module path of a node's name; the name itself for one of no module.

    Example:
        >>> layer("features.0/Conv"), layer("Add_2")
        ('features.0', 'Add_2')
    """
    return name.rpartition("/")[0] or name


def family(operator: str) -> str:
    """An operator without the prefixes of its kernels.

    Example:
        >>> family("NhwcMaxPool"), family("QLinearConv"), family("QGemm")
        ('MaxPool', 'Conv', 'Gemm')
    """
    for part in _FAMILIES:
        operator = operator.replace(part, "Conv" if part == "FusedConv" else "")
    return "Gemm" if operator == "QGemm" else operator


def parts(model: onnx.ModelProto, named: Sequence[str]) -> Parts:
    """The layers, with the activation functions that follow them.

    Args:
        model: of an artifact.
        named: the name of each node, from `names`.
    """
    graph = model.graph
    weights = {i.name for i in graph.initializer}
    owner: dict[str, str] = {}
    weighted: dict[str, str] = {}
    layers: dict[str, None] = {}
    users: dict[str, set[str]] = defaultdict(set)
    rest: list[tuple[str, str]] = []
    numbers: Counter[str] = Counter()
    constant = _constants(graph, weights)
    for node, name in zip(graph.node, named, strict=True):
        data = [v for v in node.input if v and v not in constant]
        held = [w for v in node.input for w in constant.get(v, ())]
        if node.op_type in FORMATS or not data:
            if data and data[0] in owner:
                owner |= dict.fromkeys(node.output, owner[data[0]])
            continue
        before = owner.get(data[0], "")
        if node.op_type in FUSED and before in weighted:
            own = before
        else:
            numbers[node.op_type] += 1
            own = layer(name) if name else f"{node.op_type} {numbers[node.op_type]}"
            rest.append((own, family(node.op_type)))
        if held and node.op_type in WEIGHTED:
            weighted.setdefault(own, family(node.op_type))
        layers.setdefault(own)
        owner |= dict.fromkeys(node.output, own)
        for weight in held:
            users[weight].add(own)
    owner |= {w: next(iter(own)) for w, own in users.items() if len(own) == 1}
    return Parts(tuple(layers), owner, weighted, tuple(rest))


def _constants(graph: onnx.GraphProto, weights: set[str]) -> dict[str, set[str]]:
    """The weights that each constant value is made from."""
    found = {name: {name} for name in weights}
    for node in graph.node:
        if node.input and all(v in found for v in node.input if v):
            made = set[str]().union(*(found[v] for v in node.input if v))
            found |= dict.fromkeys(node.output, made)
    return found


def channels(model: onnx.ModelProto, named: Sequence[str]) -> dict[str, Channels]:
    """Output channels of the layers with float weights, the first node of each."""
    weights = {i.name: i for i in model.graph.initializer}
    found: dict[str, Channels] = {}
    for number, (node, name) in enumerate(zip(model.graph.node, named, strict=True)):
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
            continue
        weight = weights.get(node.input[1])
        if weight is None or not name:
            continue
        crossed = any(a.name == "transB" and a.i for a in node.attribute)
        axis = 0 if node.op_type == "Conv" or crossed else len(weight.dims) - 1
        values = np.moveaxis(numpy_helper.to_array(weight), axis, 0)
        norms = np.linalg.norm(values.reshape(len(values), -1).astype(float), axis=1)
        found.setdefault(layer(name), Channels(layer(name), number, axis, norms))
    return found


def without(model: onnx.ModelProto, part: Channels, count: int) -> onnx.ModelProto:
    """A copy in which the weakest channels of one layer give nothing.

    Args:
        model: that `part` was found in.
        part: the layer.
        count: of channels, those with the smallest norm.
    """
    gone = np.argsort(part.norms, kind="stable")[:count]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weights = {i.name: i for i in copy.graph.initializer}
    node = copy.graph.node[part.node]
    ends = {1: part.axis, 2: 0}  # what follows has the channels on that axis
    for place, axis in ends.items():
        if place >= len(node.input) or node.input[place] not in weights:
            continue
        values = numpy_helper.to_array(weights[node.input[place]]).copy()
        if values.ndim <= axis or values.shape[axis] != len(part.norms):
            continue
        np.moveaxis(values, axis, 0)[gone] = 0
        name = f"{node.input[place]} without {count}"  # others may use it as well
        copy.graph.initializer.append(numpy_helper.from_array(values, name))
        node.input[place] = name
    return copy


def operator_layers(
    parts_: Parts, operators: Iterable[tuple[str, str, str, Sequence[str]]]
) -> list[str]:
    """The layer of each operator that a runtime ran; empty where it can't be told.

    Args:
        parts_: of the artifact.
        operators: (name, type, kind, values) of each, in the order that they ran in.
    """
    given = list(operators)
    found = [_layer_of(parts_, name, values) for name, _, _, values in given]
    known = {
        own
        for own, (_, _, kind, _) in zip(found, given, strict=True)
        if kind == "compute"
    }
    waiting = [item for item in parts_.rest if item[0] not in known]
    for i, (_, op, kind, _) in enumerate(given):
        if found[i] or kind != "compute":
            continue
        hit = next((item for item in waiting if item[1] == family(op)), None)
        if hit is not None:
            waiting.remove(hit)
            found[i] = hit[0]
    return found


def _layer_of(parts_: Parts, name: str, values: Sequence[str]) -> str:
    hits = [parts_.owner[v] for v in values if v in parts_.owner]
    heavy = [hit for hit in hits if hit in parts_.weighted]
    if heavy or hits:
        return (heavy or hits[::-1])[0]
    return layer(name) if layer(name) in parts_.layers else ""
