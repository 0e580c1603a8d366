"""What a model answers to real samples, and which of its parameters are one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from paretune.core.errors import TaskError
from paretune.core.task import Task, as_arrays, pick
from paretune.infrastructure.formats import torch as torch_format


def samples(task: Task, count: int) -> Any:
    """The first calibration samples, of one batch, as tensors.

    Raises:
        TaskError: the calibration split is empty.
    """
    for inputs, _ in task.batches("calibration"):
        return torch_format.tensors(pick(inputs, slice(0, count)))
    raise TaskError(
        "data-too-small",
        "batches('calibration') gave no batch; at least one sample is needed.",
    )


def batches(task: Task, count: int) -> Iterator[Any]:
    """Calibration inputs as tensors, until there were that many samples."""
    seen = 0
    for inputs, _ in task.batches("calibration"):
        yield torch_format.tensors(pick(inputs, slice(0, count - seen)))
        seen += len(next(iter(as_arrays(inputs, "input").values())))
        if seen >= count:
            return


@torch.no_grad()
def answers(model: nn.Module, inputs: Any) -> list[torch.Tensor]:
    """All tensors of the model's outputs, in double precision."""
    return [t.double() for t in flat(torch_format.call(model, inputs))]


def flat(outputs: Any) -> list[torch.Tensor]:
    """All tensors in a structure."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, Mapping):
        return [t for v in outputs.values() for t in flat(v)]
    if isinstance(outputs, tuple | list):
        return [t for v in outputs for t in flat(v)]
    return []


def parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter by every one of its names."""
    yield from model.named_parameters(remove_duplicate=False)


def ties(model: nn.Module) -> list[list[str]]:
    """Names that stand for one parameter, where there is more than one."""
    found: dict[int, list[str]] = {}
    for name, parameter in parameters(model):
        found.setdefault(id(parameter), []).append(name)
    return [names for names in found.values() if len(names) > 1]


def tie(model: nn.Module, groups: list[list[str]]) -> bool:
    """Makes parameters one again; False if they are no longer alike."""
    for names in groups:
        first, *others = (model.get_parameter(name) for name in names)
        for name, other in zip(names[1:], others, strict=True):
            if not torch.equal(first, other):
                return False
            path, _, key = name.rpartition(".")
            setattr(model.get_submodule(path), key, first)
    return True
