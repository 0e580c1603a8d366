"""Where an ONNX artifact parts from its source, and whether rounding explains it.

For each layer of a quantized graph, fed with the float graph's own values:

- A value within a quantizer's range is at most half a step from what it becomes, and
  what the range cuts off is at most `CUT` of the whole.
- In each output channel the error is at most `EXPLAINED` times that of plain rounding
  at the same step sizes (`formats/_rounding.py`). Plain rounding itself has 1.0 times
  its error; rounding each weight at random up or down has twice; what a technique adds
  (equalisation, better rounding, corrected biases) is there to lower it. A wrong
  weight, scale or bias is seen as soon as it does more than rounding would.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from paretune.core.target import Arrays
from paretune.measurement._agreement import norm
from paretune.measurement._samples import count, rows

if TYPE_CHECKING:
    from paretune.infrastructure.formats._rounding import Comparison, Rounding

EXPLAINED = 3.0
FLOAT = 1e-4  # of the usual channel's size: the order of additions
HALF = 4e-3  # where the arithmetic is in 16 bits
CUT = 0.5  # of an activation's size; entropy calibration cuts off 0.17 and more
HIDDEN = 0.5  # of the error is left without a layer's factors, if it has any
SAMPLES = 32
VALUES = 2**24  # of a graph at once, all samples together


@dataclass(frozen=True)
class Wrong:
    """A layer whose error rounding doesn't explain.

    Attributes:
        name: of the layer.
        channel: of its output; None where all of a value is meant.
        error: as a share of the channel's size, or of the usual channel's.
        limit: of it.
        what: what was found, in words.

    Example:
        >>> print(Wrong("head/Gemm", 3, 0.4, 0.01, "0.4 of its size"))
        first differs at head/Gemm, channel 3: 0.4 of its size
    """

    name: str
    channel: int | None
    error: float
    limit: float
    what: str

    def __str__(self) -> str:
        where = "" if self.channel is None else f", channel {self.channel}"
        return f"first differs at {self.name}{where}: {self.what}"


@dataclass(frozen=True)
class Look:
    """What was seen layer by layer.

    Attributes:
        wrong: the first layer in topological order whose own error rounding doesn't
            explain.
        layers: how many could be judged.
    """

    wrong: Wrong | None
    layers: int


def look(artifact: Any, source: Any, inputs: Arrays) -> Look:
    """Holds each layer of a quantized graph against what rounding explains.

    A layer whose channels are larger by some factor is none the worse if the layers
    that read it take the factor back: the factors are handed on, and must be undone
    before the outputs.

    Args:
        artifact: a quantized ONNX graph.
        source: the float graph that it was made from.
        inputs: by name; at most `SAMPLES` are looked at, fewer if values are large.
    """
    from paretune.infrastructure.formats import _rounding

    inputs = _few(source, inputs)
    outputs = {o.name for o in source.graph.output}
    gains: dict[str, np.ndarray] = {}
    first, before = None, np.inf
    while True:
        try:
            roundings, compared = _rounding.compare(artifact, source, inputs, gains)
        except Exception:  # a graph that can't be taken apart, for whatever reason
            with contextlib.suppress(Exception):
                first = first or _other_shape(artifact, source, inputs)
            return Look(first, 0)
        judged = sum(layer.mapped for layer in compared)
        apart = sum(_beside_gain(layer) for layer in compared if layer.mapped)
        wrong, gained = None, False
        if apart > 1.01 * before + FLOAT**2:
            wrong = first  # what reads it doesn't take the factor back
        else:
            for layer in _in_order(roundings, compared, inputs):
                if isinstance(layer, _rounding.Rounding):
                    wrong = _of_rounding(layer)
                else:
                    wrong = _of_layer(layer, gains.get(layer.output))
                    free = layer.output not in outputs | gains.keys()
                    if wrong and free and (gain := _gain(layer)) is not None:
                        first, before = first or wrong, apart
                        gains[layer.output] = gain
                        gained = True
                if wrong:
                    break
        if wrong is None:
            return Look(None, judged)
        if not gained:
            first, before = first or wrong, np.inf
            if not (more := _with_hidden(compared, gains, outputs)):
                return Look(first, judged)
            gains = more


def _with_hidden(
    compared: list[Comparison], gains: dict[str, np.ndarray], outputs: set[str]
) -> dict[str, np.ndarray]:
    """The factors, with that of the first layer that hid one; nothing if none did.

    Where rounding explains much, as with weights of 4 bits, a layer passes with or
    without its factor, and the one that takes it back is found wrong in its place.
    What was found out after that layer was found with the wrong inputs, and is dropped.
    """
    known: dict[str, np.ndarray] = {}
    for layer in compared:
        value = layer.output
        if value in gains:
            known[value] = gains[value]
        elif layer.mapped and value not in outputs:
            gain = _gain(layer)
            if gain is not None and _beside_gain(layer) < HIDDEN * _whole(layer):
                return known | {value: gain}
    return {}


def _whole(layer: Comparison) -> float:
    """The squared relative error, factors and all."""
    wanted, got = _inside(layer)
    return float(((wanted - got) ** 2).sum() / max((got**2).sum(), 1e-30))


def _few(source: Any, inputs: Arrays) -> Arrays:
    """So few samples that all values of a graph fit into memory several times."""
    from paretune.infrastructure.formats._layers import observed

    one = sum(a.size for a in observed(source, rows(inputs, 0, 1)).values())
    size = min(SAMPLES, count(inputs), max(1, VALUES // max(one, 1)))
    return rows(inputs, 0, size)


def _other_shape(artifact: Any, source: Any, inputs: Arrays) -> Wrong | None:
    """The first value that has another shape."""
    from paretune.infrastructure.formats import _layers, _naming, _segments

    names = _segments.shared(artifact, source)
    wanted, got = (_layers.observed(m, inputs, names) for m in (source, artifact))
    for value in names:
        if value in wanted and value in got and wanted[value].shape != got[value].shape:
            name = _naming.layer_names(artifact, source, [value])[value][0]
            return _misshapen(name, got[value], wanted[value])
    return None


def _misshapen(name: str, got: np.ndarray, wanted: np.ndarray) -> Wrong:
    what = f"its shape is {got.shape}, not {wanted.shape}"
    return Wrong(name, None, np.inf, 0.0, what)


def _in_order(
    roundings: list[Rounding], compared: list[Comparison], inputs: Arrays
) -> list[Rounding | Comparison]:
    """Quantizers of inputs, then each layer that can be judged, and its quantizer."""
    grids = {r.value: r for r in roundings}
    found: list[Rounding | Comparison] = [grids[v] for v in inputs if v in grids]
    for layer in compared:
        found += [layer] if layer.mapped else []
        found += [grids[layer.output]] if layer.output in grids else []
    return found


def _of_layer(layer: Comparison, gain: np.ndarray | None = None) -> Wrong | None:
    if layer.got.shape != layer.wanted.shape:
        return _misshapen(layer.name, layer.got, layer.wanted)
    wanted, got, *plain = _channels(layer, gain)
    if not wanted.size:
        return None
    sizes = np.linalg.norm(wanted, axis=1)
    sizes = np.maximum(sizes, _usual(sizes))
    errors = np.linalg.norm(got - wanted, axis=1)
    rounded = np.array([np.linalg.norm(p - wanted, axis=1) for p in plain])
    limits = EXPLAINED * np.maximum(rounded[0], _usual(rounded))
    limits += (HALF if layer.half else FLOAT) * sizes
    over = np.where(np.isfinite(errors), errors / np.maximum(limits, 1e-30), np.inf)
    channel = int(over.argmax())
    if over[channel] <= 1:
        return None
    size = max(sizes[channel], 1e-30)
    error, limit = float(errors[channel] / size), float(limits[channel] / size)
    what = f"{error:.2g} of its size, where rounding explains {limit:.2g}"
    return Wrong(layer.name, channel, error, limit, what)


def _channels(layer: Comparison, gain: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Wanted, got and each plain by channel, as the next quantizer leaves them."""
    from paretune.infrastructure.formats._layers import by_channel

    finite = np.isfinite(layer.wanted)
    found = []
    for array in (layer.wanted, layer.got, *layer.plain):
        wide = np.where(finite, array, 0.0).astype(np.float64)
        moved = by_channel(wide, layer.axis)
        if gain is not None and array is not layer.got:
            moved = moved * gain[:, None]
        found.append(moved)
    if layer.ends is None:
        return tuple(found)
    low, high = (
        by_channel(np.broadcast_to(end, layer.wanted.shape), layer.axis)
        for end in layer.ends
    )
    return tuple(np.clip(a, low, high) for a in found)


