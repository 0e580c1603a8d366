"""Weights as products of smaller ones, and the chains of layers that compute them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

Rank = tuple[int, ...]
Conv = nn.Conv1d | nn.Conv2d | nn.Conv3d
CP_STEPS = 50
CP_GRID = 8
_TINY = 1e-6


class Factors(NamedTuple):
    """What can take the place of one layer.

    Attributes:
        parameters: of the layer's weight as it is.
        rank: the smallest rank that loses at most a share of the weight's energy.
        cost: parameters of the chain of a rank.
        build: makes the chain of a rank.
    """

    parameters: int
    rank: Callable[[float], Rank]
    cost: Callable[[Rank], int]
    build: Callable[[Rank], nn.Sequential]


def matrix(layer: Any, spread: np.ndarray | None, step: int) -> Factors:
    """Two layers in a row, `W = B A`, the best ones of their rank by singular values.

    Args:
        layer: linear, or a convolution with a kernel of 1.
        spread: the mean of `x x^T` over the layer's inputs x, (in, in): energy is then
            that of the layer's outputs; None: that of its weights.
        step: ranks are multiples of it.

    Source: Denton et al. 2014, arXiv:1404.0736; with the inputs' spread: Wang et al.
    2024, arXiv:2403.07378.
    """
    weight = layer.weight.detach().double().flatten(1).numpy()
    out, inward = weight.shape
    roots = None if spread is None else _roots(spread)
    seen = weight if roots is None else weight @ roots[0]
    u, s, vt = np.linalg.svd(seen, full_matrices=False)

    def build(rank: Rank) -> nn.Sequential:
        (r,) = rank
        half = np.sqrt(s[:r])
        first = _point(layer, inward, r, stride=getattr(layer, "stride", 1))
        last = _point(layer, r, out, last=True)
        _set(first, half[:, None] * (vt[:r] if roots is None else vt[:r] @ roots[1]))
        _set(last, u[:, :r] * half)
        return _chain(layer, first, last)

    return Factors(
        weight.size,
        lambda lost: (_needed(s, lost, step),),
        lambda rank: rank[0] * (inward + out),
        build,
    )


def tucker(layer: Conv, step: int) -> Factors:
    """1x1, kxk and 1x1 convolutions in a row, with fewer channels in between.

    Source: Kim et al. 2016, arXiv:1511.06530.
    """
    weight = layer.weight.detach().double().numpy()
    out, inward, *kernel = weight.shape
    spectra = [
        np.linalg.svd(np.moveaxis(weight, axis, 0).reshape(n, -1), compute_uv=False)
        for axis, n in ((0, out), (1, inward))
    ]

    def build(rank: Rank) -> nn.Sequential:
        from tensorly.decomposition import partial_tucker

        (core, (left, right)), _ = partial_tucker(weight, list(rank), modes=[0, 1])
        first, last = _point(layer, inward, rank[1]), _point(layer, rank[0], out, True)
        middle = _middle(layer, rank[1], rank[0], groups=1)
        _set(first, right.T)
        _set(middle, core)
        _set(last, left)
        return _chain(layer, first, middle, last)

    def cost(rank: Rank) -> int:
        r, q = rank
        return int(inward * q + q * r * math.prod(kernel) + r * out)

    return Factors(
        weight.size,
        # What two cuts lose is at most the sum of what each loses.
        lambda lost: tuple(_needed(s, lost / 2, step) for s in spectra),
        cost,
        build,
    )


def canonical(layer: Conv, step: int) -> Factors:
    """A 1x1, a depthwise kxk and a 1x1 convolution in a row.

    Source: Lebedev et al. 2015, arXiv:1412.6553.
    """
    weight = layer.weight.detach().double().numpy()
    out, inward, *kernel = weight.shape
    tensor = weight.reshape(out, inward, -1)
    each = out + inward + math.prod(kernel)
    grid = _grid(weight.size // each, step)

    @cache
    def fit(r: int) -> tuple[float, list[np.ndarray]]:
        from tensorly.decomposition import parafac

        with warnings.catch_warnings(action="ignore"):  # more than its singular vectors
            (weights, found), errors = parafac(
                tensor,
                r,
                n_iter_max=CP_STEPS,
                init="svd",
                random_state=0,
                return_errors=True,
            )
        # The three factors share the size, so that none is tiny and another huge.
        norms = [np.linalg.norm(f, axis=0) + 1e-30 for f in found]
        scale = (weights * math.prod(norms)) ** (1 / 3)
        balanced = [f / n * scale for f, n in zip(found, norms, strict=True)]
        return float(errors[-1]) ** 2, balanced

    def rank(lost: float) -> Rank:
        fitting = (r for r in grid if fit(r)[0] <= lost)
        return (next(fitting, weight.size),)

    def build(rank: Rank) -> nn.Sequential:
        (r,) = rank
        left, right, inner = fit(r)[1]
        first, last = _point(layer, inward, r), _point(layer, r, out, last=True)
        middle = _middle(layer, r, r, groups=r)
        _set(first, right.T)
        _set(middle, inner.T)
        _set(last, left)
        return _chain(layer, first, middle, last)

    return Factors(weight.size, rank, lambda rank: rank[0] * each, build)


def _needed(singular: np.ndarray, lost: float, step: int) -> int:
    """The smallest rank whose tail has at most the share `lost` of the energy."""
    energy = singular**2
    tail = np.append(energy[::-1].cumsum()[::-1], 0.0)
    rank = int(np.argmax(tail <= lost * tail[0] * (1 + 1e-12)))
    return min(max(1, math.ceil(rank / step)) * step, len(singular))


def _grid(most: int, step: int) -> list[int]:
    """Ranks up to `most`, each about 1.4 times the one before."""
    ranks = (most * 2 ** (-n / 2) for n in reversed(range(CP_GRID)))
    return sorted({max(step, int(r) // step * step) for r in ranks if r >= 1})


def _roots(spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A square root of the spread and its inverse."""
    values, vectors = np.linalg.eigh(spread)
    # Directions that never occur would be of no weight, and could not be inverted.
    values = np.maximum(values, max(values[-1], 1e-30) * _TINY)
    root = np.sqrt(values)
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T


def _point(
    layer: Any, inward: int, out: int, last: bool = False, stride: Any = 1
) -> nn.Module:
    """A layer without a kernel, with a bias if it is the last one of a chain."""
    bias = last and layer.bias is not None
    if isinstance(layer, nn.Linear):
        return nn.Linear(inward, out, bias=bias)
    made: nn.Module = type(layer)(inward, out, 1, stride=stride, bias=bias)
    return made


def _middle(layer: Any, inward: int, out: int, groups: int) -> nn.Module:
    made: nn.Module = type(layer)(
        inward,
        out,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=groups,
        bias=False,
        padding_mode=layer.padding_mode,
    )
    return made


@torch.no_grad()
def _set(layer: Any, values: np.ndarray) -> None:
    content = torch.from_numpy(np.ascontiguousarray(values))
    layer.weight.copy_(content.reshape(layer.weight.shape))


@torch.no_grad()
def _chain(layer: Any, *parts: nn.Module) -> nn.Sequential:
    chain = nn.Sequential(*parts)
    if layer.bias is not None:
        last: Any = parts[-1]
        last.bias.copy_(layer.bias)
    for parameter in chain.parameters():
        parameter.requires_grad_(layer.weight.requires_grad)
    return chain.eval()
