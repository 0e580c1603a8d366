"""How the weights of a quantized graph were rounded: their number formats and steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from paretune.infrastructure.formats import _segments

_THROUGH = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "Cast", "Transpose", "Identity"}
)


# Operators that take weights in blocks: which input of theirs, and of the float one.
BLOCKED = {"MatMulNBits": (1, 1), "GatherBlockQuantized": (0, 0)}
IN_8_BITS = 4  # the accuracy level at which products round their inputs


@dataclass(frozen=True)
class Halved:
    """Weights stored as floats of fewer bits."""

    dtype: np.dtype

    def __call__(
        self, weight: np.ndarray, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """The weights as they are after rounding; with `rng`, dithered."""
        stored: np.ndarray = weight.astype(self.dtype).astype(weight.dtype)
        if rng is None:
            return stored
        bits = -np.log2(float(np.finfo(np.float16).eps))
        if self.dtype.name == "bfloat16":
            bits = 7.0
        step = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(weight), 1e-30))) - bits)
        moved: np.ndarray = weight + rng.uniform(-0.5, 0.5, weight.shape) * step
        return moved.astype(weight.dtype)


@dataclass(frozen=True)
class Stepped:
    """Weights stored as whole numbers.

    Attributes:
        shape: as they are stored.
        scale: of the whole, of each index of `axis`, or of blocks along it.
        axis: see there.
        block: how many weights along the axis share a scale; 0 for no blocks.
        low: the smallest number of the format.
        high: the largest.
        flipped: whether they are stored transposed.
    """

    shape: tuple[int, ...]
    scale: np.ndarray
    axis: int
    block: int
    low: float
    high: float
    flipped: bool

    def __call__(
        self, weight: np.ndarray, rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """The weights as they are after rounding; with `rng`, dithered.

        A step is at least what the range of the weights asks for: a quantizer may use
        smaller ones, and cut the largest weights off, where that lowers the error.
        """
        flipped = weight.ndim > 1 and (self.flipped or weight.shape != self.shape)
        own = (weight.swapaxes(-1, -2) if flipped else weight).astype(np.float64)
        if own.shape != self.shape:
            return weight
        step = np.maximum(np.maximum(self._given(own), self._asked(own)), 1e-30)
        moved = 0.0 if rng is None else rng.uniform(-0.5, 0.5, own.shape)
        found = (np.round(own / step + moved) - moved) * step
        found = found.swapaxes(-1, -2) if flipped else found
        return np.ascontiguousarray(found.astype(weight.dtype))

    def _given(self, weight: np.ndarray) -> np.ndarray:
        scale = np.abs(self.scale.astype(np.float64))
        if self.block:
            scale = np.repeat(scale, self.block, self.axis)
            return np.take(scale, range(weight.shape[self.axis]), self.axis)
        return _segments.along(scale, self.axis, weight.ndim)

    def _asked(self, weight: np.ndarray) -> np.ndarray:
        step = self._given(weight)
        if self.block:
            starts = np.arange(0, weight.shape[self.axis], self.block)
            top = np.maximum.reduceat(weight, starts, self.axis)
            bottom = np.minimum.reduceat(weight, starts, self.axis)
            shape = range(weight.shape[self.axis])
            top, bottom = (
                np.take(np.repeat(a, self.block, self.axis), shape, self.axis)
                for a in (top, bottom)
            )
        else:
            alike = step.ndim == weight.ndim
            axes = tuple(
                i for i in range(weight.ndim) if not alike or step.shape[i] == 1
            )
            top = weight.max(axes, keepdims=True)
            bottom = weight.min(axes, keepdims=True)
        if self.low < 0:
            asked: np.ndarray = np.maximum(np.abs(top), np.abs(bottom)) / self.high
        else:
            asked = (top - bottom) / self.high
        return asked


Rounding = Halved | Stepped


def roundings(
    quantized: onnx.ModelProto, source: onnx.ModelProto
) -> dict[str, dict[str, Rounding]]:
    """How each weight of the source is rounded: by its name and the narrow one's."""
    constants = _segments.initializers(quantized)
    floats = {i.name for i in source.graph.initializer} - constants.keys()
    makers = {v: n for n in quantized.graph.node for v in n.output}
    places: dict[str, set[str]] = {name: set() for name in floats}
    by_name = {n.name: n for n in quantized.graph.node}
    found: dict[str, dict[str, Rounding]] = {}
    for node in source.graph.node:
        twin = by_name.get(node.name)
        if twin is not None and twin.op_type in BLOCKED:
            own, its = BLOCKED[twin.op_type]
            name, origin = node.input[its], twin.input[own]
            if name in floats and origin in constants:
                steps = _in_blocks(node, twin, constants)
                found.setdefault(name, {})[origin] = steps
        if twin is None or twin.op_type != node.op_type:
            continue
        for name, other in zip(node.input, twin.input, strict=False):
            if name in floats:
                places[name].add(_origin(other, makers))
    for name in floats:
        for base in (name, f"{name}_Transposed"):
            places[name].update({f"{base}_quantized", f"{base}_float16"})
    for name, origins in places.items():
        for origin in origins & constants.keys() - found.get(name, {}).keys():
            if rounding := _rounding(quantized, constants, origin):
                found.setdefault(name, {})[origin] = rounding
    return found


