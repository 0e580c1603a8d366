"""Names the parts of an ONNX graph, and makes it small."""

from __future__ import annotations

import ast
import itertools
import math
import string
from collections.abc import Iterator
from hashlib import sha256

import numpy as np
import onnx

WORTH_TYING = 1024
_BETWEEN = frozenset({"QuantizeLinear", "DequantizeLinear"})


def strip(model: onnx.ModelProto, keep_shapes: bool) -> None:
    """Drops what no runtime reads: documentation, metadata, and maybe shapes."""
    del model.metadata_props[:]
    model.doc_string = ""
    for graph in graphs(model.graph):
        if not keep_shapes:
            del graph.value_info[:]
        graph.doc_string = ""
        del graph.metadata_props[:]
        parts = (graph.node, graph.input, graph.output, graph.value_info)
        for part in itertools.chain(*parts, graph.initializer):
            part.doc_string = ""
            del part.metadata_props[:]


def name_parts(model: onnx.ModelProto, root: str) -> None:
    """Names nodes "<module path>/<operator>" and weights "<module path>.<name>".

    Args:
        model: fresh from the exporter, its metadata still there.
        root: the attribute that all module paths begin with, to leave out.
    """
    graph = model.graph
    taken = {v for node in graph.node for v in (*node.input, *node.output)}
    taken |= {value.name for value in graph.input}
    weights = {i.name: i.name.removeprefix(f"{root}.") for i in graph.initializer}
    nodes: set[str] = set()
    for node in graph.node:
        path = _scope(node).removeprefix(root).lstrip(".")
        weight = node.input[1] if len(node.input) > 1 else ""
        if node.op_type.startswith("Conv") and weights.get(weight, "").endswith(
            ".weight"
        ):  # where batch normalisation was folded in, the node bears its name
            path = weights[weight].removesuffix(".weight")
        elif (
            node.op_type in ("MatMul", "Gemm")
            and path
            and weights.get(weight) == weight
            and f"{path}.weight" not in weights.values()
        ):
            weights[weight] = f"{path}.weight"
        node.name = _free(f"{path}/{node.op_type}".lstrip("/"), nodes)
    renamed = {
        old: new for old, new in weights.items() if old == new or new not in taken
    }
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for part in itertools.chain(graph.initializer, graph.value_info):
        part.name = renamed.get(part.name, part.name)


def tie(model: onnx.ModelProto) -> None:
    """Stores a matrix that is there twice, the second time transposed, only once.

    The exporter transposes an embedding that is also the output layer. Runtimes fold
    the transposition of a constant when they load, so it costs no time later.
    """
    seen: dict[tuple[tuple[int, ...], bytes], str] = {}
    nodes, doubles = [], []
    for weight in model.graph.initializer:
        if len(weight.dims) != 2 or math.prod(weight.dims) < WORTH_TYING:
            continue
        array = onnx.numpy_helper.to_array(weight)
        twin = seen.get(_identity(array.T))
        if twin is None:
            seen[_identity(array)] = weight.name
            continue
        nodes.append(onnx.helper.make_node("Transpose", [twin], [weight.name]))
        doubles.append(weight)
    for weight in doubles:
        model.graph.initializer.remove(weight)
    first = [*nodes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(first)


def _identity(array: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return array.shape, sha256(np.ascontiguousarray(array).tobytes()).digest()


def compact(model: onnx.ModelProto) -> None:
    """Short names within the graph: in small models names are much of the file.

    Inputs and outputs keep theirs, and so do nodes that have weights.
    """
    public = {v.name for v in (*model.graph.input, *model.graph.output)} | {""}
    short: dict[str, str] = {}
    fresh = (n for n in _short_names() if n not in public)

    def rename(name: str) -> str:
        if name in public:
            return name
        if name not in short:
            short[name] = next(fresh)
        return short[name]

    for graph in graphs(model.graph):
        weights = {i.name for i in graph.initializer}
        for node in graph.node:
            if not weights.intersection(node.input) or node.op_type in _BETWEEN:
                node.name = ""
            node.input[:] = [rename(name) for name in node.input]
            node.output[:] = [rename(name) for name in node.output]
        parts = (graph.input, graph.output, graph.value_info, graph.initializer)
        for part in itertools.chain(*parts):
            part.name = rename(part.name)


def _short_names() -> Iterator[str]:
    letters = string.ascii_lowercase + string.ascii_uppercase
    for length in itertools.count(1):
        for combination in itertools.product(letters, repeat=length):
            yield "".join(combination)


def _scope(node: onnx.NodeProto) -> str:
    """The path of the module that the exporter made the node for."""
    notes = {p.key: p.value for p in node.metadata_props}
    try:
        scopes = ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]"))
    except (ValueError, SyntaxError):
        return ""
    return str(scopes[-2]) if len(scopes) > 1 else ""


def _free(name: str, taken: set[str]) -> str:
    numbered = (f"{name}_{number}" for number in itertools.count(2))
    found = next(n for n in itertools.chain([name], numbered) if n not in taken)
    taken.add(found)
    return found


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)
            for inner in attribute.graphs:
                yield from graphs(inner)
