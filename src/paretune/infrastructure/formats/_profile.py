"""Reads what ONNX Runtime's profiler writes, and finds the artifact's values in it."""

from __future__ import annotations

import bisect
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from paretune.infrastructure.formats import _encoding

ENDING = "_kernel_time"
BLOCKED = "_nchwc"  # the runtime names a convolution in blocks after its result
BETWEEN = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast"}
)
MOVES = frozenset({"ReorderInput", "ReorderOutput", "Transpose"})
# Their weights are in blocks; how many bits they have is in the graph alone.
IN_BLOCKS = frozenset({"MatMulNBits", "GatherBlockQuantized"})
EIGHT_BITS = ("QLinear", "QGemm", "MatMulInteger", "ConvInteger", "DynamicQuantize")


@dataclass(frozen=True)
class Timed:
    """One operator of a profile.

    Attributes:
        name: as the runtime calls it; may be made from type and position.
        op: its type.
        types: number formats of its inputs.
        seconds: what it took in each call, shape (calls,).
    """

    name: str
    op: str
    types: tuple[str, ...]
    seconds: np.ndarray

    @property
    def middle_s(self) -> float:
        """Mean of the middle half: the profiler counts in whole microseconds."""
        return middle(self.seconds)

    @property
    def kind(self) -> str:
        if self.op in BETWEEN:
            return "quantize"
        return "layout" if self.op in MOVES else "compute"

    @property
    def dtype(self) -> str:
        """The number format that it computes in.

        Integers of a lookup or a shape say nothing where floats go in as well.
        """
        if self.op in IN_BLOCKS:
            return "int4"
        narrow = {"int8", "uint8"}.intersection(self.types)
        if self.op not in BETWEEN and (narrow or self.op.startswith(EIGHT_BITS)):
            return "int8"
        for kind, name in (("float16", "float16"), ("float", "float32")):
            if kind in self.types:
                return name
        return self.types[0] if self.types else "float32"


def middle(values: Sequence[float] | np.ndarray) -> float:
    """Mean of the middle half of some values.

    Example:
        >>> middle([0.0, 2.0, 4.0, 90.0])
        3.0
    """
    ordered = np.sort(np.asarray(values, float))
    cut = len(ordered) // 4
    return float(ordered[cut : len(ordered) - cut].mean())


def timed(path: Path, skip: int) -> list[Timed]:
    """The operators of a profile, in the order that they first ran in.

    Args:
        path: of the JSON file.
        skip: calls at its beginning to leave out.
    """
    events = json.loads(path.read_text())
    runs = sorted((e["ts"], e["dur"]) for e in events if e["name"] == "model_run")
    begins = [begin for begin, _ in runs]
    found: dict[str, np.ndarray] = {}
    facts: dict[str, Mapping[str, Any]] = {}
    for event in _outermost(events):
        run = bisect.bisect_right(begins, event["ts"]) - 1
        if run < skip:
            continue
        name = event["name"].removesuffix(ENDING)
        facts.setdefault(name, event["args"])
        spent = found.setdefault(name, np.zeros(len(runs) - skip))
        spent[run - skip] += event["dur"] * 1e-6
    return [
        Timed(name, str(facts[name].get("op_name", name)), _types(facts[name]), spent)
        for name, spent in found.items()
    ]


def _outermost(events: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Operators that run inside no other one, such as the body of a loop does."""
    nodes = [e for e in events if e["cat"] == "Node" and e["name"].endswith(ENDING)]
    end = -1
    for event in sorted(nodes, key=lambda e: (e["ts"], -e["dur"])):
        if event["ts"] + event["dur"] > end or event["ts"] >= end:
            end = max(end, event["ts"] + event["dur"])
            yield event


def _types(facts: Mapping[str, Any]) -> tuple[str, ...]:
    shapes = facts.get("input_type_shape") or ()
    return tuple(kind for shape in shapes for kind in shape)


def anchors(artifact: Path, optimised: Path) -> dict[str, list[tuple[str, ...]]]:
    """Names in the artifact that each operator of the optimised graph still bears.

    Args:
        artifact: the file that was loaded.
        optimised: the graph that the runtime made of it.

    Returns:
        by name, or by type for operators without a name, in their order: the values
        that it makes and the weights that it uses; nothing if there is no such graph.
    """
    if not optimised.is_file():
        return {}
    loaded = onnx.load_model(artifact, load_external_data=False)
    _encoding.decode(loaded)
    before = loaded.graph
    after = onnx.load_model(optimised, load_external_data=False).graph
    made = {value for node in before.node for value in node.output if value}
    weights = {i.name for i in before.initializer}
    found: dict[str, list[tuple[str, ...]]] = {}
    for node in after.node:
        named = node.name.removesuffix(BLOCKED)
        own = [v for v in node.input if v in weights]
        own += [v for v in node.output if v in made]
        own += [named] if named in made and named not in own else []
        found.setdefault(node.name or node.op_type, []).append(tuple(own))
    return found


def in_bytes(artifact: Path) -> set[str]:
    """Names in the artifact of weights in blocks of 8 bits, not 4."""
    graph = onnx.load_model(artifact, load_external_data=False).graph
    return {
        v
        for node in graph.node
        if node.op_type in IN_BLOCKS
        and any(a.name == "bits" and a.i == 8 for a in node.attribute)
        for v in (*node.input, *node.output, node.name)
        if v
    }


def values_of(
    operators: Sequence[Timed], known: Mapping[str, list[tuple[str, ...]]]
) -> list[tuple[str, ...]]:
    """What `anchors` found for each operator of a profile."""
    left = {name: list(each) for name, each in known.items()}
    found = []
    for operator in operators:
        waiting = left.get(operator.name) or left.get(operator.op) or [()]
        found.append(waiting.pop(0))
    return found


def chain(length: int) -> bytes:
    """A model of that many operators, one after the other, on a single number."""
    names = ["x", *(f"v{i}" for i in range(length - 1)), "y"]
    number = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Neg", [before], [after])
            for before, after in itertools.pairwise(names)
        ],
        "chain",
        [number("x", onnx.TensorProto.FLOAT, [1])],
        [number("y", onnx.TensorProto.FLOAT, [1])],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(model.SerializeToString())
