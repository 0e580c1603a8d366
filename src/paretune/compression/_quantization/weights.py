"""Which constants of a graph are the weights of layers that become 8-bit."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from paretune.compression._quantization.choice import PRODUCTS, constants, weighted

LAYERS = PRODUCTS | {"Conv"}


class Layer(NamedTuple):
    """A convolution or product with constant weights.

    Attributes:
        node: in the graph.
        weight: the name of its weights.
        axis: of them, that of the output channels.
    """

    node: onnx.NodeProto
    weight: str
    axis: int


def layers(model: onnx.ModelProto, names: Collection[str]) -> list[Layer]:
    """The layers among the nodes of these names, in the order of the graph."""
    constant = constants(model.graph)
    return [
        Layer(node, node.input[1], axis_of(node))
        for node in model.graph.node
        if node.name in names and weighted(node, constant, LAYERS)
    ]


def axis_of(node: onnx.NodeProto) -> int:
    """The axis of a layer's weights that its output channels are on."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and integer(node, "transB") else 1


def outputs_on(node: onnx.NodeProto) -> int:
    """The axis of a layer's output that its channels are on."""
    return 1 if node.op_type == "Conv" else -1


def integer(node: onnx.NodeProto, name: str, default: int = 0) -> int:
    """An attribute that is a whole number."""
    return next((a.i for a in node.attribute if a.name == name), default)


def integers(node: onnx.NodeProto, name: str) -> list[int]:
    """An attribute that is a list of whole numbers; empty if it isn't there."""
    return next((list(a.ints) for a in node.attribute if a.name == name), [])


def arrays(model: onnx.ModelProto, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Constants by name, each free to be written to."""
    wanted = set(names)
    return {
        i.name: numpy_helper.to_array(i).copy()
        for i in model.graph.initializer
        if i.name in wanted
    }


def put(model: onnx.ModelProto, values: dict[str, np.ndarray]) -> None:
    """Gives constants other values, in place."""
    for held in model.graph.initializer:
        if held.name in values:
            array = np.ascontiguousarray(values[held.name])
            held.CopyFrom(numpy_helper.from_array(array, held.name))


def uses(model: onnx.ModelProto) -> Counter[str]:
    """How many times each value is read; being an output of the graph counts."""
    found = Counter(name for node in model.graph.node for name in node.input)
    found.update(o.name for o in model.graph.output)
    return found


def separate(model: onnx.ModelProto) -> None:
    """Gives each node vectors of its own, in place.

    The exporter keeps one of those that are equal, such as biases that are all 0.
    """
    vectors = {
        i.name: i
        for i in model.graph.initializer
        if len(i.dims) == 1 and i.data_type == TensorProto.FLOAT
    }
    taken = set(uses(model)) | {v for n in model.graph.node for v in n.output}
    seen: set[str] = {o.name for o in model.graph.output}
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            if name in vectors and name in seen:
                copy = model.graph.initializer.add()
                copy.CopyFrom(vectors[name])
                copy.name = next(
                    n for i in itertools.count(2) if (n := f"{name}#{i}") not in taken
                )
                taken.add(copy.name)
                node.input[at] = copy.name
            seen.add(name)


def readers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each value."""
    found: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            found[name].append(node)
    return found