def by_blocks(values: np.ndarray, block: int) -> np.ndarray:
    """Values as a product with weights in blocks takes them: 8 bits, a scale a block.

    Args:
        values: floats; blocks are along the last axis.
        block: how many share a scale.
    """
    size = values.shape[-1]
    count = -(-size // block)
    fill = [(0, 0)] * (values.ndim - 1) + [(0, count * block - size)]
    wide = np.pad(values.astype(np.float64), fill)
    wide = wide.reshape(*values.shape[:-1], count, block)
    step = np.maximum(np.abs(wide).max(-1, keepdims=True) / 127, 1e-30)
    found = (np.round(wide / step) * step).reshape(*values.shape[:-1], -1)
    rounded: np.ndarray = found[..., :size].astype(values.dtype)
    return rounded


def _in_blocks(
    node: onnx.NodeProto, twin: onnx.NodeProto, constants: Mapping[str, np.ndarray]
) -> Stepped:
    """How a layer's weights were rounded that are in blocks now.

    Args:
        node: of the float graph.
        twin: of the quantized one.
        constants: of the quantized graph.
    """
    given = {a.name: a.i for a in twin.attribute}
    stored = constants[twin.input[BLOCKED[twin.op_type][0]]]
    if twin.op_type == "MatMulNBits":
        shape = (given["N"], given["K"])
        low, high = 0.0, 2.0 ** given.get("bits", 4) - 1
        crossed = any(a.name == "transB" and a.i for a in node.attribute)
        flipped = not (node.op_type == "Gemm" and crossed)
    else:
        shape, flipped = stored.shape, False
        low, high = _segments.limits(stored.dtype)
    scale = constants[twin.input[2]].reshape(shape[0], -1)
    return Stepped(shape, scale, 1, given["block_size"], low, high, flipped)


def _origin(name: str, makers: Mapping[str, onnx.NodeProto]) -> str:
    while name in makers and makers[name].op_type in _THROUGH:
        name = makers[name].input[0]
    return name


def _rounding(
    quantized: onnx.ModelProto, constants: Mapping[str, np.ndarray], origin: str
) -> Rounding | None:
    stored = constants[origin]
    if stored.dtype.kind == "f" or stored.dtype.name == "bfloat16":
        return Halved(stored.dtype) if stored.dtype.itemsize < 4 else None
    base = origin.removesuffix("_quantized")
    scale, axis, block = constants.get(f"{base}_scale"), -1, 0
    makers = {v: n for n in quantized.graph.node for v in n.output}
    for node in quantized.graph.node:
        if node.op_type == "DequantizeLinear" and (
            _origin(node.input[0], makers) == origin
        ):
            scale = constants.get(node.input[1])
            axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
            block = next((a.i for a in node.attribute if a.name == "block_size"), 0)
    if scale is None:
        return None
    low, high = _segments.limits(stored.dtype)
    flipped = base.endswith("_Transposed")
    return Stepped(stored.shape, scale, axis, block, low, high, flipped)
