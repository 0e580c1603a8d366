"""The one training loop of all techniques that train."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from paretune.core.errors import MeasurementError, TaskError
from paretune.core.technique import Run
from paretune.infrastructure.formats._modes import Forward, Mode, fastest
from paretune.infrastructure.formats.torch import clone, seed, tensors

LossOf = Callable[[Forward, Any, Any], torch.Tensor]

_WARM_UP = 0.05  # share of all steps
_CHECK_EVERY = 16  # steps
_SETTLE = 4096  # samples
_NORMS = nn.modules.batchnorm._BatchNorm


def fit(
    model: nn.Module,
    loss_of: LossOf,
    run: Run,
    *,
    epochs: int,
    learning_rate: float,
    weight_decay: float = 0.01,
    clip: float = 5.0,
    what: str = "training",
) -> nn.Module:
    """A copy of `model` trained on the task's "train" split, in evaluation mode.

    AdamW with decoupled weight decay on matrices only; the learning rate rises over
    the first 5 % of the steps and then falls along half a cosine to 0. Statistics of
    batch normalisation are taken anew at the end. The last weights count: no split
    but "train" is looked at. The same seed, threads and machine give the same bits.

    Args:
        model: left as it is; shared parameters stay shared.
        loss_of: (forward, inputs, targets) -> scalar tensor, where forward(inputs)
            gives the model's outputs and the batch is augmented tensors.
        run: the task, seed, threads and callbacks.
        epochs: passes over the split, 1 or more.
        learning_rate: the highest, above 0.
        weight_decay: 0 or more.
        clip: largest norm of the gradient.
        what: name of the work, for `run.progress`.

    Returns:
        The trained copy.

    Raises:
        TaskError: the "train" split is empty.
        MeasurementError: `nan`: the loss or a weight is no longer finite.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101 (AdamW); 2017, arXiv:1608.03983
    (cosine); Wu & Johnson 2021, arXiv:2105.07576 (statistics of batch normalisation).
    """
    student = clone(model)
    parameters = _trainable(student)
    with _threads(run.threads):
        first, batches = _survey(student, run)
        mode = fastest(student, lambda m, s: _attempt(m, s, loss_of, first))
        student = mode.prepare(student).train()
        _descend(
            student,
            parameters,
            _optimizer(parameters, learning_rate, weight_decay),
            lambda x, y: loss_of(lambda inputs: mode.call(student, inputs), x, y),
            run,
            _Plan(epochs, batches, learning_rate, clip, what),
        )
        _settle(student.eval(), mode, run)
        student.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for parameter in student.parameters():
        parameter.grad = None
    _check_weights(student)
    return student


def _attempt(mode: Mode, model: nn.Module, loss_of: LossOf, batch: Any) -> None:
    loss = loss_of(lambda inputs: mode.call(model, inputs), *batch)
    torch.autograd.backward(loss)


@dataclass(frozen=True)
class _Plan:
    epochs: int
    batches: int  # of one epoch
    learning_rate: float
    clip: float
    what: str

    def rate(self, step: int) -> float:
        """The learning rate of a step; never 0, so that no step is for nothing."""
        total = self.epochs * self.batches
        rising = max(1, round(_WARM_UP * total))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        # A user's loader may give another number of batches on a later pass.
        share = min((step - rising + 0.5) / max(1, total - rising), 1.0)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def _descend(
    model: nn.Module,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    loss_on: Callable[[Any, Any], torch.Tensor],
    run: Run,
    plan: _Plan,
) -> None:
    step, unchecked = 0, torch.zeros(())
    for epoch in range(plan.epochs):
        for inputs, targets in _batches(model, run, epoch):
            run.give_way()
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step)
            loss = loss_on(inputs, targets)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(parameters, plan.clip, foreach=True)
            optimizer.step()
            step += 1
            unchecked = unchecked + loss.detach()
            if step % _CHECK_EVERY == 0:
                unchecked = _checked(unchecked, plan, step)
                run.progress(plan.what, min(step / (plan.epochs * plan.batches), 1.0))
    _checked(unchecked, plan, step)
    run.progress(plan.what, 1.0)


def _checked(losses: torch.Tensor, plan: _Plan, step: int) -> torch.Tensor:
    """A new sum to add losses to: one that isn't finite would stay so."""
    if not math.isfinite(float(losses)):
        raise MeasurementError(
            "nan",
            f"the loss is {float(losses)} within {step} steps of {plan.what}; a loss "
            f"must stay finite: try a learning rate below {plan.learning_rate:g}.",
        )
    return torch.zeros(())


def _check_weights(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise MeasurementError(
                "nan",
                f"{name} is no longer finite after training; weights must stay "
                "finite: try a lower learning rate.",
            )


def _optimizer(
    parameters: list[nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    # Shrinking biases and the scales of a normalisation regularises nothing.
    matrices = [p for p in parameters if p.dim() > 1]
    vectors = [p for p in parameters if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], lr=learning_rate, fused=True
    )


def _trainable(model: nn.Module) -> list[nn.Parameter]:
    """What the user left trainable; everything, if the model came wholly frozen."""
    parameters = [p for p in model.parameters() if p.is_floating_point()]
    if not any(p.requires_grad for p in parameters):
        for parameter in parameters:
            parameter.requires_grad_(True)
    return [p for p in parameters if p.requires_grad]


def _survey(model: nn.Module, run: Run) -> tuple[Any, int]:
    """The first batch of an epoch, and how many there are.

    A loader that doesn't know its length is run through once: the learning rate has
    to know where the end is.
    """
    batches = _batches(model, run, 0, augment=False)
    first = next(batches, None)
    if first is None:
        raise TaskError(
            "data-too-small",
            "batches('train') gave no batch of 2 or more samples; training needs one.",
        )
    loader = run.task.batches("train")
    count = len(loader) if isinstance(loader, Sized) else 1 + sum(1 for _ in batches)
    return run.task.augment(*first), count


def _batches(
    model: nn.Module, run: Run, epoch: int, augment: bool = True
) -> Iterator[tuple[Any, Any]]:
    """One pass over "train", as tensors. The same epoch repeats to the bit."""
    seed(int(np.random.SeedSequence((run.seed, epoch)).generate_state(1)[0]))
    # One sample has no spread to normalise by.
    least = 2 if any(isinstance(m, _NORMS) for m in model.modules()) else 1
    for batch in run.task.batches("train"):
        inputs, targets = tensors(batch)
        if _samples(inputs) < least:
            continue
        yield run.task.augment(inputs, targets) if augment else (inputs, targets)


def _samples(structure: Any) -> int:
    while not isinstance(structure, torch.Tensor):
        structure = next(
            iter(structure.values() if isinstance(structure, dict) else structure)
        )
    return int(structure.shape[0])


@torch.no_grad()
def _settle(model: nn.Module, mode: Mode, run: Run) -> None:
    """Statistics of batch normalisation, as the final weights make them.

    The running mean of a short training still holds the model as it was before (and,
    after pruning, of channels that fed it then), and that of augmented data.
    """
    norms = [
        m for m in model.modules() if isinstance(m, _NORMS) and m.track_running_stats
    ]
    if not norms:
        return
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
        norm.train()
    seen = 0
    for inputs, _ in _batches(model, run, 0, augment=False):
        run.give_way()
        mode.call(model, inputs)
        seen += _samples(inputs)
        if seen >= _SETTLE:
            break
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if count != before:
            torch.set_num_threads(before)


__all__ = ["fastest", "fit"]
