"""Two views of a sample are to be more alike than those of any two samples."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from paretune.core.delegate import Delegate
from paretune.core.task import Task
from paretune.learning._augment.policy import Policy
from paretune.learning._augment.task import Augmented, Varier


def views_of(kind: str, strength: float, padding: int) -> Policy:
    """How views of one kind of input are made.

    Those of text have no synonyms: they would come from a trained model.

    Args:
        kind: "image", "signal" or "text".
        strength: 0 to 1.
        padding: of text.
    """
    if kind == "image":
        return Policy(
            kind,
            crop=0.9 * strength**0.5,
            colour=strength,
        )
    if kind == "signal":
        return Policy(
            kind,
            jitter=0.2 * strength,
            scaling=0.4 * strength,
            warp=0.6 * strength,
            slicing=0.5 * strength,
            permutation=round(8 * strength),
        )
    return Policy(kind, drop=0.4 * strength, swap=0.2 * strength, padding=padding)


class Inputs(Delegate):
    """A task whose batches are its inputs in a tuple of one.

    Args:
        task: the user's; samples aren't blended, and its own augmentation is only used
            if `own` says so.
        own: see above.
    """

    def __init__(self, task: Task, own: bool) -> None:
        super().__init__(unblended(task))
        self.own = own

    def batches(self, split: str) -> Iterable[tuple[Any, Any]]:
        return (((inputs,), targets) for inputs, targets in self.task.batches(split))

    def varied(self, inputs: Any, targets: Any) -> Any:
        """The inputs as the task's own augmentation varies them."""
        return self.task.augment(inputs, targets)[0] if self.own else inputs


class Views(Inputs):
    """A task of which each training batch is two views of the inputs.

    Args:
        task: the user's.
        own: whether its own augmentation comes first.
        policy: of the views.
    """

    def __init__(self, task: Task, own: bool, policy: Policy) -> None:
        super().__init__(task, own)
        self._vary = Varier(policy, task)

    def augment(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        (one,) = inputs
        first, second = (self._vary(self.varied(one, targets)) for _ in range(2))
        return (first, second), None


def unblended(task: Task) -> Task:
    """The task without mixup and cutmix: a view is of one sample."""
    if not isinstance(task, Delegate):
        return task
    found = copy.copy(task)
    found.task = unblended(task.task)
    if isinstance(found, Augmented):
        found.blend = "none"
    return found


def contrastive_loss(projected: Tensor, temperature: float) -> Tensor:
    """The cross-entropy of finding a view's twin among all views of the batch.

    Args:
        projected: first all first views, then all second ones, shape (2 n, width).
        temperature: above 0; the lower, the more the nearest of the others count.

    Source: NT-Xent, Chen et al. 2020, arXiv:2002.05709.
    """
    unit = functional.normalize(projected.float(), dim=1)
    count = len(unit) // 2
    likeness = unit @ unit.T / temperature
    likeness = likeness.masked_fill(torch.eye(2 * count, dtype=torch.bool), -torch.inf)
    twins = torch.arange(2 * count).roll(count)
    return functional.cross_entropy(likeness, twins)
