"""The path of a recipe through the formats, and what results on it depend on."""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from functools import cache as once
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from paretune.core.candidate import Candidate
from paretune.core.errors import UnsupportedError
from paretune.core.recipe import Recipe
from paretune.core.technique import Run

LIBRARIES = (
    "paretune",
    "torch",
    "torch-pruning",
    "torchao",
    "tensorly",
    "scipy",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "numpy",
)


@dataclass(frozen=True)
class Node:
    """A point on a recipe's path: its first steps, in one format."""

    recipe: Recipe
    format: str
    step: str  # the technique that led here, or "export", or "baseline"

    @property
    def teaches(self) -> bool:
        """Whether the step that led here trained, and what the model answers."""
        if self.step in ("export", "baseline"):
            return False
        return self.recipe.steps[-1].trains and self.recipe.steps[-1].teaches


def path_of(recipe: Recipe, to: str) -> tuple[Node, ...]:
    """The nodes of a recipe that ends in the format `to`.

    Example:
        >>> [(n.step, n.format) for n in path_of(Recipe(()), "onnx")]
        [('baseline', 'torch'), ('export', 'onnx')]
    """
    path = [Node(Recipe(), "torch", "baseline")]
    for prefix in recipe.prefixes()[1:]:
        step, at = prefix.steps[-1], path[-1]
        if at.format not in step.formats():
            for wanted in step.formats():
                if hasattr(formats(wanted), f"from_{at.format}"):
                    path.append(Node(at.recipe, wanted, "export"))
                    break
            else:
                raise UnsupportedError(
                    "format",
                    f"{step.name()} handles {' and '.join(step.formats())} models, and "
                    f"there is no way from {at.format} to one; put it earlier.",
                )
        path.append(Node(prefix, path[-1].format, step.name()))
    if path[-1].format != to:
        path.append(Node(recipe, to, "export"))
    return tuple(path)


def convert(candidate: Candidate, to: str, run: Run) -> Candidate:
    """The candidate in the format `to`.

    Raises:
        UnsupportedError: there is no way from its format to that one.
    """
    step = getattr(formats(to), f"from_{candidate.format}", None)
    if step is None:
        raise UnsupportedError(
            "format", f"there is no way from {candidate.format} to {to}."
        )
    converted: Candidate = step(candidate, run.task)
    return converted


def formats(name: str) -> ModuleType:
    """The module of a format, such as "onnx"."""
    return importlib.import_module(f"paretune.infrastructure.formats.{name}")


@once
def libraries() -> tuple[str, ...]:
    """Name and version of each library that a result depends on.

    The formats decide what an export is, and in an editable checkout they change
    without the version: their source counts too.
    """
    folder = Path(__file__).parents[1] / "infrastructure" / "formats"
    source = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        source.update(path.read_bytes())
    found = [f"formats=={source.hexdigest()[:16]}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue
    return tuple(found)
