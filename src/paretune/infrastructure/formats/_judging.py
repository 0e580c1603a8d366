"""A model under training: its statistics of normalisation, and how good it is."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from paretune.core.errors import TaskError
from paretune.core.task import Task, as_arrays, like
from paretune.core.technique import Run
from paretune.infrastructure.formats._feed import Feed, samples
from paretune.infrastructure.formats._modes import Mode
from paretune.infrastructure.formats.torch import tensors

NORMS = nn.modules.batchnorm._BatchNorm
_SETTLE = 4096  # samples


@torch.no_grad()
def settle(model: nn.Module, mode: Mode, feed: Feed, run: Run) -> None:
    """Takes statistics of batch normalisation as the weights make them, in place.

    The running mean of a short training still holds the model as it was before (and,
    after pruning, of channels that fed it then), and that of augmented data. An average
    of weights has had none yet.

    Source: Wu & Johnson 2021, arXiv:2105.07576.
    """
    norms = [
        m for m in model.modules() if isinstance(m, NORMS) and m.track_running_stats
    ]
    if not norms:
        return
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
        norm.train()
    seen = 0
    for inputs, _ in feed.batches(0, augment=False):
        run.give_way()
        mode.call(model, inputs)
        seen += samples(inputs)
        if seen >= _SETTLE:
            break
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def resettle(model: nn.Module, run: Run) -> None:
    """`settle` for a model that isn't under training, on the train split.

    Args:
        model: changed in place.
        run: the task, seed and threads.
    """
    settle(model, Mode(), Feed(run.task, run.seed, least=2), run)


@torch.no_grad()
def quality(model: nn.Module, mode: Mode, run: Run) -> float:
    """The task's first metric on the validation split, turned so that higher is better.

    Raises:
        TaskError: the split is empty.
    """
    task = run.task
    outputs, targets = [], []
    answer = known = None
    for inputs, known in task.batches("validation"):
        run.give_way()
        answer = mode.call(model, tensors(inputs))
        outputs.append(as_arrays(answer, "output"))
        targets.append(as_arrays(known, "target"))
    if not outputs:
        raise TaskError(
            "data-empty",
            "batches('validation') gave no batch; stopping early needs some: set "
            "patience to 0.",
        )
    joined = [
        like(shape, {k: np.concatenate([p[k] for p in parts]) for k in parts[0]})
        for shape, parts in ((answer, outputs), (known, targets))
    ]
    return _signed(task, float(np.mean(task.quality(*joined)[task.metric])))


def _signed(task: Task, value: float) -> float:
    if math.isnan(value):
        return -math.inf
    return value if task.metrics[task.metric] == "higher" else -value
