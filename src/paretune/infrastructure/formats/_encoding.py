"""The smallest exact form of each weight in an ONNX file.

Weights of few distinct values are kept as indices into a table of them, and weights
that are mostly one value (0, after pruning) as the places and values of the others. A
few operators restore the weight; a runtime computes them once, when it loads the file.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from paretune.infrastructure.formats._forms import Form, Values, smallest, spared

LEAST = 1024  # values: below it, names and operators cost more than is saved
TYPES = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.UINT8}
)
_OPERATORS = frozenset(
    {
        *(
            "Add",
            "BitShift",
            "Cast",
            "ConstantOfShape",
            "CumSum",
            "Gather",
            "Mul",
            "Reshape",
        ),
        *("ScatterElements", "Slice"),
    }
)
_SPLIT = {3: 2, 5: 4, 6: 4}  # bits of a number: of which so many lie apart
_RESTORING = frozenset({"Gather", "ScatterElements"})


def encode(model: onnx.ModelProto, packed: bool = False) -> None:
    """Replaces each weight by the smallest form that gives the same bits, in place.

    A weight that no form makes at least 10 % smaller stays as it is, so that a model
    of ordinary weights is not changed at all.

    Args:
        model: complete; its weights inside.
        packed: whether the file travels packed: then the forms are those that pack
            best, at the price of a file that may be some 15 % larger on disk.

    Source: Han et al. 2016, arXiv:1510.00149 (shared values and relative indices).
    """
    graph = model.graph
    taken = {i.name for i in graph.initializer} | {v.name for v in graph.input}
    taken |= {name for node in graph.node for name in (*node.input, *node.output)}
    fresh = (f"{i}" for i in itertools.count() if f"{i}" not in taken)
    builder = _Builder(fresh, packed)
    given = {v.name for v in graph.input}
    done = []
    for weight in graph.initializer:
        if weight.data_type in TYPES and math.prod(weight.dims) >= LEAST:
            values = numpy_helper.to_array(weight)
            if weight.name not in given and builder.replace(weight.name, values):
                done.append(weight)
    if not done:
        return
    for weight in done:
        graph.initializer.remove(weight)
    graph.initializer.extend(builder.constants)
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(builder.nodes + nodes)


def spared_by_zeros(model: onnx.ModelProto, packed: bool = False) -> int:
    """Bytes, about, by which zeros make the file that `encode` leads to smaller.

    Args:
        model: complete; its weights inside.
        packed: whether the file travels packed.
    """
    total = 0.0
    for weight in model.graph.initializer:
        if weight.data_type in TYPES and math.prod(weight.dims) >= LEAST:
            array = numpy_helper.to_array(weight)
            values = Values.of(array)
            # The zero of rounded weights is their zero point, whatever that is.
            if array.dtype.kind != "f" or values.usual == 0:
                total += spared(values, packed)
    return round(total)


def without_minus_zero(model: onnx.ModelProto) -> None:
    """Makes each -0.0 of float32 weights 0.0, in place: two kinds of zeros cost bytes.

    A zero times a negative factor, as when batch normalisation is folded, is -0.0.
    """
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and math.prod(weight.dims) >= LEAST:
            values = numpy_helper.to_array(weight)
            if np.signbit(values[values == 0]).any():
                weight.CopyFrom(numpy_helper.from_array(values + 0, weight.name))


def decode(model: onnx.ModelProto) -> None:
    """Undoes `encode`, in place; other models stay as they are."""
    graph = model.graph
    weights = {i.name: i for i in graph.initializer}
    made: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        known = all(name in weights or name in made for name in node.input)
        if known and node.input and node.op_type in _OPERATORS:
            made[node.output[0]] = node
    ends = [name for name, node in made.items() if node.op_type == "Reshape"]
    chains = {name: _chain(name, made) for name in ends}
    chains = {
        name: chain
        for name, chain in chains.items()
        if any(node.op_type in _RESTORING for node in chain)
    }
    if not chains:
        return
    steps = {n.output[0]: n for chain in chains.values() for n in chain}
    parts = [weights[n] for n in weights if any(n in s.input for s in steps.values())]
    order = [n for n in graph.node if n.output[0] in steps]
    restored = _computed(model, order, parts, list(chains))
    rest = [n for n in graph.node if n.output[0] not in steps]
    read = {name for node in rest for name in node.input}
    read |= {v.name for v in graph.output}
    gone = {w.name for w in parts} - read
    kept = [w for w in graph.initializer if w.name not in gone]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(rest)
    graph.initializer.extend(kept + restored)


def _chain(name: str, made: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The nodes that a value is made by."""
    found, open_ = {}, [name]
    while open_:
        value = open_.pop()
        if value in made and value not in found:
            found[value] = made[value]
            open_ += made[value].input
    return list(found.values())


def _computed(
    model: onnx.ModelProto,
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    names: list[str],
) -> list[onnx.TensorProto]:
    """What these nodes make of these weights."""
    from paretune.infrastructure.formats._literal import literal

    outputs = [onnx.ValueInfoProto(name=name) for name in names]
    graph = helper.make_graph(nodes, "weights", [], outputs, weights)
    small = onnx.ModelProto(ir_version=model.ir_version, graph=graph)
    small.opset_import.extend(model.opset_import)
    session = literal(small)
    values = session.run(names, {})
    return [numpy_helper.from_array(v, n) for n, v in zip(names, values, strict=True)]


