"""Takes outliers out of activations, by moving factors into the weights after them.

A few channels of a transformer's normalised activations are far larger than all others,
and one scale for all of them then leaves the others a handful of levels. Each channel
is divided by a factor where the normalisation scales it anyway, and the weights that
read it are multiplied by the same factor, which a scale a channel takes in its stride.

Source: Xiao et al. 2023, "SmoothQuant: Accurate and Efficient Post-Training
Quantization for Large Language Models", arXiv:2211.10438.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import onnx

from paretune.compression._quantization.choice import PRODUCTS, constants, weighted
from paretune.compression._quantization.weights import (
    Layer,
    arrays,
    axis_of,
    put,
    readers,
    separate,
    uses,
)

NORMS = frozenset(
    {"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"}
)
SMALLEST = 1e-5


class Spot(NamedTuple):
    """A value that is scaled by channel, and read by products with weights alone.

    Attributes:
        value: its name.
        scales: names of the constants that scale it, and shift it.
        products: that read it.
    """

    value: str
    scales: tuple[str, ...]
    products: tuple[Layer, ...]


def spots(model: onnx.ModelProto, kept: Collection[str]) -> list[Spot]:
    """Where factors can be moved without another operator in the graph.

    Args:
        model: from `prepare`; what constants share is copied in place.
        kept: names of nodes to leave alone.
    """
    separate(model)
    constant, used, read = constants(model.graph), uses(model), readers(model)
    found = []
    for node in model.graph.node:
        if node.op_type in NORMS:
            scales = tuple(filter(None, node.input[1:3]))
        elif node.op_type == "Mul":  # the end of a normalisation in parts
            scales = tuple(n for n in node.input if n in constant)
        else:
            continue
        value = node.output[0]
        products = [
            Layer(n, n.input[1], axis_of(n))
            for n in read[value]
            if n.input[0] == value
            and n.name not in kept
            and weighted(n, constant, PRODUCTS)
        ]
        if not products or used[value] != len(products) or len(scales) > 2:
            continue
        inner = {constant[p.weight][1 - p.axis] for p in products}
        sizes = {constant.get(name) for name in scales}
        alone = [*scales, *(p.weight for p in products)]
        if sizes == {(size,) for size in inner} and all(used[n] == 1 for n in alone):
            found.append(Spot(value, scales, tuple(products)))
    return found


def move(
    model: onnx.ModelProto,
    found: Collection[Spot],
    peaks: Mapping[str, np.ndarray],
    alpha: float,
) -> None:
    """Divides each channel by `peak**alpha / weight**(1 - alpha)`, in place.

    What the graph computes stays the same.

    Args:
        model: that `spots` looked at.
        found: by `spots`.
        peaks: by value, the largest magnitude of each channel on calibration data.
        alpha: 0 leaves all the unevenness to the activations, 1 to the weights.
    """
    names = {n for s in found for n in (*s.scales, *(p.weight for p in s.products))}
    held = {k: v.astype(np.float64) for k, v in arrays(model, names).items()}
    for spot in found:
        wide = [np.moveaxis(held[p.weight], p.axis, 0) for p in spot.products]
        taken = np.max([np.abs(w).max(0) for w in wide], 0)
        peak = peaks[spot.value].astype(np.float64)
        used = (peak > SMALLEST) & (taken > SMALLEST)
        factor = np.ones_like(peak)
        factor[used] = peak[used] ** alpha / taken[used] ** (1 - alpha)
        for name in spot.scales:
            held[name] /= factor
        for weight in wide:
            weight *= factor
    put(model, {k: v.astype(np.float32) for k, v in held.items()})
