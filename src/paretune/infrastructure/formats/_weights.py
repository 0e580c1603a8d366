"""A PyTorch model as edits of the task's model and tensors by name, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from paretune.core.errors import StoreError
from paretune.core.task import Task
from paretune.infrastructure.formats._edits import (
    Edit,
    edits,
    groups,
    named_tensors,
    replay,
)

Details = dict[str, Any]


def take_apart(
    model: nn.Module, task: Task
) -> tuple[list[Edit], dict[str, torch.Tensor], Details]:
    """(edits, one tensor for each group of names, details of the tensors).

    The details are, as JSON: "strides" out of the ordinary by name, and the names of
    "frozen" parameters, which later steps don't train.

    Raises:
        UnsupportedError: the model is not the task's with other sizes.
    """
    base = cast(nn.Module, task.model())
    changes = edits(base, model)
    before, after = named_tensors(base), named_tensors(model)
    persistent = model.state_dict(keep_vars=True).keys()
    weights, strides = {}, {}
    for names in groups(after):
        tensor, name = after[names[0]].detach().cpu(), names[0]
        if persistent.isdisjoint(names) and _same(tensor, before.get(name)):
            continue
        weights[name] = tensor.clone(memory_format=torch.contiguous_format)
        # Kernels are chosen by memory layout, so the bits of the outputs hang on it.
        layout = tensor.clone().stride()
        if layout != weights[name].stride():
            strides[name] = list(layout)
    frozen = [
        name
        for name, tensor in after.items()
        if isinstance(tensor, nn.Parameter) and not tensor.requires_grad
    ]
    return changes, weights, {"strides": strides, "frozen": frozen}


def put_together(
    task: Task,
    changes: list[Edit],
    weights: Mapping[str, torch.Tensor],
    details: Mapping[str, Any],
) -> nn.Module:
    """The model that `take_apart` took apart, in evaluation mode.

    Without details, memory layouts are ordinary, and what the task froze is frozen.

    Raises:
        StoreError: the tensors are not those of the task's model after the edits.
    """
    model = replay(cast(nn.Module, task.model()), changes)
    places = named_tensors(model)
    persistent = model.state_dict(keep_vars=True).keys()
    required = {g[0] for g in groups(places) if not persistent.isdisjoint(g)}
    if wrong := (required - weights.keys()) or (weights.keys() - places.keys()):
        raise StoreError(
            "candidate-mismatch",
            f"tensor {min(wrong)!r} is not in both the file and the task's model; "
            "the file belongs to another task, or the task has changed.",
        )
    strides = details.get("strides", {})
    for name, tensor in weights.items():
        place = places[name]
        if place.shape != tensor.shape:
            raise StoreError(
                "candidate-mismatch",
                f"tensor {name!r} is {tuple(tensor.shape)} in the file and "
                f"{tuple(place.shape)} in the model; the task has changed.",
            )
        if name in strides:
            laid = torch.empty_strided(tensor.shape, strides[name], dtype=tensor.dtype)
            tensor = laid.copy_(tensor)
        place.data = tensor
    if "frozen" in details:
        frozen = set(details["frozen"])
        for name, place in places.items():
            if isinstance(place, nn.Parameter):
                place.requires_grad_(name not in frozen)
    return model.cpu().eval()


def read_file(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors by name, what the file says about them).

    Raises:
        StoreError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            # Copied: a tensor that maps the file would change or fault with it.
            weights = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
        return weights, json.loads(metadata.get("paretune", "{}"))
    except (OSError, ValueError, SafetensorError) as error:
        raise StoreError("candidate-corrupt", f"{path}: {error}") from error


def _same(tensor: torch.Tensor, other: torch.Tensor | None) -> bool:
    return other is not None and torch.equal(tensor, other.detach().cpu())
