"""Who teaches: models by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from paretune.core.errors import RecipeError, nearest
from paretune.core.technique import Run


def teachers(names: str, model: nn.Module, run: Run) -> list[nn.Module]:
    """The models of these names.

    Args:
        names: with commas between: "baseline", "self", "assistant", or of
            `task.teachers`.
        model: as it came into the step: "self".
        run: the task, and the stages that "assistant" is the last to teach of.

    Raises:
        RecipeError: there is no such teacher.
    """
    wanted = [name.strip() for name in names.split(",")]
    return [_teacher(name, model, run) for name in wanted]


def mean(answers: Sequence[Any]) -> Any:
    """The mean of the outputs of several teachers, output by output.

    Example:
        >>> mean([torch.zeros(2), torch.ones(2)])
        tensor([0.5000, 0.5000])
    """
    first = answers[0]
    if len(answers) == 1:
        return first
    if isinstance(first, dict):
        return {k: mean([a[k] for a in answers]) for k in first}
    if isinstance(first, tuple | list):
        return tuple(map(mean, zip(*answers, strict=True)))
    return torch.stack(list(answers)).mean(0)


def _teacher(name: str, model: nn.Module, run: Run) -> nn.Module:
    builders: dict[str, Callable[[], Any]] = {
        **run.task.teachers,
        "baseline": run.task.model,
        "self": lambda: model,
        "assistant": lambda: _assistant(run),
    }
    if name not in builders:
        raise RecipeError(
            "recipe-value",
            f"{run.task.name} has no teacher {name!r}; " + nearest(name, builders),
        )
    built: nn.Module = builders[name]()
    return built


def _assistant(run: Run) -> Any:
    for stage in reversed(run.stages):
        if stage.teaches:
            return stage.model()
    raise RecipeError(
        "recipe-order",
        "no step before this distillation trains a model, so there is no teacher "
        "'assistant'; put one there, such as a milder pruning and fine_tuning.",
    )
