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
from paretune.store.cache import Cache

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


def key_of(
    recipe: Recipe, format_: str, fingerprint: str, seed: int, **pause: object
) -> str:
    """What the result of a recipe, in a format, is kept under.

    Args:
        recipe: the steps up to there.
        format_: that the result is in.
        fingerprint: of the task.
        seed: of everything random.
        pause: where the last step was paused; see `engine.pace`.
    """
    return Cache.key(
        **pause,
        task=fingerprint,
        recipe=recipe.digest,
        format=format_,
        seed=seed,
        libraries=libraries(),
    )


def keys_of(recipe: Recipe, to: str, fingerprint: str, seed: int) -> tuple[str, ...]:
    """The cache keys of the results of a recipe's steps, the first one's first.

    As `path_of` leads, but without loading a framework: what torch can't do is done in
    the format `to`.
    """
    at, keys = "torch", []
    for prefix in recipe.prefixes()[1:]:
        if at not in prefix.steps[-1].formats():
            at = to
        keys.append(key_of(prefix, at, fingerprint, seed))
    return tuple(keys)


def pause_of(
    recipe: Recipe, share: float, fingerprint: str, seed: int
) -> tuple[str, ...]:
    """The cache keys of what the training of a halted recipe goes on from.

    They are those of the model before its paced step and of that step's state.

    Args:
        recipe: that was halted.
        share: of the length of its training that is done.
        fingerprint: of the task.
        seed: of everything random.
    """
    at = recipe.paced
    if at is None:
        return ()
    before, whole = Recipe(recipe.steps[:at]), Recipe(recipe.steps[: at + 1])
    return (
        key_of(before, "torch", fingerprint, seed),
        key_of(whole, "torch", fingerprint, seed, share=share, over="length"),
    )


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
