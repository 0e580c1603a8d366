"""Steps and epochs of a training, from its beginning or a pause to its end or one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from paretune.core.errors import MeasurementError
from paretune.core.technique import Run
from paretune.infrastructure.formats._checkpoint import (
    Checkpoint,
    Generators,
    Place,
    leave,
)
from paretune.infrastructure.formats._feed import Batch, Feed
from paretune.infrastructure.formats._judging import quality, settle
from paretune.infrastructure.formats._modes import Mode
from paretune.infrastructure.formats._regime import (
    Average,
    Plan,
    Regime,
    climb,
    descend,
)
from paretune.infrastructure.formats._zeros import Zeros, hold, restore
from paretune.infrastructure.formats.torch import clone

AfterStep = Callable[[nn.Module, int, int], None]

_CHECK_EVERY = 16  # steps
_SECOND_MOMENTUM = 0.999  # of AdamW, as ever


@dataclass
class _State:
    """What a training changes as it goes."""

    place: Place
    average: Average | None = None
    best: nn.Module | None = None
    begin: Generators | None = None  # what the rest of an epoch goes on with


@dataclass(frozen=True)
class Training:
    """A training, ready to go.

    Attributes:
        model: that is trained, in place.
        mode: how a forward pass is computed.
        loss_on: (inputs, targets) -> the loss of a batch.
        run: the task, how to give way, and how much is done now.
        feed: the batches.
        regime: schedule, averaged weights and the like.
        plan: the learning rate of each step, and how many there will be.
        optimizer: of the parameters.
        parameters: of the model.
        sparse: which of them hold zeros that stay.
        clip: largest norm of the gradient.
        after_step: called with the model, the steps done and those there will be.
        what: name of the work, for `run.progress`.
    """

    model: nn.Module
    mode: Mode
    loss_on: Callable[[Any, Any], torch.Tensor]
    run: Run
    feed: Feed
    regime: Regime
    plan: Plan
    optimizer: torch.optim.Optimizer
    parameters: list[nn.Parameter]
    sparse: Zeros
    clip: float
    after_step: AfterStep | None
    what: str

    def through(self, epochs: int) -> nn.Module:
        """The model whose weights count, after all epochs or fewer."""
        state, end = self._state(), self._end
        recent = Average("ema", self.model, int(end)) if end < math.inf else None
        for epoch in range(state.place.epoch, epochs):
            state.place.epoch = epoch
            self._pass(state, recent)
            if state.place.step >= end:
                return self._paused(state, recent)
            state.place.batch = 0
            if not self.regime.patience:
                continue
            self._look(state)
            if state.place.since >= self.regime.patience:
                break
        self.run.progress(self.what, 1.0)
        return self._finished(state.average) if state.best is None else state.best

    @property
    def _end(self) -> float:
        """The step at which it pauses."""
        fidelity = self.run.fidelity
        if not fidelity.paused:
            return math.inf
        return max(1, round(fidelity.share * self.plan.steps))

    def _state(self) -> _State:
        """Where the training begins: at its first step, or at the last pause."""
        state, regime = _State(Place()), self.regime
        if regime.average != "none":
            state.average = Average(regime.average, self.model, self.plan.steps)
        if self.run.fidelity.begin is None:
            return state
        kept = Checkpoint.read(self.run.fidelity.begin)
        kept.into("model", self.model)
        kept.into_optimizer(self.optimizer)
        if state.average is not None:
            kept.into("average", state.average.whole)
        if kept.has("best"):
            state.best = clone(self.model)
            kept.into("best", state.best)
        state.place, state.begin = kept.place, kept.generators
        return state

    def _paused(self, state: _State, recent: Average | None) -> nn.Module:
        """Leaves the state; the model to judge it by."""
        models = {"model": self.model}
        if state.average is not None:
            models["average"] = state.average.whole
        if state.best is not None:
            models["best"] = state.best
        folder, generators = self.run.fidelity.leave, state.begin or Generators.now()
        if folder is not None:
            leave(folder, state.place, generators, self.optimizer, models)
        return self._finished(recent)

    def _look(self, state: _State) -> None:
        """Judges the weights at the end of an epoch, and keeps the best."""
        place, judged = state.place, self._finished(state.average, copied=True)
        reached = quality(judged, self.mode, self.run)
        place.since += 1
        if reached > place.highest:
            state.best, place.highest, place.since = judged, reached, 0

    def _finished(self, average: Average | None, copied: bool = False) -> nn.Module:
        model = self.model if average is None else average.model
        model = clone(model) if copied else model.eval()
        settle(model, self.mode, self.feed, self.run)
        return model

    def _pass(self, state: _State, recent: Average | None) -> None:
        """Goes on to the end of the epoch, or to the pause."""
        self.model.train()
        unchecked = torch.zeros(())
        place, total, end = state.place, self.plan.steps, self._end
        means = [m for m in (state.average, recent) if m is not None]
        if place.step >= end:
            return
        for inputs, targets in self._rest(state):
            self.run.give_way()
            for group in self.optimizer.param_groups:
                group["lr"] = self.plan.rate(place.step)
                group["betas"] = (self.plan.momentum(place.step), _SECOND_MOMENTUM)
            loss = self._gradient(inputs, targets)
            if self.regime.sharpness:
                hold(self.sparse)
                moved = climb(self.parameters, self.regime.sharpness)
                loss = self._gradient(inputs, targets)
                descend(moved)
            hold(self.sparse)
            nn.utils.clip_grad_norm_(self.parameters, self.clip, foreach=True)
            self.optimizer.step()
            place.step += 1
            place.batch += 1
            if self.after_step is not None:
                with torch.no_grad():
                    self.after_step(self.model, place.step, total)
            restore(self.sparse)
            for mean in means:
                mean.update(self.model, place.step)
            unchecked = unchecked + loss
            if place.step % _CHECK_EVERY == 0:
                unchecked = self._checked(unchecked, place.step)
                self.run.progress(self.what, min(place.step / total, 1.0))
            if place.step >= end:  # before another batch draws random numbers
                break
        self._checked(unchecked, place.step)

    def _rest(self, state: _State) -> Iterator[Batch]:
        """The batches of the epoch that are left."""
        begin, state.begin = state.begin, None
        if begin is None:
            return self.feed.batches(state.place.epoch)
        return self.feed.batches(
            state.place.epoch, skip=state.place.batch, skipped=begin.restore
        )

    def _gradient(self, inputs: Any, targets: Any) -> torch.Tensor:
        loss = self.loss_on(inputs, targets)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        return loss.detach()

    def _checked(self, losses: torch.Tensor, step: int) -> torch.Tensor:
        """A new sum to add losses to: one that isn't finite would stay so."""
        if not math.isfinite(float(losses)):
            raise MeasurementError(
                "nan",
                f"the loss is {float(losses)} within {step} steps of {self.what}; a "
                "loss must stay finite: try a learning rate below "
                f"{self.plan.highest:g}.",
            )
        return torch.zeros(())
