"""Zeros that become more while the model trains."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from paretune.compression._sparsity import masks
from paretune.compression._sparsity.one_shot import Goal, chosen
from paretune.compression._sparsity.weights import Weight, find

START = 0.05  # of the steps, before there are zeros
UPDATES = 64  # masks are chosen anew so often


@dataclass
class Gradually:
    """To be called after each training step.

    Args:
        goal: how many zeros at the end.
        criterion: "magnitude" or "movement".
        ramp: share of the steps after which all zeros are there.
        skip: of `find`.
    """

    goal: Goal
    criterion: str
    ramp: float
    skip: str
    _gone: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    _moved: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    _kept: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    _done: bool = False
    _model: nn.Module | None = field(default=None, repr=False)
    _found: list[Weight] = field(default_factory=list, repr=False)

    @torch.no_grad()
    def __call__(self, model: nn.Module, step: int, total: int) -> None:
        """Chooses, where it is time to, and sets to zero.

        Args:
            model: the one that trains.
            step: number of steps done.
            total: of all steps.
        """
        weights = self._weights(model)
        if self.criterion == "movement":
            self._follow(weights)
        first, last = START * total, max(self.ramp * total, 1.0)
        if not self._done and step >= last:
            self.finish(model)
            return
        if step > first and step % max(1, total // UPDATES) == 0 and not self._done:
            self._choose(weights, cubic((step - first) / (last - first)))
        self._clear(weights)

    @torch.no_grad()
    def finish(self, model: nn.Module) -> None:
        """All zeros that are asked for; they stay where they are from then on."""
        weights = self._weights(model)
        if not self._done:
            self._choose(weights, 1.0)
            self._done = True
        self._clear(weights)

    def _weights(self, model: nn.Module) -> list[Weight]:
        if self._model is not model:
            self._model = model
            self._found = self.goal.fitting(find(model, self.skip))
        return self._found

    def _follow(self, weights: list[Weight]) -> None:
        """How far each weight was pushed away from zero so far.

        A weight that is zero for now keeps its value aside: what pushes it may bring it
        back.
        """
        for weight in weights:
            values, gradient = weight.tensor.detach(), weight.tensor.grad
            name, gone = weight.name, self._gone.get(weight.name)
            if gone is not None:
                values = torch.where(gone, self._kept[name], values)
            self._kept[name] = values.clone()
            if gradient is not None:
                moved = self._moved.get(name, torch.zeros_like(values))
                self._moved[name] = moved - gradient * values

    def _choose(self, weights: list[Weight], share: float) -> None:
        full = [self._kept.get(w.name, w.tensor.detach()) for w in weights]
        goal = self.goal
        counts = masks.counts(full, share * goal.sparsity, goal.scope)
        for weight, values, count in zip(weights, full, counts, strict=True):
            scores = self._moved.get(weight.name, values.abs())
            scores = weight.matrix(scores.masked_fill(values == 0, -torch.inf))
            gone = chosen(scores, weight, goal, count)
            if goal.size and share < 1:
                scores = scores.masked_fill(~gone, torch.inf)
                gone = masks.lowest(scores, round(share * int(gone.sum())))
            gone = weight.back(gone)
            if weight.name in self._kept:
                weight.tensor.copy_(values)
            self._gone[weight.name] = gone

    def _clear(self, weights: list[Weight]) -> None:
        for weight in weights:
            if weight.name in self._gone:
                weight.tensor.masked_fill_(self._gone[weight.name], 0.0)


def cubic(time: float) -> float:
    """The share of the zeros that are there, from 0 at time 0 to 1 at time 1.

    `1 - (1 - t)^3`: many at first, while there are many to choose from.

    Source: Zhu & Gupta 2017, arXiv:1710.01878.

    Example:
        >>> cubic(0.0), cubic(0.5), cubic(1.0)
        (0.0, 0.875, 1.0)
    """
    return 1.0 - (1.0 - min(max(time, 0.0), 1.0)) ** 3
