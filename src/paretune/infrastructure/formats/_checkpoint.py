"""A training that pauses: its state as JSON and safetensors, nothing pickled."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from paretune.core.errors import StoreError
from paretune.infrastructure.formats._edits import groups, named_tensors
from paretune.infrastructure.formats._weights import read_file

TENSORS, FACTS = "training.safetensors", "training.json"

Named = dict[str, torch.Tensor]


@dataclass
class Place:
    """Where a training stands, between two of its steps.

    Attributes:
        epoch: that it is in, from 0.
        batch: how many of this epoch are done.
        step: how many of all are done.
        highest: the best quality at the end of an epoch so far, where it is looked at.
        since: epochs since then.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    highest: float = -math.inf
    since: int = 0


@dataclass(frozen=True)
class Generators:
    """The states of the global random generators of Python, numpy and torch."""

    python: Any
    numpy: Any
    torch: torch.Tensor

    @classmethod
    def now(cls) -> Generators:
        """As they are."""
        return cls(
            random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()
        )

    def restore(self) -> None:
        """Puts them back to where they were."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)

    def to_json(self) -> dict[str, Any]:
        numbers: Any = self.numpy
        state = {**numbers["state"], "key": numbers["state"]["key"].tolist()}
        return {
            "python": self.python,
            "numpy": {**numbers, "state": state},
            "torch": self.torch.tolist(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Generators:
        version, key, gauss = record["python"]
        state = dict(record["numpy"]["state"])
        state["key"] = np.array(state["key"], np.uint32)
        return cls(
            (version, tuple(key), gauss),
            {**record["numpy"], "state": state},
            torch.tensor(record["torch"], dtype=torch.uint8),
        )


def leave(
    folder: Path,
    place: Place,
    generators: Generators,
    optimizer: torch.optim.Optimizer,
    models: Mapping[str, nn.Module],
) -> None:
    """Writes the state of a training into an empty folder.

    Args:
        folder: is made if it isn't there.
        place: where it stands.
        generators: as they were right after the last step.
        optimizer: with what it keeps for each parameter.
        models: by name: the one that is trained, a mean of weights, the best so far.
    """
    kept = {
        f"{name}/{tensor}": value
        for name, model in models.items()
        for tensor, value in _tensors(model).items()
    }
    for index, of_one in optimizer.state_dict()["state"].items():
        kept |= {f"optimizer/{index}/{key}": value for key, value in of_one.items()}
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {
        k: v.detach().clone(memory_format=torch.contiguous_format)
        for k, v in kept.items()
    }
    save_file(contiguous, folder / TENSORS)
    facts = {"place": asdict(place), "generators": generators.to_json()}
    (folder / FACTS).write_text(json.dumps(facts))


@dataclass(frozen=True)
class Checkpoint:
    """What `leave` wrote.

    Attributes:
        place: where the training stood.
        generators: as they were then.
        tensors: by name, those of models and of the optimizer.
    """

    place: Place
    generators: Generators
    tensors: Named

    @classmethod
    def read(cls, folder: Path) -> Checkpoint:
        """The state in a folder.

        Raises:
            StoreError: a file is missing or damaged.
        """
        tensors, _ = read_file(folder / TENSORS)
        try:
            facts = json.loads((folder / FACTS).read_text())
            place = Place(**facts["place"])
            return cls(place, Generators.from_json(facts["generators"]), tensors)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                "checkpoint-corrupt",
                f"the state of a training in {folder} can't be read ({error}); remove "
                "that folder, and the training starts over.",
            ) from error

    def has(self, name: str) -> bool:
        """Whether a model of that name was left."""
        return any(key.startswith(f"{name}/") for key in self.tensors)

    @torch.no_grad()
    def into(self, name: str, model: nn.Module) -> None:
        """Gives a model the weights and buffers that were left under that name.

        Raises:
            StoreError: it is another model.
        """
        places, prefix = _tensors(model), f"{name}/"
        kept = {
            k.removeprefix(prefix): v
            for k, v in self.tensors.items()
            if k.startswith(prefix)
        }
        if {k: v.shape for k, v in kept.items()} != {
            k: v.shape for k, v in places.items()
        }:
            raise StoreError(
                "checkpoint-corrupt",
                f"the {name} that was left when training paused has other tensors; "
                "the task or a library has changed: begin another study with --study.",
            )
        for key, value in kept.items():
            places[key].copy_(value)

    def into_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Gives an optimizer what was left, laid out as its parameters are."""
        parameters = [p for g in optimizer.param_groups for p in g["params"]]
        state: dict[int, Named] = {}
        for name, value in self.tensors.items():
            if not name.startswith("optimizer/"):
                continue
            _, index, key = name.split("/")
            like = parameters[int(index)]
            laid = torch.empty_like(like, requires_grad=False)
            if value.shape == like.shape:
                value = laid.to(value.dtype).copy_(value)
            state.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _tensors(model: nn.Module) -> Named:
    """Parameters and buffers, each once, also those that no state dict has."""
    found = named_tensors(model)
    return {names[0]: found[names[0]] for names in groups(found)}
