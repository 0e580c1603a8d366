"""Which weights go: masks that are True where there will be a zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

PATTERNS = {"2:4": 4, "4:8": 8}  # half of each so many weights stay


def lowest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """The `count` lowest scores of all.

    Example:
        >>> lowest(torch.tensor([[3.0, 1.0], [0.0, 2.0]]), 2).tolist()
        [[False, True], [True, False]]
    """
    gone = torch.zeros(scores.numel(), dtype=torch.bool)
    if count > 0:
        gone[scores.flatten().topk(count, largest=False, sorted=False).indices] = True
    return gone.view(scores.shape)


def lowest_by_row(scores: torch.Tensor, count: int) -> torch.Tensor:
    """The lowest scores of each row: as many in each, but for one, that is `count`."""
    rows = scores.flatten(0, -2)
    each, more = divmod(count, len(rows))
    order = rows.sort(dim=1, stable=True)
    gone = torch.zeros_like(rows, dtype=torch.bool)
    gone[:, :each] = True
    if more:
        which = order.values[:, each].topk(more, largest=False).indices
        gone[which, each] = True
    return torch.zeros_like(gone).scatter(1, order.indices, gone).view(scores.shape)


def by_group(scores: torch.Tensor, inputs: int, size: int) -> torch.Tensor:
    """Half of every `size` scores side by side along the input axis, the lowest.

    Args:
        scores: (groups, rows, columns).
        inputs: columns after which the input axis begins anew.
        size: of a group; what is left of the axis after the last whole one loses all
            but half of `size`.

    Example:
        >>> by_group(torch.tensor([[[4.0, 1.0, 2.0, 3.0, 5.0]]]), 5, 4).int().tolist()
        [[[0, 1, 1, 0, 0]]]
    """
    parts = scores.reshape(*scores.shape[:2], -1, inputs)
    padded = functional.pad(parts, (0, -inputs % size), value=-torch.inf)
    blocks = padded.reshape(*padded.shape[:-1], -1, size)
    order = blocks.argsort(dim=-1, stable=True)[..., : size // 2]
    gone = torch.zeros_like(blocks, dtype=torch.bool).scatter(-1, order, True)
    return gone.flatten(-2)[..., :inputs].reshape(scores.shape)


def counts(weights: Sequence[torch.Tensor], sparsity: float, scope: str) -> list[int]:
    """How many values of each tensor become 0.

    Args:
        weights: tensors of any shapes.
        sparsity: share of zeros, 0 to 1.
        scope: "uniform": that share of each; "global": of all together, the ones with
            the lowest `w^2 / sum(v^2 for v in the same tensor if |v| >= |w|)`.

    Returns:
        One number a tensor; at least one value of each stays.

    Source: Lee et al. 2021, arXiv:2010.07611 (the score).
    """
    sizes = [w.numel() for w in weights]
    if scope == "uniform":
        return [min(round(sparsity * n), n - 1) for n in sizes]
    scores = torch.cat([_relative(w) for w in weights])
    gone = lowest(scores, round(sparsity * len(scores)))
    parts = zip(torch.split(gone, sizes), sizes, strict=True)
    return [min(int(part.sum()), n - 1) for part, n in parts]


def _relative(weight: torch.Tensor) -> torch.Tensor:
    """The score of `counts`, in rising order of the weights."""
    squares = weight.detach().double().square().flatten().sort().values
    rest = squares.flip(0).cumsum(0).flip(0)
    return torch.where(squares > 0, squares / rest.clamp_min(1e-300), 0.0)
