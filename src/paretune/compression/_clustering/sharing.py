"""Which weights share values, and the values that they share."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from paretune.core.errors import UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats._edits import named_tensors
from paretune.infrastructure.formats._patterns import matching

MOST = 256  # values that a layer may share
_ROUNDS = 300


def share(model: nn.Module, clusters: int, skip: str, run: Run) -> None:
    """Moves the weights of each matrix to `clusters` values, in place.

    Args:
        model: any.
        clusters: values a matrix may have.
        skip: patterns of layers' names to leave, separated by commas.
        run: is told what runs.

    Raises:
        UnsupportedError: nothing is to be done, or a pattern matches no layer.
    """
    found = _chosen(model, skip)
    done = 0
    for number, (name, weight) in enumerate(found.items()):
        run.give_way()
        run.progress(f"cluster {name}", number / len(found))
        values = weight.detach().cpu().numpy()
        if len(np.unique(values)) <= clusters:
            continue
        near = nearest_of(values, centres(values, clusters))
        weight.data = torch.from_numpy(near).to(weight.dtype)
        done += 1
    run.progress(f"clustered {done} of {len(found)}", 1.0)
    if not done:
        raise UnsupportedError(
            "not-applicable",
            f"no layer has more than {clusters} distinct weights; leave this step out.",
        )


def matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of two or more axes by one of their names."""
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, tensor in named_tensors(model).items():
        if not isinstance(tensor, nn.Parameter) or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if tensor.is_floating_point() and tensor.dim() > 1:
            found[name] = tensor
    return found


def centres(values: np.ndarray, count: int) -> np.ndarray:
    """The means of `count` or fewer clusters, ascending: one-dimensional k-means.

    Args:
        values: of a weight, any shape; if one is 0 (pruned, or the row of an embedding
            that stands for padding), 0 is one of the centres, and the others are those
            of the other values.
        count: 2 or more.

    Returns:
        float32; fewer if some clusters stay empty.

    Example:
        >>> centres(np.array([0.9, 1.1, 3.0, 5.0]), 2).tolist()
        [1.0, 4.0]
    """
    flat = np.sort(np.asarray(values, np.float64).ravel())
    has_zero = bool((flat == 0).any())
    if has_zero:
        flat, count = flat[flat != 0], count - 1
    sums = np.concatenate([[0.0], np.cumsum(flat)])
    found = np.linspace(flat[0], flat[-1], count)
    for _ in range(_ROUNDS):
        ends = np.searchsorted(flat, (found[1:] + found[:-1]) / 2)
        ends = np.concatenate([[0], ends, [len(flat)]])
        sizes = np.diff(ends)
        moved = (np.diff(sums[ends]) / np.maximum(sizes, 1))[sizes > 0]
        if len(moved) == len(found) and np.allclose(moved, found, rtol=1e-7, atol=0):
            break
        found = moved
    if has_zero:
        found = np.concatenate([found, [0.0]])
    return np.unique(found.astype(np.float32))


def nearest_of(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Each value as the nearest of an ascending table; a 0 that it has stays 0."""
    middles = (table[1:] + table[:-1]) / 2
    moved = table[np.searchsorted(middles, values)]
    return np.where((values == 0) & (0 in table), np.float32(0), moved)


def _chosen(model: nn.Module, skip: str) -> dict[str, nn.Parameter]:
    weights = matrices(model)
    at = {name: name.rpartition(".")[0] for name in weights}
    left = matching({p: model.get_submodule(p) for p in at.values()}, skip)
    return {name: w for name, w in weights.items() if at[name] not in left}
