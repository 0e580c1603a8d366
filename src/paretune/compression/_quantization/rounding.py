"""Rounds weights up or down by what it does to the layer's output.

To the nearest is the best for each weight by itself, but the errors of weights that see
correlated inputs can be made to cancel. With H the mean of x xᵀ over the rows x that a
channel's weights w are multiplied with, the squared error of the output is
(w - q)ᵀ H (w - q). It is lowered in two steps: weight by weight, what rounding one did
is made good by those still free (Frantar et al. 2023, "GPTQ: Accurate Post-Training
Quantization for Generative Pre-trained Transformers", arXiv:2210.17323); then each is
moved to the best level given all others, again and again. That is the objective of
AdaRound (Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training
Quantization", arXiv:2004.10568, eq. 20), without its gradient descent.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx

from paretune.compression._quantization import grid
from paretune.compression._quantization.calibration import CHUNK, seen
from paretune.compression._quantization.patches import array, matrix, rows
from paretune.compression._quantization.weights import Layer, arrays, put
from paretune.core.technique import Run
from paretune.infrastructure.formats import _columns

ROWS = 8192  # of one layer's inputs: more of them tell little more
BLOCK = 64
PASSES = 4
DAMPING = 0.01
SHRINKS = np.linspace(0.5, 1.0, 11)
FINE = 32  # with so many levels, cutting the largest weights off gains nothing


def adapt(
    model: onnx.ModelProto,
    layers: Collection[Layer],
    run: Run,
    samples: int,
    bits: int,
    centred: bool,
) -> dict[str, np.ndarray]:
    """Rounds the weights of these layers, in place.

    A weight that is 0 stays 0. A layer whose weights others use as well, whose input
    can't be had, or of more than 6,144 weights a channel is rounded to the nearest.

    Args:
        model: a float graph with shapes inferred.
        layers: of it.
        run: gives the calibration split, and the seed.
        samples: of it to look at.
        bits: of the weights.
        centred: whether the mean of the output will be put right by the bias.

    Returns:
        by the name of the weights, the steps of their channels.
    """
    found: dict[str, np.ndarray] = {}
    names = [layer.weight for layer in layers]
    too_wide: list[str] = []
    weights = arrays(model, names)
    for number, layer in enumerate(layers):
        run.progress("round", number / len(names))
        weight, axis = weights[layer.weight], layer.axis
        moments = None
        if matrix(layer, weight).shape[-1] > _columns.MOST:
            too_wide.append(layer.weight)
        elif names.count(layer.weight) == 1:
            moments = second_moments(model, layer, weight.shape, run, samples, centred)
        if moments is None:
            step = grid.scales(weight, axis, bits)
            found[layer.weight] = step
            put(model, {layer.weight: grid.rounded(weight, step, axis, bits)})
            continue
        wide, top = matrix(layer, weight), grid.highest(bits)
        step = grid.scales(weight, axis, bits).reshape(wide.shape[:2])
        if top < FINE:
            step = shrunk(wide, step, moments, top)
        levels = best_levels(wide, step, moments, top)
        fine = array(layer, levels * step[..., None], weight.shape)
        found[layer.weight] = step.reshape(-1)
        put(model, {layer.weight: fine.astype(np.float32)})
    if too_wide:
        run.progress(
            f"rounded; to the nearest, as too wide: {', '.join(too_wide)}", 1.0
        )
    return found


def second_moments(
    model: onnx.ModelProto,
    layer: Layer,
    shape: tuple[int, ...],
    run: Run,
    samples: int,
    centred: bool,
) -> np.ndarray | None:
    """The mean of x xᵀ over the rows x of a layer's input, by group.

    With fewer rows than weights, most of it would be chance: it is drawn towards its
    diagonal, for which the nearest level is the best.

    Returns:
        (groups, weights, weights); None if the rows can't be had.
    """
    rng = np.random.default_rng(run.seed)
    quota = max(1, ROWS // -(-samples // CHUNK))
    source, count = layer.node.input[0], 0
    total: np.ndarray | float = 0.0
    mean: np.ndarray | float = 0.0
    for values in seen(model, [source], run, samples):
        own = rows(layer, values[source], shape, rng, quota)
        if own is None:
            return None
        total = total + own.transpose(0, 2, 1) @ own
        mean = mean + own.sum(1)
        count += own.shape[1]
    moments, mean = np.asarray(total) / count, np.asarray(mean) / count
    if centred:
        moments = moments - mean[:, :, None] * mean[:, None, :]
    size = moments.shape[-1]
    diagonal = moments * np.eye(size)
    share = max(DAMPING, size / (size + count))
    usual = diagonal.sum() / max(np.count_nonzero(diagonal), 1)
    floor = np.eye(size) * max(DAMPING**2 * usual, 1e-30)
    drawn: np.ndarray = (1 - share) * moments + share * diagonal + floor
    return drawn


def shrunk(
    wide: np.ndarray, step: np.ndarray, moments: np.ndarray, top: int
) -> np.ndarray:
    """Smaller steps, where cutting the largest weights off lowers the error."""
    power = np.einsum("gkk->gk", moments)[:, None]
    best, least = step, np.full(step.shape, np.inf)
    for share in SHRINKS[::-1]:
        tried = (step * np.float32(share)).astype(np.float32)
        near = _nearest(wide, tried[..., None], top) * tried[..., None]
        error = ((wide - near) ** 2 * power).sum(-1)
        best, least = np.where(error < least, tried, best), np.minimum(error, least)
    return best


def best_levels(
    wide: np.ndarray, step: np.ndarray, moments: np.ndarray, top: int
) -> np.ndarray:
    """Whole numbers q that make (w - step q)ᵀ H (w - step q) small.

    Args:
        wide: the weights w, (groups, channels of one, weights of each).
        step: (groups, channels).
        moments: H, (groups, weights, weights), positive definite.
        top: the largest q.

    Returns:
        of the shape of `wide`; nowhere worse than the nearest levels.

    Example:
        >>> wide, step = np.array([[[0.4, 0.4]]]), np.ones((1, 1))
        >>> alike = np.array([[[1.0, 0.95], [0.95, 1.0]]])
        >>> float(best_levels(wide, step, alike, 7).sum())
        1.0
    """
    step = step[..., None].astype(np.float64)
    near = _nearest(wide, step, top)
    fed = _fed_forward(wide, step, moments, top)
    better = _error(wide, fed * step, moments) < _error(wide, near * step, moments)
    found = np.where(better[..., None], fed, near)
    for _ in range(PASSES):
        if not _descend(found, wide, step, moments, top):
            break
    return found


def _nearest(wide: np.ndarray, step: np.ndarray, top: int) -> np.ndarray:
    found: np.ndarray = np.clip(np.round(wide / step), -top, top)
    return found


def _error(wide: np.ndarray, near: np.ndarray, moments: np.ndarray) -> np.ndarray:
    apart = wide - near
    found: np.ndarray = ((apart @ moments) * apart).sum(-1)
    return found


def _fed_forward(
    wide: np.ndarray, step: np.ndarray, moments: np.ndarray, top: int
) -> np.ndarray:
    """Levels one after the other; the weights that are left make good for the error."""
    size = wide.shape[-1]
    # Those that matter most come first, while all others can still make good for them.
    order = np.argsort(-np.einsum("gkk->k", moments), kind="stable")
    back = np.argsort(order, kind="stable")
    left, zero = wide[..., order].copy(), wide[..., order] == 0
    inverse = np.linalg.inv(moments[:, order][:, :, order])
    upper = np.linalg.cholesky(inverse).transpose(0, 2, 1)
    found = np.zeros_like(left)
    for start in range(0, size, BLOCK):
        end = min(start + BLOCK, size)
        missed = np.zeros((*left.shape[:2], end - start))
        for i in range(start, end):
            level = _nearest(left[..., i], step[..., 0], top)
            found[..., i] = np.where(zero[..., i], 0.0, level)
            apart = left[..., i] - found[..., i] * step[..., 0]
            missed[..., i - start] = apart / upper[:, i, i, None]
            left[..., i:end] -= missed[..., i - start, None] * upper[:, None, i, i:end]
        left[..., end:] -= missed @ upper[:, start:end, end:]
    return found[..., back]


def _descend(
    found: np.ndarray,
    wide: np.ndarray,
    step: np.ndarray,
    moments: np.ndarray,
    top: int,
) -> bool:
    """Moves each level to the best given all others, in place; whether any moved."""
    size, any_moved = wide.shape[-1], False
    slope = (found * step - wide) @ moments
    width = step[..., 0]
    for start in range(0, size, BLOCK):
        end = min(start + BLOCK, size)
        own = slope[..., start:end].copy()
        moved = np.zeros_like(own)
        for i in range(start, end):
            ideal = found[..., i] - own[..., i - start] / (
                moments[:, i, i, None] * width
            )
            level = np.clip(np.round(ideal), -top, top)
            level = np.where(wide[..., i] == 0, 0.0, level)
            by = (level - found[..., i]) * width
            found[..., i] = level
            moved[..., i - start] = by
            own += by[..., None] * moments[:, None, i, start:end]
        slope += moved @ moments[:, start:end]
        any_moved = any_moved or bool(moved.any())
    return any_moved