@dataclass
class _Builder:
    """Operators and constants that restore weights.

    Attributes:
        fresh: names that are free.
        packed: whether the file travels packed.
        nodes: the operators, in order.
        constants: what they read.
    """

    fresh: Iterator[str]
    packed: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    _shared: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def replace(self, name: str, array: np.ndarray) -> bool:
        """Adds what makes the weight of that name, if that is worth it."""
        values = Values.of(array)
        form = smallest(values, self.packed)
        if form is None:
            return False
        flat = self._flat(values, form, array.dtype)
        self._op("Reshape", flat, self._small(array.shape), out=name)
        return True

    def _flat(self, values: Values, form: Form, dtype: np.dtype) -> str:
        count = len(values.raw)
        if form.layout == "all":
            found, length = self._values(values, values.raw, form, dtype)
            return self._cut(found, length, count)
        if form.layout == "others":
            mask = values.raw != values.usual
            bits, length = self._whole(mask.astype(np.uint8), 1)
            index = self._op("Mul", self._sum(bits), bits)
            held = np.concatenate([[values.usual], values.raw[mask]])
            source, _ = self._values(values, held.astype(values.raw.dtype), form, dtype)
            return self._cut(self._op("Gather", source, index), length, count)
        gaps, held = values.gaps(form.gap)
        source, _ = self._values(values, held, form, dtype)
        places = self._sum(self._whole(gaps, form.gap)[0])
        usual = np.array([values.usual], values.raw.dtype).view(dtype)
        filled = self._op(
            "ConstantOfShape",
            self._small([count]),
            value=numpy_helper.from_array(usual),
        )
        return self._op("ScatterElements", filled, places, source, axis=0)

    def _values(
        self, values: Values, raw: np.ndarray, form: Form, dtype: np.dtype
    ) -> tuple[str, int]:
        """(these numbers, how many; filled up at the end to whole bytes of indices)."""
        if not form.bits:
            return self._constant(raw.view(dtype)), len(raw)
        assert values.table is not None
        table = values.table
        if self.packed:  # indices mean much the same in all layers: one coding fits
            table = np.append(table[:1], table[1:][np.argsort(table[1:].view(dtype))])
        order = np.argsort(table)
        index = order[np.searchsorted(table, raw, sorter=order)]
        whole, length = self._whole(index, form.bits)
        held = self._constant(table.view(dtype))
        return self._op("Gather", held, whole), length

    def _whole(self, numbers: np.ndarray, bits: int) -> tuple[str, int]:
        """(whole numbers of so many bits as int32, how many, filled up with 0)."""
        if bits in _SPLIT:
            part = _SPLIT[bits]
            numbers = np.pad(numbers, (0, -len(numbers) % 8))
            below, count = self._whole(numbers & (1 << part) - 1, part)
            above, _ = self._whole(numbers >> part, bits - part)
            factor = self._small(np.array(1 << part, np.int32))
            return self._op("Add", self._op("Mul", above, factor), below), count
        if bits >= 8:
            stored = self._constant(numbers.astype(np.dtype(f"u{bits // 8}")))
            return self._op("Cast", stored, to=TensorProto.INT32), len(numbers)
        each = 8 // bits
        padded = np.pad(numbers, (0, -len(numbers) % each)).astype(np.uint8)
        places = np.arange(each, dtype=np.uint8) * bits
        stored = (padded.reshape(-1, each) << places).sum(1).astype(np.uint8)
        column = self._constant(stored[:, None])
        # To the left and back: what is above the number falls off, and what is below.
        shifts = (8 - bits - places).astype(np.uint8)
        high = self._op("BitShift", column, self._small(shifts), direction="LEFT")
        low = self._small(np.array(8 - bits, np.uint8))
        found = self._op("BitShift", high, low, direction="RIGHT")
        wide = self._op("Cast", found, to=TensorProto.INT32)
        return self._op("Reshape", wide, self._small([-1])), len(padded)

    def _sum(self, numbers: str) -> str:
        return self._op("CumSum", numbers, self._small(np.array(0, np.int32)))

    def _cut(self, name: str, length: int, wanted: int) -> str:
        if length == wanted:
            return name
        return self._op("Slice", name, self._small([0]), self._small([wanted]))

    def _op(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or next(self.fresh)
        self.nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def _constant(self, array: np.ndarray) -> str:
        name = next(self.fresh)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def _small(self, numbers: object) -> str:
        """A constant that several operators may read; of int64 unless it says else."""
        array = np.asarray(numbers, getattr(numbers, "dtype", np.int64))
        key = f"{array.dtype}{array.shape}", array.tobytes()
        if key not in self._shared:
            self._shared[key] = self._constant(array)
        return self._shared[key]


__all__ = ["decode", "encode", "spared_by_zeros", "without_minus_zero"]
