"""What the weights of a layer are multiplied with, as rows of a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from paretune.compression._quantization.weights import Layer, integer, integers


def rows(
    layer: Layer,
    values: np.ndarray,
    shape: tuple[int, ...],
    rng: np.random.Generator,
    quota: int,
) -> np.ndarray | None:
    """Some of the rows that the layer multiplies with its weights.

    Args:
        layer: a convolution or product.
        values: its input.
        shape: of its weights.
        rng: chooses the rows.
        quota: how many at most.

    Returns:
        (groups, rows, weights of an output channel), float64, in the order of `matrix`;
        None for a convolution that pads in a way of its own.
    """
    if layer.node.op_type != "Conv":
        flat = values.reshape(1, -1, values.shape[-1])
        count = flat.shape[1]
        chosen = rng.integers(0, count, quota) if count > quota else slice(None)
        return flat[:, chosen].astype(np.float64)
    node, rank = layer.node, len(shape) - 2
    if any(
        a.name == "auto_pad" and a.s not in (b"NOTSET", b"") for a in node.attribute
    ):
        return None
    strides = integers(node, "strides") or [1] * rank
    dilations = integers(node, "dilations") or [1] * rank
    pads = integers(node, "pads") or [0] * 2 * rank
    around = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    spans = tuple((k - 1) * d + 1 for k, d in zip(shape[2:], dilations, strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(values, around), spans, axis=tuple(range(2, 2 + rank))
    )
    steps = [slice(None, None, s) for s in (*strides, *dilations)]
    windows = windows[(slice(None), slice(None), *steps)]
    grid = (windows.shape[0], *windows.shape[2 : 2 + rank])
    count = int(np.prod(grid))
    chosen = rng.integers(0, count, quota) if count > quota else np.arange(count)
    sample, *places = np.unravel_index(chosen, grid)
    where: tuple[Any, ...] = (sample, slice(None), *places)
    got = windows[where]
    apart = got.reshape(len(got), integer(node, "group", 1), -1)
    return np.ascontiguousarray(apart.transpose(1, 0, 2)).astype(np.float64)


def matrix(layer: Layer, weight: np.ndarray) -> np.ndarray:
    """The weights as (groups, output channels of one, weights of each), float64."""
    wide = np.moveaxis(weight, layer.axis, 0).astype(np.float64)
    groups = integer(layer.node, "group", 1) if layer.node.op_type == "Conv" else 1
    return wide.reshape(groups, len(wide) // groups, -1)


def array(layer: Layer, matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `matrix`."""
    moved = (shape[layer.axis], *(n for i, n in enumerate(shape) if i != layer.axis))
    return np.moveaxis(matrix.reshape(moved), 0, layer.axis)
