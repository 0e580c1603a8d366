"""How a training goes: the course of its learning rate, and which weights count."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

Course = Literal["cosine", "one_cycle", "constant"]
Averaged = Literal["none", "ema", "swa"]

WARM_UP = 0.05  # share of all steps
_RISE = 0.3  # likewise, of a cycle
_START, _END = 1 / 25, 1e-4  # of a cycle's highest rate
_CALM, _LIVELY = 0.95, 0.85  # momentum where the rate is lowest, highest
_MOMENTUM = 0.9
SWA_FROM = 0.75  # share of all steps
_HORIZON = 0.05  # likewise, that an exponential mean looks back


@dataclass(frozen=True)
class Regime:
    """Choices that any training may make.

    Attributes:
        schedule: "cosine": the learning rate rises over the first 5 % of the steps and
            then falls along half a cosine to 0; "one_cycle": rises for 30 %, falls for
            70 %, and momentum the other way round; "constant": stays once it rose.
        average: "none": the last weights count; "ema": an exponential mean over about
            the last 5 % of the steps; "swa": the plain mean over the last quarter of
            the steps, through which the learning rate stays where it is.
        sharpness: the distance at which the loss is looked at around the weights; 0:
            at the weights themselves. A step costs twice as much above 0.
        patience: epochs without a better quality on the validation split after which
            the training ends; the best weights count. 0: that split isn't looked at.
        batch_size: samples of a batch; "task": as the task gives them; "auto": the
            same, but at least 32 and at most 128, which is what a CPU is fast with.

    Source: Smith & Topin 2017, arXiv:1708.07120 (one cycle); Izmailov et al. 2018,
    arXiv:1803.05407 (SWA); Foret et al. 2020, arXiv:2010.01412 (sharpness).
    """

    schedule: Course = "cosine"
    average: Averaged = "none"
    sharpness: float = 0.0
    patience: int = 0
    batch_size: int | str = "task"


@dataclass(frozen=True)
class Plan:
    """The learning rate and momentum of each step, from 0.

    Attributes:
        regime: its schedule and average count.
        highest: learning rate.
        steps: of the whole training. A user's loader may come to give more.
    """

    regime: Regime
    highest: float
    steps: int

    def rate(self, step: int) -> float:
        """The learning rate; never 0, so that no step is for nothing."""
        step = self._held(step)
        if self.regime.schedule == "one_cycle":
            low, end = self.highest * _START, self.highest * _END
            rising, falling = self._cycle(step)
            if falling is None:
                return _between(low, self.highest, rising)
            return _between(self.highest, end, falling)
        rising = max(1, round(WARM_UP * self.steps))
        if step < rising:
            return self.highest * (step + 1) / rising
        if self.regime.schedule == "constant":
            return self.highest
        share = min((step - rising + 0.5) / max(1, self.steps - rising), 1.0)
        return self.highest * 0.5 * (1 + math.cos(math.pi * share))

    def momentum(self, step: int) -> float:
        """The weight of the old in the running mean of the gradient."""
        if self.regime.schedule != "one_cycle":
            return _MOMENTUM
        rising, falling = self._cycle(self._held(step))
        if falling is None:
            return _between(_CALM, _LIVELY, rising)
        return _between(_LIVELY, _CALM, falling)

    def _cycle(self, step: int) -> tuple[float, float | None]:
        """(share of the rise, share of the fall or None before it)."""
        rise = max(1, round(_RISE * self.steps))
        if step < rise:
            return (step + 1) / rise, None
        return 1.0, min((step - rise + 1) / max(1, self.steps - rise), 1.0)

    def _held(self, step: int) -> int:
        if self.regime.average == "swa":
            return min(step, math.floor(SWA_FROM * self.steps))
        return step


class Average:
    """A mean of the weights that a training goes through.

    Args:
        kind: "ema" or "swa".
        model: whose weights; it is copied.
        steps: of the whole training.
    """

    def __init__(self, kind: Averaged, model: nn.Module, steps: int) -> None:
        self._start = math.floor(SWA_FROM * steps) if kind == "swa" else 0
        self._decay = 1 - 1 / max(1.0, _HORIZON * steps)
        self._mean = AveragedModel(
            model, avg_fn=self._exponential if kind == "ema" else None
        )

    @property
    def model(self) -> nn.Module:
        """The model with the mean weights, or the last ones where there is no mean."""
        module: nn.Module = self._mean.module
        return module

    @property
    def whole(self) -> nn.Module:
        """All that the mean goes on from."""
        return self._mean

    def update(self, model: nn.Module, done: int) -> None:
        """Takes the weights in, after so many steps."""
        if done <= self._start:
            self._mean.n_averaged.zero_()  # so that these are merely copied
        self._mean.update_parameters(model)

    def _exponential(
        self, mean: torch.Tensor, new: torch.Tensor, count: torch.Tensor | int
    ) -> torch.Tensor:
        # Early on the mean forgets faster: the first weights are far off.
        decay = min(self._decay, (1 + int(count)) / (10 + int(count)))
        return mean.lerp(new, 1 - decay)


Moved = list[tuple[nn.Parameter, torch.Tensor]]


@torch.no_grad()
def climb(parameters: Iterable[nn.Parameter], distance: float) -> Moved:
    """Moves weights up the gradient by so much in all; what they were before."""
    moved = [(p, p.detach().clone(), p.grad) for p in parameters if p.grad is not None]
    if moved:
        norm = nn.utils.get_total_norm([g for *_, g in moved], foreach=True)
        for parameter, _, gradient in moved:
            parameter.add_(gradient * (distance / (norm + 1e-12)))
    return [(parameter, before) for parameter, before, _ in moved]


@torch.no_grad()
def descend(moved: Moved) -> None:
    """Moves weights back to where `climb` found them."""
    for parameter, before in moved:
        parameter.copy_(before)


def _between(start: float, end: float, share: float) -> float:
    """Along half a cosine from start to end."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
