"""Graphs in which each layer has a precision of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import onnx

from paretune.compression._precision import moments, weight_only
from paretune.compression._quantization import (
    calibration,
    choice,
    grid,
    rewrite,
    rounding,
)
from paretune.compression._quantization.weights import arrays, axis_of, layers, put
from paretune.core.technique import Run

FLOAT32, FLOAT16, INT8, INT4 = "float32", "float16", "int8", "int4"
BLOCK = 32
CAST = 60  # bytes of an operator with its names, about


class Part(NamedTuple):
    """A layer, or several that share their weights.

    Attributes:
        nodes: their names.
        weights: names of the weights that are rounded.
        options: the precisions that it can have, and the bytes that it then takes.
    """

    nodes: tuple[str, ...]
    weights: tuple[str, ...]
    options: Mapping[str, float]


@dataclass
class Mixer:
    """Makes graphs of several precisions from a float one.

    Attributes:
        graph: from `choice.prepare`; it is left as it is.
        kept: names of nodes that stay float32.
        run: gives the calibration split.
        samples: of it that ranges are taken from.
        adaptive: whether 4 bits are rounded by what that does to the outputs.
        ranges: of activations, as they have been needed so far.
    """

    graph: onnx.ModelProto
    kept: frozenset[str]
    run: Run
    samples: int
    adaptive: bool = False
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)

    def parts(self) -> list[Part]:
        """The layers that can have another precision than float32, in order."""
        graph = self.graph.graph
        known = choice.constants(graph)
        held = arrays(self.graph, known)
        blocks = {layer.node.name: layer for layer in weight_only.layers(graph)}
        found = []
        for nodes, weights in _sharing(graph, known, self.kept):
            sizes = [math.prod(known[name]) for name in weights]
            options = {FLOAT32: 4.0 * sum(sizes)}
            largest = max(float(np.abs(held[name]).max()) for name in weights)
            if largest <= np.finfo(np.float16).max:
                options[FLOAT16] = 2.0 * sum(sizes) + CAST * len(weights)
            if all(choice.weighted(n, known, choice.STATIC) for n in nodes):
                channels = sum(
                    known[name][0 if n.op_type == "Gather" else axis_of(n)]
                    for n in nodes
                    for name in _weight(n, weights)
                )
                options[INT8] = sum(sizes) + 5.0 * channels
                if all(n.op_type == "Conv" for n in nodes):
                    options[INT4] = sum(sizes) / 2 + 5.0 * channels + CAST
            if all(n.name in blocks for n in nodes):
                shapes = {
                    layer.weight: layer.shape(known)
                    for layer in (blocks[n.name] for n in nodes)
                }
                size = sum(
                    weight_only.stored_bytes((rows, each), 4, BLOCK, True)
                    for rows, each in shapes.values()
                )
                if size < options[FLOAT32]:
                    options[INT4] = float(size)
            names = tuple(n.name for n in nodes)
            if len(options) > 1:
                found.append(Part(names, tuple(weights), options))
        return found

    def mixed(
        self, parts: Sequence[Part], precisions: Sequence[str]
    ) -> onnx.ModelProto:
        """The graph with a precision for each part.

        `int8` rounds weights and activations; so does `int4` of a convolution, whose
        weights are stored in 4 bits and widened to 8 when the file is loaded, as there
        are no kernels for less. `int4` of products and embeddings rounds weights in
        blocks. `float16` is a way to store weights.
        """
        model = onnx.ModelProto()
        model.CopyFrom(self.graph)
        named = {n.name: n for n in self.graph.graph.node}
        by: dict[str, set[str]] = {p: set() for p in (FLOAT16, INT8, INT4)}
        narrow: set[str] = set()
        for part, precision in zip(parts, precisions, strict=True):
            if precision == FLOAT32:
                continue
            convolution = named[part.nodes[0]].op_type == "Conv"
            if precision == INT4 and convolution:
                by[INT8].update(part.nodes)
                narrow.update(part.weights)
            else:
                by[precision].update(part.nodes)
        if by[FLOAT16]:
            model = rewrite.half(model, named.keys() - by[FLOAT16])
        if by[INT8]:
            model = self._static(model, by[INT8], narrow)
        if by[INT4]:
            seen = self._moments if self.adaptive else None
            weight_only.replace(model, by[INT4], 4, BLOCK, True, seen)
        return model

    @cached_property
    def _moments(self) -> dict[str, np.ndarray]:
        """Of the inputs of all products that 4 bits are an option for."""
        known = choice.constants(self.graph.graph)
        inputs = {
            layer.node.input[0]: layer.shape(known)[1]
            for layer in weight_only.layers(self.graph.graph)
            if layer.node.op_type != "Gather"
        }
        return moments.of(self.graph, inputs, self.run, self.samples)

    @cached_property
    def _rounded(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """(4-bit weights of convolutions, the steps of their channels)."""
        graph = onnx.ModelProto()
        graph.CopyFrom(self.graph)
        known = choice.constants(graph.graph)
        names = {
            n.name
            for n in graph.graph.node
            if n.op_type == "Conv" and choice.weighted(n, known, choice.STATIC)
        }
        found = layers(graph, names - self.kept)
        if self.adaptive:
            steps = rounding.adapt(graph, found, self.run, self.samples, 4, False)
            return arrays(graph, steps), steps
        given = arrays(graph, [layer.weight for layer in found])
        return given, {name: grid.scales(w, 0, 4) for name, w in given.items()}

    def _static(
        self, model: onnx.ModelProto, names: set[str], narrow: set[str]
    ) -> onnx.ModelProto:
        known = choice.constants(model.graph)
        others = {
            n.name
            for n in model.graph.node
            if n.name not in names and choice.weighted(n, known, choice.STATIC)
        }
        graph, chosen = choice.choose(model, others | self.kept)
        if missing := set(chosen.tensors) - self.ranges.keys():
            found = calibration.ranges(graph, missing, self.run, "minmax", self.samples)
            self.ranges.update(found)
        ranges = {name: self.ranges[name] for name in chosen.tensors}
        steps: dict[str, np.ndarray] = {}
        if narrow:
            values, steps = self._rounded
            put(graph, {name: values[name] for name in narrow})
        own = {name: steps[name] for name in narrow}
        static = rewrite.static(graph, chosen, ranges, 8, own)
        rewrite.narrow(static, narrow)
        return static


def _sharing(
    graph: onnx.GraphProto, known: Mapping[str, tuple[int, ...]], kept: frozenset[str]
) -> Iterator[tuple[list[onnx.NodeProto], list[str]]]:
    """Nodes with weights in groups that share some, and those weights."""
    groups: list[tuple[list[onnx.NodeProto], list[str]]] = []
    for node in graph.node:
        held = [
            name
            for name in dict.fromkeys(node.input)
            if len(known.get(name, ())) > 1
            and math.prod(known[name]) >= rewrite.SMALLEST_HALVED
        ]
        if not held:
            continue
        alike = [group for group in groups if set(held).intersection(group[1])]
        nodes = [n for group in alike for n in group[0]] + [node]
        weights = [name for group in alike for name in group[1]] + held
        groups = [group for group in groups if group not in alike]
        groups.append((nodes, list(dict.fromkeys(weights))))
    for nodes, weights in groups:
        if not any(n.name in kept for n in nodes):
            yield nodes, weights


def _weight(node: onnx.NodeProto, weights: Sequence[str]) -> list[str]:
    return [name for name in node.input if name in weights][:1]
