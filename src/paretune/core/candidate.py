"""What travels through a recipe, and the file it ends as."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Candidate:
    """A model in memory, with how it came to be.

    The structural edits that lead from the task's model to this one are not kept
    here: the format derives them when it saves the candidate, so that a technique
    can't forget to write one down.

    Attributes:
        model: the model object of `format`.
        format: what `model` is: "torch", "onnx".
        traits: facts that techniques established, such as "pruned".
        lineage: the steps applied so far, oldest first, as JSON text.
    """

    model: Any
    format: str
    traits: frozenset[str] = frozenset()
    lineage: tuple[str, ...] = ()


@dataclass(frozen=True)
class Artifact:
    """A deployable file: what a runtime loads and a frontier point refers to.

    Attributes:
        path: the file.
        format: what the file is: "onnx", "torch".
        sha256: of the file's bytes, 64 hex digits.
        size: bytes on disk.
        traits: of the candidate that it was made from.
    """

    path: Path
    format: str
    sha256: str
    size: int
    traits: frozenset[str] = field(default=frozenset())
