"""Graphs in which only some layers are quantized."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto

from paretune.infrastructure.formats import _naming, _segments


def quantized_layers(quantized: onnx.ModelProto) -> list[str]:
    """Names of the float graph's layers whose weights are stored in fewer bits.

    Returns:
        "<module path>/<operator>", or the name of the value if the node has none; in
        the graph's order.

    Example:
        >>> quantized_layers(
        ...     onnx.parser.parse_model(
        ...         '<ir_version: 8, opset_import: ["": 17]>'
        ...         "g (float[n, 2] x) => (float[n, 1] y) <float16[2, 1] w = {1, 2}>"
        ...         "{ wide = Cast<to=1>(w) y = MatMul(x, wide) }"
        ...     )
        ... )
        ['y']
    """
    fixed = _segments.folded(quantized)
    narrow = _naming.narrow_constants(quantized)
    found = []
    for node in quantized.graph.node:
        if not (node.name or node.output) or set(node.output) <= fixed:
            continue
        reads = narrow.intersection(node.input)
        if reads and (
            node.op_type in _naming.WEIGHTED or node.op_type in _naming.INTEGER
        ):
            found.append(_naming.bare(node.name) or node.output[0])
    return list(dict.fromkeys(found))


def with_only(
    quantized: onnx.ModelProto, source: onnx.ModelProto, layers: Sequence[str]
) -> onnx.ModelProto:
    """The float graph with these layers as the quantized graph has them.

    A layer takes its weights and the rounding of its inputs with it. What lies
    between layers (activation functions, sums, pooling) is float.

    Args:
        quantized: made from `source`.
        source: the float graph.
        layers: names that `quantized_layers` gives.
    """
    model = onnx.ModelProto()
    model.CopyFrom(source)
    del model.graph.value_info[:]
    values = _segments.shared(quantized, source)
    stops = {*values, *(i.name for i in source.graph.input)}
    constants = {i.name: i for i in quantized.graph.initializer}
    makers = {n.name: n for n in source.graph.node}
    ends = {_naming.bare(n.name): n for n in quantized.graph.node if n.output}
    kinds = _segments.element_types(quantized)
    halves = _segments.halves(quantized)
    replaced: dict[str, list[onnx.NodeProto]] = {}
    taken: dict[str, onnx.TensorProto] = {}
    for layer in layers:
        if layer not in makers:
            continue
        target = makers[layer].output[0]
        if target not in values and layer not in ends:
            continue
        end = target if target in values else ends[layer].output[0]
        private = f"{layer}//"
        names = {v: v for v in stops} | {target: target, end: target}
        nodes = _segments.segment(quantized, end, stops - {end})
        reads = {v for n in nodes for v in n.input}
        if end != target and not _segments.is_float(kinds.get(end, TensorProto.FLOAT)):
            nodes.append(_widened(ends[layer], target))
            names = {**names, end: f"{private}{end}"}
        casts, last = [], []
        for value in sorted(reads & stops & halves):
            names[value] = f"{private}{value}"
            casts.append(_cast(value, names[value], TensorProto.FLOAT16))
        if end in halves:
            names[end] = f"{private}{end}"
            last.append(_cast(names[end], target, TensorProto.FLOAT))
        own = [_segments.renamed(n, names, private) for n in nodes]
        replaced[layer] = [*casts, *own, *last]
        replaced[layer][-1].name = layer
        for name in sorted({v for n in nodes for v in n.input} & constants.keys()):
            weight = onnx.TensorProto()
            weight.CopyFrom(constants[name])
            weight.name = private + name
            taken[weight.name] = weight
    nodes = [m for n in source.graph.node for m in replaced.get(n.name, [n])]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(taken.values())
    _import_domains(model, quantized)
    return model


def _cast(value: str, to: str, kind: int) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [value], [to], f"{to}//cast", to=kind)


def _widened(node: onnx.NodeProto, target: str) -> onnx.NodeProto:
    """Makes floats of what a layer takes from an 8-bit table."""
    table = node.input[0].removesuffix("_quantized")
    grid = [f"{table}_scale", f"{table}_zero_point"]
    return onnx.helper.make_node(
        "DequantizeLinear", [node.output[0], *grid], [target], f"{node.name}_widened"
    )


def _import_domains(model: onnx.ModelProto, other: onnx.ModelProto) -> None:
    there = {o.domain: o for o in model.opset_import}
    for opset in other.opset_import:
        if opset.domain in there:
            mine = there[opset.domain]
            mine.version = max(mine.version, opset.version)
        else:
            model.opset_import.append(opset)
    model.ir_version = max(model.ir_version, other.ir_version)
