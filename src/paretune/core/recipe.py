"""An ordered list of techniques, with values or domains for their parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

from paretune.core.candidate import Candidate
from paretune.core.space import Choice, Integer, Real, Space, Text
from paretune.core.technique import Run, Stage, Technique

SHORT = 2  # epochs of a training that isn't worth a pause
Convert = Callable[[Candidate, tuple[str, ...], Run], Candidate]


@dataclass(frozen=True)
class Recipe:
    """Steps applied in order. Free while any parameter holds a domain.

    Example:
        >>> Recipe(()).digest == Recipe(()).digest
        True
    """

    steps: tuple[Technique, ...] = ()

    @property
    def space(self) -> Space:
        """The free parameters, as "<step index>.<technique>.<parameter>"."""
        return {
            f"{i}.{step.name()}.{name}": value
            for i, step in enumerate(self.steps)
            for name, value in step.parameters().items()
            if isinstance(value, Real | Integer | Choice | Text)
        }

    def bind(self, values: Mapping[str, Any]) -> Recipe:
        """This recipe with its free parameters set."""
        steps = list(self.steps)
        for key, value in values.items():
            index, _, name = key.split(".")
            steps[int(index)] = replace(steps[int(index)], **{name: value})
        return Recipe(tuple(steps))

    def check(self, traits: frozenset[str] = frozenset()) -> frozenset[str]:
        """The traits at the end.

        Raises:
            RecipeError: the steps can't follow one another.
        """
        for step in self.steps:
            traits = step.traits_after(traits)
        return traits

    def apply(self, candidate: Candidate, run: Run, convert: Convert) -> Candidate:
        """The candidate after all steps.

        Args:
            candidate: the model to begin with; it is left as it is.
            run: what the steps may use.
            convert: (candidate, formats, run) -> the same candidate in one of those
                formats; called where a step can't handle the format at hand.
        """
        self.check(candidate.traits)
        stages = [Stage("baseline", False, partial(_model, candidate))]
        for step in self.steps:
            at = replace(run, stages=(*run.stages, *stages))
            candidate = step.apply(convert(candidate, step.formats(), at), at)
            teaches = step.trains and step.teaches
            stages.append(Stage(step.name(), teaches, partial(_model, candidate)))
            run = step.sets(run)
        return candidate

    def prefixes(self) -> tuple[Recipe, ...]:
        """Its beginnings, the empty one first and itself last."""
        return tuple(Recipe(self.steps[:n]) for n in range(len(self.steps) + 1))

    def structure(self) -> Recipe:
        """What decides size and latency, without training."""
        found = (s.structural() for s in self.steps)
        return Recipe(tuple(s for s in found if s is not None))

    @property
    def paced(self) -> int | None:
        """Index of the step whose training is paused at rungs: the longest that can be.

        None where there is none of more than `SHORT` epochs.
        """
        lengths = {
            i: getattr(s, "epochs", 0) for i, s in enumerate(self.steps) if s.resumes
        }
        long = {i: epochs for i, epochs in lengths.items() if epochs > SHORT}
        return max(long, key=long.__getitem__, default=None)

    @property
    def trains(self) -> bool:
        return any(s.trains for s in self.steps)

    def to_json(self) -> list[dict[str, Any]]:
        return [step.to_json() for step in self.steps]

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of its steps and their versions."""
        steps = [{**s.to_json(), "version": s.version} for s in self.steps]
        return sha256(canonical(steps).encode()).hexdigest()

    def __str__(self) -> str:
        return " → ".join(s.name() for s in self.steps) or "baseline"


def _model(candidate: Candidate) -> Any:
    return candidate.model


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
