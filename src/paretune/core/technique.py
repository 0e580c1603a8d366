"""The contract of one efficiency technique."""

from __future__ import annotations

import json
from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from paretune.core.candidate import Candidate
from paretune.core.errors import RecipeError, UnsupportedError, nearest
from paretune.core.space import Choice, Domain, Integer, Real, Space, Text
from paretune.core.task import Task


def param(default: Any, domain: Domain, unit: str = "") -> Any:
    """A technique's parameter: its default, the values it may take, and their unit."""
    return field(default=default, metadata={"domain": domain, "unit": unit})


def _nothing(*_: object) -> None: ...


class Stage(NamedTuple):
    """What a recipe came to after one of its steps.

    Attributes:
        step: the technique's name; "baseline" for the task's own model.
        teaches: whether that step trained, and what the model answers.
        model: fetches the model, in the format of that step.
    """

    step: str
    teaches: bool
    model: Callable[[], Any]


Over = Literal["length", "data"]


@dataclass(frozen=True)
class Fidelity:
    """How much of a training is done now, and where its state is kept.

    A training that is paused and gone on with gives the same bits as one that wasn't.

    Attributes:
        share: of the training's steps at which it pauses, above 0; at 1 it ends.
        begin: folder with the state that an earlier pause has left; None: there is
            none, and the training starts at its first step.
        leave: folder for the state at the pause; it stays empty where the training
            ends before.

    Example:
        >>> Fidelity().paused, Fidelity(1 / 3).paused
        (False, True)
    """

    share: float = 1.0
    begin: Path | None = None
    leave: Path | None = None

    @property
    def paused(self) -> bool:
        """Whether the training pauses before its end."""
        return self.share < 1


@dataclass(frozen=True)
class Run:
    """What a technique may use while it works.

    Attributes:
        task: the user's model, data and loss.
        seed: seeds everything random in the step.
        threads: that the step may use.
        give_way: call it between batches: it returns at once, or after a measurement
            that waits for a quiet machine has been taken.
        progress: tells a person what runs: (what, share done from 0 to 1).
        stages: what the recipe came to before this step, the baseline first.
        fidelity: how much of its training a step that `resumes` does now.
    """

    task: Task
    seed: int = 0
    threads: int = 1
    give_way: Callable[[], None] = field(default=_nothing, repr=False)
    progress: Callable[[str, float], None] = field(default=_nothing, repr=False)
    stages: tuple[Stage, ...] = field(default=(), repr=False)
    fidelity: Fidelity = Fidelity()


