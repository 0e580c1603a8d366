"""Faults that exporters and quantizers are known to make, put into ONNX graphs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import numpy_helper
from torch import nn

from paretune.core.candidate import Candidate
from paretune.core.task import Task
from paretune.infrastructure.formats import onnx as onnx_format

Mutate = Callable[[onnx.ModelProto, str, np.random.Generator], None]


def scale(factor: float) -> Mutate:
    """A layer's weight scale, or in float its weights, times a factor."""

    def mutate(model: onnx.ModelProto, layer: str, _: np.random.Generator) -> None:
        name = stored(model, layer)
        base = name.removesuffix("_quantized")
        change(model, f"{base}_scale" if base != name else name, lambda a: a * factor)

    return mutate


def channel_scale(model: onnx.ModelProto, layer: str, rng: np.random.Generator) -> None:
    """The weight scale of one output channel, doubled."""

    def double(a: np.ndarray) -> np.ndarray:
        a[rng.integers(len(a))] *= 2
        return a

    change(model, stored(model, layer).removesuffix("_quantized") + "_scale", double)


def one_sided_scale(model: onnx.ModelProto, value: str, _: np.random.Generator) -> None:
    """An activation is quantized with one scale and dequantized with twice that."""
    (node,) = (n for n in model.graph.node if n.name == f"{value}_DequantizeLinear")
    old = initializer(model, node.input[1])
    new = numpy_helper.from_array(numpy_helper.to_array(old) * np.float32(2), "twice")
    model.graph.initializer.append(new)
    node.input[1] = "twice"


def one_weight(model: onnx.ModelProto, layer: str, rng: np.random.Generator) -> None:
    """One weight becomes the layer's largest, with the other sign."""

    def swap(a: np.ndarray) -> np.ndarray:
        at = rng.integers(a.size)
        largest = np.abs(a.astype(np.float64)).max()
        a.flat[at] = -largest if a.flat[at] > 0 else largest
        return a

    change(model, stored(model, layer), swap)


def transposed(model: onnx.ModelProto, layer: str, _: np.random.Generator) -> None:
    """Two axes of equal length change places in a layer's weights."""

    def swap(a: np.ndarray) -> np.ndarray:
        square = a.shape[0] == a.shape[1]
        return a.swapaxes(0, 1) if square else a.swapaxes(-1, -2)

    change(model, stored(model, layer), swap)


def swapped_names(model: onnx.ModelProto, _: str, __: np.random.Generator) -> None:
    """The names of two outputs change places."""
    first, second = (o.name for o in model.graph.output)
    names = {first: second, second: first}
    for node in model.graph.node:
        node.output[:] = [names.get(v, v) for v in node.output]
        node.input[:] = [names.get(v, v) for v in node.input]


def swapped_rows(model: onnx.ModelProto, layer: str, _: np.random.Generator) -> None:
    """Two classes change places in the last layer."""
    node, name = reader(model, layer), stored(model, layer)
    classes = list(range(shape(model, name)[0]))
    classes[:2] = [1, 0]
    change(model, name, lambda a: a[classes])
    if f"{name.removesuffix('_quantized')}_scale" != f"{name}_scale":
        change(model, f"{name.removesuffix('_quantized')}_scale", lambda a: a[classes])
    bias = traced(model, node.input[2])
    change(model, bias, lambda a: a[classes])


def no_bias(model: onnx.ModelProto, layer: str, _: np.random.Generator) -> None:
    """The bias is left out: as an input, or as the sum that adds it."""
    node = reader(model, layer)
    if len(node.input) > 2 and node.op_type in ("Conv", "Gemm"):
        del node.input[2:]
        return
    path = layer.rpartition("/")[0]
    sums = [
        n
        for n in model.graph.node
        if n.op_type == "Add" and n.name in (f"{path}/Add", f"{layer}_Add")
    ]
    (add,) = sums
    for other in model.graph.node:
        other.input[:] = [
            add.input[0] if v == add.output[0] else v for v in other.input
        ]
    if add.output[0] in {o.name for o in model.graph.output}:
        for other in model.graph.node:
            other.output[:] = [
                add.output[0] if v == add.input[0] else v for v in other.output
            ]
    model.graph.node.remove(add)


def constant(value: float) -> Mutate:
    """A mean that stays 0, or a standard deviation that stays 1."""

    def mutate(model: onnx.ModelProto, node: str, _: np.random.Generator) -> None:
        (name,) = (n.input[1] for n in model.graph.node if n.name == node)
        change(model, name, lambda a: np.full_like(a, value))

    return mutate


def stale(task: Task, model: nn.Module, layer: str) -> onnx.ModelProto:
    """An export whose batch normalisation after `layer` has the mean and the variance
    that it began with, 0 and 1."""
    import copy

    wrong = copy.deepcopy(model)
    modules = dict(wrong.named_modules())
    norm = modules[layer]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.reset_running_stats()
    exported = onnx_format.from_torch(Candidate(wrong.eval(), "torch"), task)
    return exported.model


def reader(model: onnx.ModelProto, layer: str) -> onnx.NodeProto:
    """The node that computes a layer."""
    names = (layer, f"{layer}_quant", f"{layer}_MatMul_quant")
    return next(n for n in model.graph.node if n.name in names)


def stored(model: onnx.ModelProto, layer: str) -> str:
    """The name of a layer's weights as they are stored."""
    node = reader(model, layer)
    return traced(model, node.input[0 if node.op_type == "Gather" else 1])


def traced(model: onnx.ModelProto, name: str) -> str:
    makers = {v: n for n in model.graph.node for v in n.output}
    while name in makers:
        name = makers[name].input[0]
    return name


def shape(model: onnx.ModelProto, name: str) -> tuple[int, ...]:
    return tuple(initializer(model, name).dims)


def initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(i for i in model.graph.initializer if i.name == name)


def change(
    model: onnx.ModelProto, name: str, how: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Replaces a constant by what `how` makes of a copy."""
    tensor = initializer(model, name)
    old = numpy_helper.to_array(tensor)
    new = np.ascontiguousarray(how(old.copy()).astype(old.dtype))
    tensor.CopyFrom(numpy_helper.from_array(new, name))
