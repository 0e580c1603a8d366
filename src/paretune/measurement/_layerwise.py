"""Whether the error of one layer of a quantized graph is explained by rounding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from paretune.measurement._agreement import norm

if TYPE_CHECKING:
    from paretune.infrastructure.formats._rounding import Comparison, Rounding

EXPLAINED = 3.0
FLOAT = 1e-4  # of the usual channel's size: the order of additions
HALF = 4e-3  # where the arithmetic is in 16 bits
CUT = 0.5  # of an activation's size; entropy calibration cuts off 0.17 and more


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


def of_layer(layer: Comparison, gain: np.ndarray | None = None) -> Wrong | None:
    """What rounding doesn't explain, if its channels are larger by these factors."""
    if layer.got.shape != layer.wanted.shape:
        return misshapen(layer.name, layer.got, layer.wanted)
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


def gain(layer: Comparison) -> np.ndarray | None:
    """The factors by which the channels are larger, if that is all that differs."""
    if layer.got.shape != layer.wanted.shape or layer.wanted.ndim < 2:
        return None
    wanted, got = _inside(layer)
    power = (wanted**2).sum(1)
    gain = np.where(power > 0, (wanted * got).sum(1) / np.maximum(power, 1e-30), 1.0)
    if not np.isfinite(gain).all() or (gain <= 0).any():
        return None
    return gain if of_layer(layer, gain) is None else None


def whole(layer: Comparison) -> float:
    """The squared relative error, factors and all."""
    if layer.got.shape != layer.wanted.shape:
        return 0.0
    wanted, got = _inside(layer)
    return float(((wanted - got) ** 2).sum() / max((got**2).sum(), 1e-30))


def beside_gain(layer: Comparison) -> float:
    """The squared relative error that is left when each channel's factor is let go."""
    if layer.got.shape != layer.wanted.shape:
        return 0.0
    wanted, got = _inside(layer)
    power, cross = (wanted**2).sum(1), (wanted * got).sum(1)
    left = (got**2).sum(1) - cross**2 / np.maximum(power, 1e-30)
    return float(max(left.sum(), 0.0) / max((got**2).sum(), 1e-30))


def of_rounding(rounding: Rounding) -> Wrong | None:
    """What no quantizer does to an activation, or no sensible one."""
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


def misshapen(name: str, got: np.ndarray, wanted: np.ndarray) -> Wrong:
    """A layer whose output has another shape."""
    what = f"its shape is {got.shape}, not {wanted.shape}"
    return Wrong(name, None, np.inf, 0.0, what)