@dataclass(frozen=True)
class Technique(ABC):
    """Turns a candidate into a smaller, faster or better one.

    A subclass is a frozen dataclass in a file of its own; the file's name is the
    technique's name and its folder is the technique's area. For each format it
    handles it has a method `on_<format>(model, run)` that returns a new model and
    leaves the given one alone. A parameter holds a value, or a domain to search.

    Attributes:
        source: the paper.
        needs: traits that must be there before this step.
        refuses: traits that must not be there.
        gives: traits that are there afterwards.
        breaks: traits that are gone afterwards.
        trains: whether it trains weights: such a step changes no structure, so size
            and latency can be measured without it (see `structural`).
        teaches: whether a step that trains leaves a model that can teach; one that
            pretrains features doesn't: its answers mean nothing yet.
        resumes: whether it hands `run.fidelity` to its one training, so that it can be
            paused; such a technique has a parameter `epochs`.
        lowers: footprint metrics that it can lower in a CPU runtime; what is not in
            there is no reason to choose it.
        version: raised when the same parameters give another result.
    """

    source: ClassVar[str]
    lowers: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[frozenset[str]] = frozenset()
    refuses: ClassVar[frozenset[str]] = frozenset()
    gives: ClassVar[frozenset[str]] = frozenset()
    breaks: ClassVar[frozenset[str]] = frozenset()
    trains: ClassVar[bool] = False
    teaches: ClassVar[bool] = True
    resumes: ClassVar[bool] = False
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for name, domain in self.domains().items():
            value = getattr(self, name)
            if isinstance(value, Real | Integer | Choice | Text):
                continue
            if isinstance(domain, Real) and type(value) is int:
                object.__setattr__(self, name, value := float(value))
            if value not in domain:
                raise RecipeError(
                    "recipe-value", f"{self.name()}: {name}={value!r} is not {domain}."
                )

    @classmethod
    def name(cls) -> str:
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def area(cls) -> str:
        """The survey's area: the folder that the technique's file is in."""
        return cls.__module__.split(".")[-2]

    @classmethod
    def formats(cls) -> tuple[str, ...]:
        """The formats it handles, the one it prefers first."""
        found = [m[3:] for c in cls.__mro__ for m in vars(c) if m.startswith("on_")]
        return tuple(dict.fromkeys(found))

    @classmethod
    def domains(cls) -> Space:
        return {f.name: f.metadata["domain"] for f in fields(cls)}

    @classmethod
    def build(cls, parameters: Mapping[str, Any]) -> Technique:
        """The technique with these parameters.

        Raises:
            RecipeError: one of them is unknown, or its value is not allowed.
        """
        for name in parameters:
            if name not in cls.domains():
                raise RecipeError(
                    "recipe-parameter",
                    f"{cls.name()} has no parameter {name!r}; "
                    + nearest(name, cls.domains()),
                )
        return cls(**parameters)

    def parameters(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def to_json(self) -> dict[str, Any]:
        """{"technique": name, parameter: value or domain, ...}."""
        values = {
            k: v.to_json() if isinstance(v, Real | Integer | Choice | Text) else v
            for k, v in self.parameters().items()
        }
        return {"technique": self.name(), **values}

    def traits_after(self, traits: frozenset[str]) -> frozenset[str]:
        """The traits that a candidate has after this step.

        Raises:
            RecipeError: a needed trait is missing, or a refused one is present.
        """
        if missing := self.needs - traits:
            raise RecipeError(
                "recipe-order",
                f"{self.name()} needs a model that is {' and '.join(sorted(missing))}; "
                "put a step that makes it so before it.",
            )
        if clash := self.refuses & traits:
            raise RecipeError(
                "recipe-order",
                f"{self.name()} can't follow a step that leaves the model "
                f"{' and '.join(sorted(clash))}; put it earlier, or leave one of the "
                "two out.",
            )
        return (traits - self.breaks) | self.gives

    def structural(self) -> Technique | None:
        """What decides size and latency in its place; None where it decides nothing.

        Itself, unless it trains. A step that trains and makes the file smaller all the
        same gives one here that does so without training.
        """
        return None if self.trains else self

    @classmethod
    def other(cls, name: str, **parameters: Any) -> Technique:
        """Another technique of the same area, by name, as recipes have it."""
        module = import_module(f"{cls.__module__.rpartition('.')[0]}.{name}")
        (found,) = (
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, Technique)
            and value.__module__ == module.__name__
        )
        return found.build(parameters)

    def sets(self, run: Run) -> Run:
        """What the steps after this one work with: by default, what it had itself.

        A step on data rather than on the model (such as augmentation) gives a run with
        another task here.
        """
        return run

    def apply(self, candidate: Candidate, run: Run) -> Candidate:
        """The candidate after this step; the given one is unchanged.

        Raises:
            UnsupportedError: it can't handle the candidate's format or model.
        """
        if candidate.format not in self.formats():
            raise UnsupportedError(
                "format",
                f"{self.name()} handles {' and '.join(self.formats())} models, "
                f"not {candidate.format!r}.",
            )
        traits = self.traits_after(candidate.traits)
        model = getattr(self, f"on_{candidate.format}")(candidate.model, run)
        step = json.dumps(self.to_json(), sort_keys=True)
        return Candidate(model, candidate.format, traits, (*candidate.lineage, step))
