"""What is known of a structure's speed before it is exported."""

from __future__ import annotations

from typing import Any

from paretune.core.candidate import Candidate
from paretune.core.recipe import Recipe
from paretune.core.task import Task
from paretune.engine.path import path_of

FLOAT = "float"
# Parameters that choose numbers, not operators: the runtime does the same work.
NUMBERS = frozenset(
    {
        *("calibration", "calibration_data", "samples", "equalise", "rounding"),
        "bias_correction",
    }
)
SHAPES = frozenset({"pruned"})  # traits that the layers tell all of


def torch_part(recipe: Recipe, to: str) -> Recipe:
    """The steps that a recipe does before it leaves torch.

    Args:
        recipe: every parameter has a value.
        to: the format that it ends in.
    """
    return [n.recipe for n in path_of(recipe, to) if n.format == "torch"][-1]


def sketch(candidate: Candidate, recipe: Recipe, task: Task) -> dict[str, Any]:
    """The layers of a recipe's torch part, and what the rest makes of them.

    Args:
        candidate: what the torch part came to.
        recipe: the whole of it.
        task: gives the sample.

    Returns:
        {"layers": see `formats._sketch.layers`, "group": what number formats the
        model ends in, as text: only structures of one group are alike in speed}.
    """
    from paretune.infrastructure.formats._sketch import layers

    later = recipe.steps[len(candidate.lineage) :]
    return {
        "layers": [list(layer) for layer in layers(candidate, task)],
        "group": group(Recipe(later), candidate.traits),
    }


def group(later: Recipe, traits: frozenset[str] = frozenset()) -> str:
    """The name that structures share which end in the same number formats.

    Args:
        later: the steps after the torch part.
        traits: that the torch part gives.

    Example:
        >>> group(Recipe()), group(Recipe(), frozenset({"pruned", "clustered"}))
        ('float', 'clustered')
    """
    told = sorted(traits - SHAPES)
    for step in later.steps:
        usual = type(step)().parameters()
        odd = [
            f"{name}={value}"
            for name, value in step.parameters().items()
            if name not in NUMBERS and value != usual[name]
        ]
        told.append(" ".join((step.name(), *odd)))
    return ", ".join(told) or FLOAT
