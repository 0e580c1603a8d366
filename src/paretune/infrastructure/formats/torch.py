"""PyTorch models: clone, compare, keep, load, count.

A candidate is kept as the structural edits that lead to it from the task's own model
(JSON) and its weights (safetensors): opening one runs no code but the task's.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
import warnings
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save as to_bytes
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from paretune.core.candidate import Artifact, Candidate
from paretune.core.errors import StoreError, TaskError, UnsupportedError
from paretune.core.task import Task, pick
from paretune.infrastructure.formats._edits import edits, named_tensors, replay
from paretune.infrastructure.formats._weights import (
    put_together,
    read_file,
    take_apart,
)

FORMAT = "torch"
SUFFIX = ".safetensors"


def clone(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode on the CPU; shared parameters stay shared."""
    return copy.deepcopy(model).cpu().eval()


def tensors(structure: Any) -> Any:
    """Arrays as tensors, in an array or in a tuple or dict of them.

    Example:
        >>> tensors({"x": np.zeros((2, 3), np.float32)})["x"].shape
        torch.Size([2, 3])
    """
    if isinstance(structure, torch.Tensor):
        return structure
    if isinstance(structure, Mapping):
        return {k: tensors(v) for k, v in structure.items()}
    if isinstance(structure, tuple | list):
        return tuple(tensors(v) for v in structure)
    array = np.ascontiguousarray(structure).reshape(np.shape(structure))
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def call(model: nn.Module, inputs: Any) -> Any:
    """The outputs: a tensor is one argument, a tuple several, a dict named ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    return model(inputs)


def first(given: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
    """The first argument of a call, by place or by name.

    Example:
        >>> first((), {"input": 3})
        3
    """
    return next(iter((*given, *named.values())))


def seed(number: int) -> None:
    """Seeds the global generators of Python, numpy and torch."""
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)


def check_finite(model: nn.Module) -> None:
    """Nothing if every weight is finite.

    Raises:
        TaskError: names the first tensor that holds NaN or infinity, and how many.
    """
    for name, tensor in named_tensors(model).items():
        if not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()):
            continue
        nans, infinite = int(tensor.isnan().sum()), int(tensor.isinf().sum())
        what = " and ".join(
            f"{count:,} of {tensor.numel():,} values are {word}"
            for count, word in ((nans, "NaN"), (infinite, "infinite"))
            if count
        )
        raise TaskError(
            "model-nonfinite", f"{name}: {what}; give the task finite weights."
        )


def sample(task: Task) -> Any:
    """The first calibration sample as a batch of one, as tensors.

    Raises:
        TaskError: the calibration split is empty.
    """
    for inputs, _ in task.batches("calibration"):
        return tensors(pick(inputs, slice(0, 1)))
    raise TaskError(
        "data-too-small",
        "batches('calibration') gave no batch; at least one sample is needed.",
    )


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Keeps torch's transformer modules from one fused, opaque operator."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def count(candidate: Candidate, task: Task) -> dict[str, int]:
    """{"parameters": stored weights, "macs": multiply-accumulates of one sample}.

    MACs are half the FLOPs of matrix products and convolutions (1 MAC = 2 FLOPs).
    """
    model = cast(nn.Module, candidate.model)
    # Fused kernels are opaque to the counter.
    with (
        warnings.catch_warnings(action="ignore"),
        torch.no_grad(),
        plain_attention(),
        sdpa_kernel(SDPBackend.MATH),
        torch.backends.mkldnn.flags(enabled=False),
        FlopCounterMode(display=False) as counter,
    ):
        call(model, sample(task))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "macs": counter.get_total_flops() // 2,
    }


def zeros(candidate: Candidate) -> float:
    """The share of its weights that are exactly 0; of matrices alone, no biases.

    Example:
        >>> model = nn.Linear(4, 4)
        >>> with torch.no_grad():
        ...     _ = model.weight.copy_(torch.eye(4))
        >>> zeros(Candidate(model, "torch"))
        0.75
    """
    weights = [p for p in candidate.model.parameters() if p.dim() > 1]
    total = sum(p.numel() for p in weights)
    return sum(int((p == 0).sum()) for p in weights) / total if total else 0.0


def save(candidate: Candidate, task: Task, folder: Path) -> None:
    """Writes edits.json, weights.safetensors and candidate.json into `folder`.

    Raises:
        UnsupportedError: the model differs from the task's in a way that edits
            can't express.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changes, weights, details = take_apart(candidate.model, task)
    (folder / "edits.json").write_text(json.dumps(changes, indent=1))
    (folder / "weights.safetensors").write_bytes(
        to_bytes(weights, {"paretune": _json(details)})
    )
    (folder / "candidate.json").write_text(json.dumps(_facts(candidate), indent=1))


def load(folder: Path, task: Task) -> Candidate:
    """The candidate that `save` wrote, with bit-identical outputs.

    Raises:
        StoreError: a file is missing or damaged, or is not of this task.
    """
    try:
        facts = json.loads((folder / "candidate.json").read_text())
        changes = json.loads((folder / "edits.json").read_text())
    except (OSError, ValueError) as error:
        raise StoreError("candidate-corrupt", f"{folder}: {error}") from error
    weights, metadata = read_file(folder / "weights.safetensors")
    model = put_together(task, changes, weights, metadata)
    return Candidate(model, FORMAT, frozenset(facts["traits"]), tuple(facts["lineage"]))


def write(candidate: Candidate, task: Task, path: Path) -> Artifact:
    """One file for the `torch_eager` runtime; it needs the task to be loaded.

    Args:
        candidate: a torch one.
        task: the model that the candidate comes from.
        path: the file to write, or a folder that gets `model.safetensors`.
    """
    changes, weights, details = take_apart(candidate.model, task)
    metadata = {
        "edits": changes,
        **details,
        "task": task.reference,
        **_facts(candidate),
    }
    content = to_bytes(weights, {"paretune": _json(metadata)})
    path = path / f"model{SUFFIX}" if path.is_dir() else path
    path.write_bytes(content)
    digest = sha256(content).hexdigest()
    return Artifact(path, FORMAT, digest, len(content), candidate.traits)


def open_artifact(path: Path, resolve: Any) -> Candidate:
    """The candidate in a file that `write` wrote.

    Args:
        path: the file.
        resolve: gives the task of the reference that the file holds.

    Raises:
        StoreError: the file is damaged.
        UnsupportedError: it holds no candidate of ours.
    """
    weights, metadata = read_file(path)
    if "edits" not in metadata:
        raise UnsupportedError(
            "artifact",
            f"{path.name} holds weights but no edits; write it with paretune.",
        )
    task = resolve(metadata["task"])
    model = put_together(task, metadata["edits"], weights, metadata)
    traits, lineage = frozenset(metadata["traits"]), tuple(metadata["lineage"])
    return Candidate(model, FORMAT, traits, lineage)


def _facts(candidate: Candidate) -> dict[str, Any]:
    return {
        "format": candidate.format,
        "traits": sorted(candidate.traits),
        "lineage": list(candidate.lineage),
    }


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


__all__ = [
    "call",
    "check_finite",
    "clone",
    "count",
    "edits",
    "load",
    "open_artifact",
    "plain_attention",
    "replay",
    "sample",
    "save",
    "seed",
    "tensors",
    "write",
    "zeros",
]
