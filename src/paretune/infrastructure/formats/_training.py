"""The one training loop of all techniques that train."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import nn

from paretune.core.errors import MeasurementError
from paretune.core.technique import Run
from paretune.infrastructure.formats._feed import Batch, Feed, samples, sensible
from paretune.infrastructure.formats._judging import NORMS
from paretune.infrastructure.formats._loop import AfterStep, Training
from paretune.infrastructure.formats._modes import Forward, Mode, fastest
from paretune.infrastructure.formats._regime import Plan, Regime
from paretune.infrastructure.formats._zeros import zeros
from paretune.infrastructure.formats.torch import clone

LossOf = Callable[[Forward, Any, Any], torch.Tensor]
Precision = Literal["auto", "float32"]


def fit(
    model: nn.Module,
    loss_of: LossOf,
    run: Run,
    *,
    epochs: int,
    learning_rate: float,
    weight_decay: float = 0.01,
    clip: float = 5.0,
    precision: Precision = "auto",
    splits: tuple[str, ...] = ("train",),
    regime: Regime | None = None,
    after_step: AfterStep | None = None,
    what: str = "training",
) -> nn.Module:
    """A copy of `model` trained on the task's "train" split, in evaluation mode.

    What `run.fidelity` says is done of it. Where that pauses the training, its state is
    left, and what is returned is a model to judge it by: a mean of the last weights,
    since the rate is still high. A loader must shuffle when its pass begins, or what
    follows a pause within an epoch differs from what would have come.

    AdamW with decoupled weight decay on matrices only; by default, the learning rate
    rises over the first 5 % of the steps and then falls along half a cosine to 0, and
    the last weights count: no split but "train" is looked at. Statistics of batch
    normalisation are taken anew at the end. Zeros of a sparse matrix stay 0. The same
    seed, threads and machine give the same bits.

    Args:
        model: left as it is; shared parameters stay shared.
        loss_of: (forward, inputs, targets) -> scalar tensor, where forward(inputs)
            gives the model's outputs and the batch is augmented tensors.
        run: the task, seed, threads and callbacks.
        epochs: passes over the splits, 1 or more.
        learning_rate: the highest, above 0.
        weight_decay: 0 or more.
        clip: largest norm of the gradient.
        precision: "auto" takes bfloat16 where it pays; "float32" never does.
        splits: that a pass goes over, "train" first; with "unlabelled", batches of both
            alternate, and the targets of that split are None.
        regime: schedule, averaged weights and the like.
        after_step: called after each step of the optimizer with the model that is
            trained, the steps done, and the steps there will be; it may change weights
            in place, without gradients.
        what: name of the work, for `run.progress`.

    Returns:
        The trained copy.

    Raises:
        TaskError: a split is empty.
        MeasurementError: `nan`: the loss or a weight is no longer finite.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101 (AdamW); 2017, arXiv:1608.03983
    (cosine).
    """
    student = unfrozen(clone(model))
    parameters = [
        p for p in student.parameters() if p.is_floating_point() and p.requires_grad
    ]
    regime = regime or Regime()
    with _threads(run.threads):
        feed, first = _feed(student, run, splits, regime)
        mode = fastest(
            student,
            lambda m, s: _attempt(m, s, loss_of, first),
            bf16=precision == "auto",
        )
        trained = Training(
            mode.prepare(student),
            mode,
            lambda x, y: loss_of(lambda inputs: mode.call(student, inputs), x, y),
            run,
            feed,
            regime,
            Plan(regime, learning_rate, epochs * sum(feed.lengths)),
            _optimizer(parameters, learning_rate, weight_decay),
            parameters,
            zeros(parameters),
            clip,
            after_step,
            what,
        ).through(epochs)
        trained.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for parameter in trained.parameters():
        parameter.grad = None
    _check_weights(trained)
    return trained


def _feed(
    model: nn.Module, run: Run, splits: tuple[str, ...], regime: Regime
) -> tuple[Feed, Batch]:
    """The data, and the first batch of it."""
    # One sample has no spread to normalise by.
    least = 2 if any(isinstance(m, NORMS) for m in model.modules()) else 1
    feed = Feed(run.task, run.seed, splits, least)
    first, size = feed.first(), regime.batch_size
    if size == "auto":
        size = sensible(samples(first[0]))
    return replace(feed, size=size if isinstance(size, int) else 0), first


def _attempt(mode: Mode, model: nn.Module, loss_of: LossOf, batch: Any) -> None:
    loss = loss_of(lambda inputs: mode.call(model, inputs), *batch)
    torch.autograd.backward(loss)


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


def unfrozen(model: nn.Module) -> nn.Module:
    """The same model, and all of it trainable if it came wholly frozen.

    `fit` does so itself; a model that becomes part of a larger one, whose other parts
    are trainable, needs it before.

    Args:
        model: changed in place.
    """
    parameters = [p for p in model.parameters() if p.is_floating_point()]
    if not any(p.requires_grad for p in parameters):
        for parameter in parameters:
            parameter.requires_grad_(True)
    return model


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


__all__ = ["fastest", "fit", "unfrozen"]
