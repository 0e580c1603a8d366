"""Losses on what is inside a student and a teacher, beside their outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from paretune.core.errors import UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats._soft import few
from paretune.infrastructure.formats.torch import call, clone
from paretune.learning._distil.points import Point, pairs, watching

_ANGLES = 64  # samples: the angles between them grow with the third power
_ANGLE = 2.0  # weight of angles beside distances, as in the paper
_FITTED_TO = 256  # samples
_RIDGE = 1e-2  # of the mean variance
_ENOUGH = 1e-6  # a norm, below which there is no direction

Features = tuple[torch.Tensor, ...]


class Watched(nn.Module):
    """A model that gives (outputs, features): what goes on at some of its points.

    Features are (samples, ..., channels). The model is trained through this, and then
    taken out of it: nothing of it stays there.

    Args:
        model: is part of this, and no copy.
        points: of the model.
        adapters: one for each point, over its channels.
    """

    def __init__(
        self, model: nn.Module, points: Sequence[Point], adapters: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.model = model
        self.adapters = nn.ModuleList(adapters)
        self._points = tuple(points)

    def forward(self, *args: Any, **named: Any) -> tuple[Any, Features]:
        """The outputs, and the features of every point."""
        found: dict[str, torch.Tensor] = {}
        modules = {p.module: self.model.get_submodule(p.module) for p in self._points}
        with watching(modules, found.__setitem__):
            outputs = self.model(*args, **named)
        features = (
            adapter(found[point.module].movedim(point.axis, -1))
            for point, adapter in zip(self._points, self.adapters, strict=True)
        )
        return outputs, tuple(features)


def watched(
    on: str, student: nn.Module, teacher: nn.Module, run: Run
) -> tuple[Watched, Watched]:
    """Student and teacher, looked at where `on` compares them.

    Args:
        on: a name in `LOSSES`.
        student: becomes part of the first.
        teacher: becomes part of the second.
        run: the task.

    Raises:
        UnsupportedError: there is nothing to compare.
    """
    inputs, _ = few(run.task)
    found = pairs(student, teacher, inputs, spread=on == "attention")
    if not found:
        what = "with more than one position" if on == "attention" else "of a module"
        raise UnsupportedError(
            "not-applicable",
            f"student and teacher have no inner output {what} to compare; distil on "
            "'logits'.",
        )
    if on == "relation":
        found = found[-1:]
    ours, theirs = zip(*found, strict=True)
    one = Watched(student, ours, [nn.Identity() for _ in found])
    other = Watched(teacher, theirs, [nn.Identity() for _ in found])
    if on == "hints":
        one.adapters = nn.ModuleList(_adapters(one, other, run))
    return one, other


@torch.no_grad()
def _adapters(student: Watched, teacher: Watched, run: Run) -> list[nn.Linear]:
    """The linear maps that bring the student's features closest to the teacher's.

    Such a start, rather than one by chance, leaves nothing for the student to unlearn.
    """
    inputs, _ = few(run.task, _FITTED_TO)
    ours, theirs = (call(clone(m), inputs)[1] for m in (student, teacher))
    return [_closest(*aligned(a, b)) for a, b in zip(ours, theirs, strict=True)]


def _closest(given: torch.Tensor, wanted: torch.Tensor) -> nn.Linear:
    """By ridge regression over all samples and positions."""
    columns, values = given.flatten(0, 1).double(), wanted.flatten(0, 1).double()
    middle, goal = columns.mean(0), values.mean(0)
    columns, values = columns - middle, values - goal
    square = columns.T @ columns
    square.diagonal().add_(_RIDGE * square.trace() / len(square) + 1e-12)
    weight = torch.linalg.solve(square, columns.T @ values).T
    made = nn.Linear(weight.shape[1], weight.shape[0])
    made.weight.copy_(weight)
    made.bias.copy_(goal - weight @ middle)
    return made


def hints(student: Features, teacher: Features) -> torch.Tensor:
    """The mean of `mean((s - t)^2) / var(t)` over the points.

    Source: Romero et al. 2014, arXiv:1412.6550 (FitNets).
    """
    losses = []
    for one, other in map(aligned, student, teacher):
        spread = other.var(unbiased=False).clamp_min(1e-12)
        losses.append(functional.mse_loss(one, other) / spread)
    return torch.stack(losses).mean()


def attention(student: Features, teacher: Features) -> torch.Tensor:
    """The squared distance between maps of where the channels are active.

    A map is the sum of the squares of the channels at each position, of length 1.

    Source: Zagoruyko & Komodakis 2016, arXiv:1612.03928.
    """
    losses = []
    for one, other in map(aligned, student, teacher):
        apart = _map(one) - _map(other)
        losses.append(apart.square().sum(1).mean())
    return torch.stack(losses).mean()


def relation(student: Features, teacher: Features) -> torch.Tensor:
    """How distances and angles between the samples of a batch differ.

    Of the last point's features, as their mean over the positions.

    Source: Park et al. 2019, arXiv:1904.05068.
    """
    one, other = (_embedding(features[-1]) for features in (student, teacher))
    if len(one) < 2:
        return one.sum() * 0.0
    far = functional.smooth_l1_loss(_distances(one), _distances(other))
    turned = functional.smooth_l1_loss(_angles(one), _angles(other))
    return far + _ANGLE * turned


LOSSES: dict[str, Callable[[Features, Features], torch.Tensor]] = {
    "hints": hints,
    "attention": attention,
    "relation": relation,
}


def aligned(
    one: torch.Tensor, other: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The two as (samples, positions, channels), of equally many positions.

    Where one has more, it is averaged over neighbours; where they have not equally many
    axes, both are averaged over all.
    """
    ours, theirs = one.shape[1:-1], other.shape[1:-1]
    sizes: list[int] = []
    if len(ours) == len(theirs):
        sizes = [min(a, b) for a, b in zip(ours, theirs, strict=True)]
    return _pooled(one, sizes), _pooled(other, sizes)


def _pooled(features: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    if list(features.shape[1:-1]) != sizes:
        features = features.movedim(-1, 1)
        if sizes:
            pools: list[Any] = [
                functional.adaptive_avg_pool1d,
                functional.adaptive_avg_pool2d,
                functional.adaptive_avg_pool3d,
            ]
            features = pools[len(sizes) - 1](features, sizes)
        else:
            features = features.flatten(2).mean(2)
        features = features.movedim(1, -1)
    return features.flatten(1, -2) if features.dim() > 2 else features.unsqueeze(1)


def _map(features: torch.Tensor) -> torch.Tensor:
    return functional.normalize(features.square().sum(2), dim=1)


def _embedding(features: torch.Tensor) -> torch.Tensor:
    return _pooled(features, []).squeeze(1)


def _distances(points: torch.Tensor) -> torch.Tensor:
    far = torch.pdist(points)
    return far / far.mean().clamp_min(_ENOUGH)


def _angles(points: torch.Tensor) -> torch.Tensor:
    """The cosine at each sample between the ways to every two others."""
    points = points[:_ANGLES]
    ways = functional.normalize(points.unsqueeze(0) - points.unsqueeze(1), dim=2)
    return ways @ ways.transpose(1, 2)
