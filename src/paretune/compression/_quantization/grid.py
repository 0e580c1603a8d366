"""The numbers that quantized weights can be: scale * q, q whole, a scale a channel.

What is written and what training simulates are computed here, so that they agree to
the bit. The range is symmetric: zero is exact, and -8 of 4 bits is never used.
"""

from __future__ import annotations

import numpy as np

REDUCED = 64  # ONNX Runtime's own range for 7 bits: -64 to 64


def highest(bits: int) -> int:
    """The largest q of a format; the smallest is its negative.

    Args:
        bits: 2 to 8.

    Example:
        >>> [highest(bits) for bits in (8, 7, 4)]
        [127, 64, 7]
    """
    return REDUCED if bits == 7 else 2 ** (bits - 1) - 1


def scales(weight: np.ndarray, axis: int, bits: int) -> np.ndarray:
    """The step of each channel: its largest magnitude is the largest q.

    Args:
        weight: float32, of any shape.
        axis: of the channels that have a scale each.
        bits: 2 to 8.

    Returns:
        float32 (channels,), above 0.

    Example:
        >>> scales(np.array([[-7.0, 2.0], [0.0, 3.5]], np.float32), 0, 4)
        array([1. , 0.5], dtype=float32)
    """
    others = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    step = np.abs(weight).max(others).astype(np.float64) / highest(bits)
    none = step < np.finfo(np.float32).tiny
    return np.where(none, 1.0, step).astype(np.float32)


def levels(weight: np.ndarray, scale: np.ndarray, axis: int, bits: int) -> np.ndarray:
    """The q that is nearest to each weight; halves go to the even one.

    Args:
        weight: float32, of any shape.
        scale: float32, one a channel.
        axis: of the channels.
        bits: 2 to 8.

    Returns:
        whole numbers in float32, of the shape of `weight`.

    Example:
        >>> step = np.ones(1, np.float32)
        >>> levels(np.array([[0.5, 1.6, -9.0]], np.float32), step, 0, 4)
        array([[ 0.,  2., -7.]], dtype=float32)
    """
    top = np.float32(highest(bits))
    whole = np.round(weight / along(scale, axis, weight.ndim))
    found: np.ndarray = np.clip(whole, -top, top)
    return found


def rounded(weight: np.ndarray, scale: np.ndarray, axis: int, bits: int) -> np.ndarray:
    """The weights as they are after rounding to the nearest: float32 as given."""
    step = along(scale, axis, weight.ndim)
    found: np.ndarray = levels(weight, scale, axis, bits) * step
    return found


def along(scale: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """One value a channel, so shaped that it goes with an array of `rank` axes."""
    shape = [1] * rank
    shape[axis % rank] = -1
    return scale.reshape(shape)