def _inside(layer: Comparison) -> tuple[np.ndarray, np.ndarray]:
    """Wanted and got by channel, with 0 for both where the range cuts got off."""
    wanted, got, *_ = _channels(replace(layer, ends=None), None)
    if layer.ends is None:
        return wanted, got
    low, high = layer.ends
    inside = (got > np.min(low)) & (got < np.max(high))
    return np.where(inside, wanted, 0.0), np.where(inside, got, 0.0)


def _gain(layer: Comparison) -> np.ndarray | None:
    """The factors by which the channels are larger, if that is all that differs."""
    if layer.got.shape != layer.wanted.shape or layer.wanted.ndim < 2:
        return None
    wanted, got = _inside(layer)
    power = (wanted**2).sum(1)
    gain = np.where(power > 0, (wanted * got).sum(1) / np.maximum(power, 1e-30), 1.0)
    if not np.isfinite(gain).all() or (gain <= 0).any():
        return None
    return gain if _of_layer(layer, gain) is None else None


def _beside_gain(layer: Comparison) -> float:
    """The squared relative error that is left when each channel's factor is let go."""
    if layer.got.shape != layer.wanted.shape:
        return 0.0
    wanted, got = _inside(layer)
    power, cross = (wanted**2).sum(1), (wanted * got).sum(1)
    left = (got**2).sum(1) - cross**2 / np.maximum(power, 1e-30)
    return float(max(left.sum(), 0.0) / max((got**2).sum(), 1e-30))


def _of_rounding(rounding: Rounding) -> Wrong | None:
    given, (low, high) = rounding.given.astype(np.float64), rounding.ends
    inside = np.clip(given, low, high)
    size = max(norm(given), 1e-30)
    apart = np.abs(rounding.rounded - inside)
    # The runtime divides in float32: a value may be just beyond the half.
    slack = 1e-5 * np.maximum(np.abs(low), np.abs(high))
    if (apart > 0.5 * rounding.step + slack).any():
        half = norm(np.broadcast_to(0.5 * rounding.step, given.shape)) / size
        error = norm(rounding.rounded - given) / size
        what = (
            f"what its quantized output stands for is {error:.2g} of its size away, "
            f"where rounding explains {half:.2g}"
        )
        return Wrong(rounding.name, None, error, half, what)
    cut = norm(given - inside) / size
    if cut > CUT:
        what = f"its quantized output's range cuts off {cut:.2g} of its size"
        return Wrong(rounding.name, None, cut, CUT, what)
    return None


def _usual(sizes: np.ndarray) -> float:
    return float(np.sqrt(np.mean(sizes**2)))
