"""Zeros without training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from paretune.compression._sparsity import inputs, masks, second_order, statistics
from paretune.compression._sparsity.weights import Weight, find
from paretune.core.errors import UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats import torch as torch_format


@dataclass(frozen=True)
class Goal:
    """How many zeros, and where they may be.

    Attributes:
        sparsity: share of zeros, where there is no pattern.
        pattern: "unstructured", or one of `masks.PATTERNS`.
        scope: of `masks.counts`.
    """

    sparsity: float
    pattern: str
    scope: str

    @property
    def size(self) -> int:
        """Of the groups of the pattern; 0 without one."""
        return masks.PATTERNS.get(self.pattern, 0)

    def fitting(self, weights: Sequence[Weight]) -> list[Weight]:
        """Those that the pattern has a meaning for, and takes something away from.

        Raises:
            UnsupportedError: there is none.
        """
        if not self.size:
            return list(weights)
        found = [w for w in weights if w.inputs > self.size // 2]
        if not found:
            raise UnsupportedError(
                "not-applicable",
                f"no layer has more than {self.size // 2} inputs in a group, as "
                f"pattern {self.pattern} needs; use pattern: unstructured.",
            )
        return found


def prune(
    model: nn.Module,
    goal: Goal,
    criterion: str,
    samples: int,
    settle: bool,
    skip: str,
    run: Run,
) -> nn.Module:
    """A copy with zeros.

    Args:
        model: left as it is.
        goal: how many zeros.
        criterion: "magnitude", "wanda" or "sparsegpt".
        samples: of the calibration split, for the last two.
        settle: whether batch normalisation is fitted to the new weights.
        skip: of `find`.
        run: the task and callbacks.
    """
    copy = torch_format.clone(model)
    weights = goal.fitting(find(copy, skip))
    tensors = [w.tensor for w in weights]
    counts = dict(
        zip(
            (w.name for w in weights),
            masks.counts(tensors, goal.sparsity, goal.scope),
            strict=True,
        )
    )
    known: list[Weight] = []
    others = weights
    if criterion != "magnitude":
        normed = settle and bool(statistics.norms(copy))
        data = inputs.batches(run, samples, normed)
        known, others = inputs.in_order(copy, weights, data[0])
    for number, weight in enumerate(known):
        run.progress("prune", number / len(weights))
        # Anew for each layer: those before it have zeros already.
        whole = criterion == "sparsegpt"
        with statistics.from_batches(copy) if settle else contextlib.nullcontext():
            found = inputs.products(copy, weight, data, run, whole)
        if whole:
            _compensate(weight, found, goal, counts[weight.name])
        else:
            _by_activation(weight, found, goal, counts[weight.name])
    for weight in others:
        run.give_way()
        scores = weight.matrix(weight.tensor.detach()).abs()
        weight.clear(chosen(scores, weight, goal, counts[weight.name]))
    if settle:
        statistics.settled(copy, run)
    named = ", ".join(w.name for w in others) if known else ""
    run.progress(f"pruned{f'; by magnitude: {named}' if named else ''}", 1.0)
    return copy


def chosen(
    scores: torch.Tensor, weight: Weight, goal: Goal, count: int
) -> torch.Tensor:
    """The mask of the lowest scores, of the shape of `Weight.matrix`."""
    if goal.size:
        return masks.by_group(scores, weight.inputs, goal.size)
    return masks.lowest(scores, count)


def _by_activation(
    weight: Weight, squares: torch.Tensor, goal: Goal, count: int
) -> None:
    """Lowest `|w| * ||x||` of each output."""
    matrix = weight.matrix(weight.tensor.detach())
    scores = matrix.abs() * squares.sqrt()[:, None].to(matrix.dtype)
    scores = scores.masked_fill(matrix == 0, -1.0)
    if goal.size:
        weight.clear(masks.by_group(scores, weight.inputs, goal.size))
    else:
        weight.clear(masks.lowest_by_row(scores, count))


@torch.no_grad()
def _compensate(weight: Weight, products: torch.Tensor, goal: Goal, count: int) -> None:
    matrix = weight.matrix(weight.tensor.detach())
    width = matrix.shape[-1]
    if goal.size:
        axes = range(0, width, weight.inputs)
        sections = _cut(((a, a + weight.inputs) for a in axes), goal.size)
    else:
        sections = _cut([(0, width)], second_order.BLOCK)

    def choose(scores: torch.Tensor, section: second_order.Section) -> torch.Tensor:
        if goal.size:
            return masks.by_group(scores, scores.shape[-1], goal.size)
        first, last = (round(count * column / width) for column in section)
        return masks.lowest(scores, last - first)

    solved = second_order.solve(matrix, products, sections, choose)
    weight.tensor.copy_(weight.back(solved))


def _cut(
    ranges: Iterable[second_order.Section], size: int
) -> list[second_order.Section]:
    """Each range in parts of `size`, the last of them what is left."""
    return [
        (start, min(start + size, last))
        for first, last in ranges
        for start in range(first, last, size)
    ]
