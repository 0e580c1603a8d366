"""Weights in blocks that have a scale each: `w = scale * (q - zero)`, q not negative.

Rounding takes the inputs of a layer into account where their second moments are given:
weight by weight, what rounding one did to the output is made good by those still free
(Frantar et al. 2023, "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", arXiv:2210.17323).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SHRINKS = np.linspace(0.6, 1.0, 9)
STRIDE = 64  # weights that are rounded before those after them are put right


class Blocks(NamedTuple):
    """Rounded weights, in blocks along the last axis.

    Attributes:
        levels: q, uint8 (rows, weights of a row).
        scale: float32 (rows, blocks of a row), never 0.
        zero: the q that stands for 0, uint8 (rows, blocks of a row).
        block: weights that share a scale.
    """

    levels: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    block: int

    def values(self) -> np.ndarray:
        """The weights that they stand for, float32 (rows, weights of a row)."""
        apart = self.levels.astype(np.float32) - self.spread(self.zero)
        found: np.ndarray = apart * self.spread(self.scale)
        return found

    def spread(self, each: np.ndarray) -> np.ndarray:
        """What each block has, for each of its weights."""
        return _spread(each, self.block, self.levels.shape[1])


def rounded(
    weight: np.ndarray,
    bits: int,
    block: int,
    symmetric: bool,
    moments: np.ndarray | None = None,
) -> Blocks:
    """The weights in whole numbers; a weight that is 0 stays 0.

    Args:
        weight: float32 (rows, weights of a row).
        bits: 2 to 8.
        block: weights that share a scale.
        symmetric: whether the zero is in the middle of the range; the largest weight
            of a block, of either sign, is then the lowest number, which is one
            further from the middle than the highest.
        moments: mean of x xᵀ over what a row is multiplied with, (weights of a row,
            weights of a row), positive definite; None for rounding to the nearest.

    Example:
        >>> found = rounded(np.array([[-8.0, 3.4, 7.0, 0.0]], np.float32), 4, 4, True)
        >>> found.levels - found.zero.astype(int), found.scale
        (array([[-8,  3,  7,  0]]), array([[1.]], dtype=float32))
    """
    scale, zero = _grid(weight, bits, block, symmetric)
    top = 2**bits - 1
    if moments is None:
        levels = _nearest(weight, *_each(scale, zero, block, weight.shape[1]), top)
        return Blocks(levels.astype(np.uint8), scale, zero, block)
    if bits <= 4:
        scale = _shrunk(weight, scale, zero, block, np.diagonal(moments), top)
    each = _each(scale, zero, block, weight.shape[1])
    near = _nearest(weight, *each, top)
    fed = _fed_forward(weight, *each, moments, top)
    better = _loss(weight, fed, *each, moments) < _loss(weight, near, *each, moments)
    levels = np.where(better[:, None], fed, near)
    return Blocks(levels.astype(np.uint8), scale, zero, block)


def packed(levels: np.ndarray, bits: int) -> np.ndarray:
    """Whole numbers of 4 or 8 bits in bytes along the last axis, the lower half first.

    Example:
        >>> packed(np.array([[1, 2, 3]], np.uint8), 4)
        array([[33,  3]], dtype=uint8)
    """
    if bits == 8:
        return levels.astype(np.uint8)
    if levels.shape[-1] % 2:
        levels = np.pad(levels, [(0, 0)] * (levels.ndim - 1) + [(0, 1)])
    bytes_: np.ndarray = levels[..., 0::2] | (levels[..., 1::2] << 4)
    return bytes_.astype(np.uint8)


def _grid(
    weight: np.ndarray, bits: int, block: int, symmetric: bool
) -> tuple[np.ndarray, np.ndarray]:
    rows, size = weight.shape
    count = -(-size // block)
    wide = np.pad(weight, ((0, 0), (0, count * block - size)))
    wide = wide.reshape(rows, count, block)
    low, high = wide.min(-1), wide.max(-1)
    if symmetric:
        middle = 2 ** (bits - 1)
        scale = np.where(high > -low, high, low) / np.float32(-middle)
        zero = np.full(scale.shape, middle)
    else:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
        scale = (high - low) / np.float32(2**bits - 1)
        scale = np.where(_none(scale), 1.0, scale)
        zero = np.clip(np.round(-low / scale), 0, 2**bits - 1)
    scale = np.where(_none(scale), 1.0, scale)
    return scale.astype(np.float32), zero.astype(np.uint8)


def _none(scale: np.ndarray) -> np.ndarray:
    small: np.ndarray = np.abs(scale) < np.finfo(np.float32).tiny
    return small


def _spread(each: np.ndarray, block: int, size: int) -> np.ndarray:
    return np.repeat(each, block, 1)[:, :size].astype(np.float32)


def _each(
    scale: np.ndarray, zero: np.ndarray, block: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    return _spread(scale, block, size), _spread(zero, block, size)


def _nearest(
    weight: np.ndarray, scale: np.ndarray, zero: np.ndarray, top: int
) -> np.ndarray:
    found: np.ndarray = np.clip(np.round(weight / scale) + zero, 0, top)
    return found


def _loss(
    weight: np.ndarray,
    levels: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray,
    moments: np.ndarray,
) -> np.ndarray:
    """The squared error that each row adds to its output."""
    apart = weight.astype(np.float64) - (levels - zero) * scale
    found: np.ndarray = ((apart @ moments) * apart).sum(-1)
    return found


def _shrunk(
    weight: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray,
    block: int,
    power: np.ndarray,
    top: int,
) -> np.ndarray:
    """Smaller steps, where cutting the largest weights off lowers the error."""
    best, least = scale, np.full(scale.shape, np.inf)
    starts = np.arange(0, weight.shape[1], block)
    for share in SHRINKS[::-1]:
        tried = (scale * np.float32(share)).astype(np.float32)
        step, middle = _each(tried, zero, block, weight.shape[1])
        apart = weight - (_nearest(weight, step, middle, top) - middle) * step
        error = np.add.reduceat(apart**2 * power, starts, 1)
        best, least = np.where(error < least, tried, best), np.minimum(error, least)
    return best


def _fed_forward(
    weight: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray,
    moments: np.ndarray,
    top: int,
) -> np.ndarray:
    """Levels one after the other; the weights that are left make good for the error."""
    size = weight.shape[1]
    # Those that matter most come first, while all others can still make good for them.
    order = np.argsort(-np.diagonal(moments), kind="stable")
    left = weight[:, order].astype(np.float64)
    none, scale, zero = left == 0, scale[:, order], zero[:, order]
    upper = np.linalg.cholesky(np.linalg.inv(moments[np.ix_(order, order)])).T
    found = np.zeros_like(left)
    for start in range(0, size, STRIDE):
        end = min(start + STRIDE, size)
        missed = np.zeros((len(left), end - start))
        for i in range(start, end):
            level = _nearest(left[:, i], scale[:, i], zero[:, i], top)
            found[:, i] = np.where(none[:, i], zero[:, i], level)
            apart = left[:, i] - (found[:, i] - zero[:, i]) * scale[:, i]
            missed[:, i - start] = apart / upper[i, i]
            left[:, i:end] -= missed[:, i - start, None] * upper[i, i:end]
        left[:, end:] -= missed @ upper[start:end, end:]
    return found[:, np.argsort(order, kind="stable")]
