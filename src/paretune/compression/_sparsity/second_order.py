"""Zeros whose error the other weights of the same output make up for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

BLOCK = 128  # columns
_DAMPING = 0.01  # of the mean of the diagonal

Section = tuple[int, int]
# (scores, section) -> which weights of the section go.
Choose = Callable[[torch.Tensor, Section], torch.Tensor]


def solve(
    matrix: torch.Tensor,
    products: torch.Tensor,
    sections: Sequence[Section],
    choose: Choose,
) -> torch.Tensor:
    """The matrix with zeros, its other weights moved so that its outputs stay close.

    Column by column: a weight that goes has the error `w^2 / c^2` in the layer's
    output, where c is the diagonal of the Cholesky factor of the inverse of
    `products`; what it leaves behind is taken over by the columns to its right.

    Args:
        matrix: (groups, rows, columns).
        products: (groups, columns, columns), sums of products of the inputs.
        sections: columns [from, to) that are decided on at once; they follow on one
            another and cover all columns.
        choose: gives the mask of a section; zeros of `matrix` go in any case.

    Source: Frantar & Alistarh 2023, arXiv:2301.00774.
    """
    weights = matrix.detach().double().clone()
    gone_before = matrix == 0
    inverse = _factor(products)
    scale = inverse.diagonal(dim1=-2, dim2=-1)[:, None]
    for block in _blocks(sections):
        start, end = block[0][0], block[-1][1]
        errors = torch.zeros_like(weights[..., start:end])
        for section in block:
            here = slice(*section)
            scores = (weights[..., here] / scale[..., here]).square()
            fixed = gone_before[..., here]
            gone = choose(scores.masked_fill(fixed, -1.0), section) | fixed
            for column in range(*section):
                drop = gone[..., column - section[0]]
                error = torch.where(drop, weights[..., column], 0.0)
                error = error / scale[..., column]
                row = inverse[:, None, column, column:end]
                weights[..., column:end] -= error[..., None] * row
                weights[..., column].masked_fill_(drop, 0.0)
                errors[..., column - start] = error
        weights[..., end:] -= errors @ inverse[:, start:end, end:]
    return weights.to(matrix.dtype)


def _factor(products: torch.Tensor) -> torch.Tensor:
    """The upper Cholesky factor of the inverse, (groups, columns, columns)."""
    size = products.diagonal(dim1=-2, dim2=-1).mean(-1)
    damping = torch.where(size > 0, _DAMPING * size, 1.0)
    ones = torch.eye(products.shape[-1], dtype=products.dtype)
    damped = products + damping[:, None, None] * ones
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def _blocks(sections: Sequence[Section]) -> list[list[Section]]:
    """Sections that are worked through before columns further right are touched."""
    found: list[list[Section]] = []
    for section in sections:
        if not found or found[-1][-1][1] - found[-1][0][0] >= BLOCK:
            found.append([])
        found[-1].append(section)
    return found
