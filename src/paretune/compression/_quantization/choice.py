"""What post-training quantization can make 8-bit in an ONNX graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple, cast

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from paretune.core.errors import UnsupportedError, nearest

# Operators that run on 8-bit data if their inputs are 8-bit already.
FOLLOWERS = frozenset(
    {
        *("Add", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid"),
        *("MaxPool", "AveragePool", "GlobalAveragePool", "Concat"),
        *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice"),
    }
)
# They vanish into the range of the operator before them.
ABSORBED = frozenset({"Relu", "Clip"})
PRODUCTS = frozenset({"MatMul", "Gemm"})
STATIC = PRODUCTS | {"Conv", "Gather"}
DYNAMIC = PRODUCTS | {"Gather", "LSTM"}


class Chosen(NamedTuple):
    """What runs in 8 bits: the names of nodes, and of the tensors that need ranges."""

    nodes: tuple[str, ...]
    tensors: tuple[str, ...]


def prepare(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with shapes, a name for each node, and weights that are constants."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    taken: set[str] = set()
    for number, node in enumerate(copy.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}#{number}"
        taken.add(node.name)
    _fold_transposes(copy.graph)
    return cast(onnx.ModelProto, onnx.shape_inference.infer_shapes(copy))


def matching(model: onnx.ModelProto, patterns: str) -> frozenset[str]:
    """The names of the nodes that comma-separated patterns mean.

    A pattern is an operator ("Softmax") or a layer ("head", "layers.0.*"), whose own
    layers are meant too. An ONNX operator need not occur.

    Raises:
        UnsupportedError: a pattern matches nothing.
    """
    found: set[str] = set()
    words = {n.name: _words(n) for n in model.graph.node}
    for pattern in filter(None, map(str.strip, patterns.split(","))):
        hits = {
            name
            for name, own in words.items()
            if any(fnmatchcase(word, pattern) for word in own)
        }
        if not hits and not onnx.defs.has(pattern):
            known = {w for own in words.values() for w in own if "/" not in w}
            raise UnsupportedError(
                "keep-float",
                f"keep_float: no operator or layer matches {pattern!r}; "
                + nearest(pattern, known),
            )
        found |= hits
    return frozenset(found)


def choose(
    model: onnx.ModelProto, kept: Collection[str]
) -> tuple[onnx.ModelProto, Chosen]:
    """What static quantization makes 8-bit.

    Convolutions and products with constant weights; and operators between
    convolutions that have 8-bit kernels, so that data stays in 8 bits from one to
    the next. An operator that only feeds float ones is left alone.

    Args:
        model: from `prepare`; means over all of an image become pooling in place.
        kept: names of nodes to leave in float.

    Raises:
        UnsupportedError: there is no such operator.
    """
    graph = model.graph
    constant = constants(graph)
    shown = {o.name for o in graph.output}
    narrow: set[str] = set()
    chosen: dict[str, onnx.NodeProto] = {}
    nodes: list[onnx.NodeProto] = []
    for original in graph.node:
        parts = [original]
        if original.name not in kept and original.input and original.input[0] in narrow:
            parts = _as_pooling(original, graph) or parts
        nodes += parts
        for node in parts:
            # The quantizer would cut off negative values in the output as well.
            visible = node.op_type in ABSORBED and node.input[0] in shown
            if node.name in kept or visible:
                continue
            if weighted(node, constant, STATIC):
                chosen[node.name] = node
                if node.op_type == "Conv":
                    narrow.update(node.output)
            elif node.op_type in FOLLOWERS and _all_narrow(node, narrow, constant):
                chosen[node.name] = node
                narrow.update(node.output)
    if not any(weighted(n, constant, STATIC) for n in chosen.values()):
        raise UnsupportedError(
            "not-applicable",
            "static int8 finds no convolution, matrix product or embedding with "
            "constant weights; leave this step out.",
        )
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    chosen = _without_dead_ends(chosen, graph, constant)
    readers = _readers(graph)
    tensors = set()
    for node in chosen.values():
        if node.op_type == "Gather":
            continue
        ends = [*_data(node), *([] if node.op_type in PRODUCTS else node.output)]
        for name in filter(None, ends):
            into = [r.name in chosen and r.op_type in ABSORBED for r in readers[name]]
            if name not in constant and into != [True]:
                tensors.add(name)
    return model, Chosen(tuple(chosen), tuple(sorted(tensors)))


def constants(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """The shapes of the float weights by name."""
    return {
        i.name: tuple(i.dims)
        for i in graph.initializer
        if i.data_type == TensorProto.FLOAT
    }


def weighted(
    node: onnx.NodeProto,
    constant: Mapping[str, tuple[int, ...]],
    kinds: Collection[str],
) -> bool:
    """Whether it is one of these operators with weights that 8-bit kernels take.

    Args:
        node: of the graph.
        constant: from `constants`.
        kinds: `STATIC` or `DYNAMIC`.
    """
    if node.op_type not in kinds:
        return False
    inputs = list(node.input)
    match node.op_type:
        case "Conv":
            return all(name in constant for name in inputs[1:] if name)
        case "Gemm":
            crossed = any(a.name == "transA" and a.i for a in node.attribute)
            return not crossed and all(name in constant for name in inputs[1:] if name)
        case "MatMul":
            return len(constant.get(inputs[1], ())) == 2
        case "Gather":
            return len(constant.get(inputs[0], ())) == 2
        case "LSTM":
            return all(name in constant for name in inputs[1:3])
        case _:
            return False


def _words(node: onnx.NodeProto) -> list[str]:
    """What a pattern may call it: its operator, its name, its layer and those above."""
    path = node.name.rpartition("/")[0].split(".")
    layers = [".".join(path[:n]) for n in range(1, len(path) + 1)]
    return [node.op_type, node.name, *filter(None, layers)]


def _data(node: onnx.NodeProto) -> list[str]:
    """The inputs that are data, not weights, shapes or limits."""
    every = node.op_type in ("Add", "Mul", "Concat")
    return list(node.input) if every else list(node.input[:1])


def _all_narrow(
    node: onnx.NodeProto, narrow: Collection[str], constant: Collection[str]
) -> bool:
    moving = [name for name in _data(node) if name not in constant]
    return bool(moving) and all(name in narrow for name in moving)


def _readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    found: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            found[name].append(node)
    return found


def _without_dead_ends(
    chosen: Mapping[str, onnx.NodeProto],
    graph: onnx.GraphProto,
    constant: Mapping[str, tuple[int, ...]],
) -> dict[str, onnx.NodeProto]:
    """Without the followers whose results nothing reads in 8 bits."""
    readers = _readers(graph)
    makers = {name: node for node in graph.node for name in node.output}
    kept: set[str] = set()
    for name, node in reversed(list(chosen.items())):
        read = any(r.name in kept for o in node.output for r in readers[o])
        maker = makers.get(node.input[0])
        free = (
            node.op_type in ABSORBED and maker is not None and maker.op_type == "Conv"
        )
        if read or free or weighted(node, constant, STATIC):
            kept.add(name)
    return {name: node for name, node in chosen.items() if name in kept}


def _as_pooling(
    node: onnx.NodeProto, graph: onnx.GraphProto
) -> list[onnx.NodeProto] | None:
    """A mean over all axes after the channels, as pooling, which has 8-bit kernels."""
    if node.op_type != "ReduceMean":
        return None
    shape = next((v for v in graph.value_info if v.name == node.input[0]), None)
    rank = len(shape.type.tensor_type.shape.dim) if shape else 0
    axes = [a for a in node.attribute if a.name == "axes"]
    given = list(axes[0].ints) if axes else []
    for weight in graph.initializer:
        if len(node.input) > 1 and weight.name == node.input[1]:
            given = [int(a) for a in numpy_helper.to_array(weight)]
    if rank < 3 or sorted(a % rank for a in given) != list(range(2, rank)):
        return None
    keep = all(a.i for a in node.attribute if a.name == "keepdims")
    pooled = node.output[0] if keep else f"{node.output[0]}_pooled"
    parts = [
        helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], node.name)
    ]
    if not keep:
        name = f"{node.name}_flat"
        parts.append(helper.make_node("Flatten", [pooled], [node.output[0]], name))
        graph.value_info.append(
            helper.make_tensor_value_info(
                pooled, TensorProto.FLOAT, [None] * 2 + [1] * (rank - 2)
            )
        )
    return parts


def _fold_transposes(graph: onnx.GraphProto) -> None:
    weights = {i.name: i for i in graph.initializer}
    folded = []
    for node in graph.node:
        if node.op_type == "Transpose" and node.input[0] in weights:
            order = next((list(a.ints) for a in node.attribute), None)
            values = numpy_helper.to_array(weights[node.input[0]]).transpose(order)
            values = np.ascontiguousarray(values)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
            folded.append(node)
    for node in folded:
        graph.node.remove(node)
    _drop_unused(graph)


def _drop_unused(graph: onnx.GraphProto) -> None:
    if any(a.HasField("g") or a.graphs for n in graph.node for a in n.attribute):
        return  # an inner graph may read any of them
    used = {name for n in graph.node for name in n.input}
    used |= {o.name for o in graph.output}
    for weight in [w for w in graph.initializer if w.name not in used]:
        graph.initializer.remove(weight)
