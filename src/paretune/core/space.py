"""Domains that a recipe's parameter may be searched over."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from paretune.core.errors import RecipeError

LARGEST = 2.0**63  # of the numbers in a recipe: integers of samplers have 64 bits


@dataclass(frozen=True)
class Real:
    """All reals in [low, high]; `log` samples them by order of magnitude.

    Example:
        >>> 0.3 in Real(0.0, 1.0)
        True
    """

    low: float
    high: float
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, float | int)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        )

    def sample(self, rng: np.random.Generator) -> float:
        if self.log:
            return math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        return float(rng.uniform(self.low, self.high))

    def to_json(self) -> dict[str, Any]:
        return {"real": [self.low, self.high], **({"log": True} if self.log else {})}

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Integer:
    """All integers from low to high, both included."""

    low: int
    high: int
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        )

    def sample(self, rng: np.random.Generator) -> int:
        if self.log:
            edge = rng.uniform(math.log(self.low), math.log(self.high + 1))
            return min(self.high, int(math.exp(edge)))
        return int(rng.integers(self.low, self.high + 1))

    def to_json(self) -> dict[str, Any]:
        return {"integer": [self.low, self.high], **({"log": True} if self.log else {})}

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}"


@dataclass(frozen=True)
class Choice:
    """One of a few options, without order. Options are JSON scalars."""

    options: tuple[Any, ...]

    def __contains__(self, value: object) -> bool:
        return any(value == o and type(value) is type(o) for o in self.options)

    def sample(self, rng: np.random.Generator) -> Any:
        return self.options[int(rng.integers(len(self.options)))]

    def to_json(self) -> dict[str, Any]:
        return {"choice": list(self.options)}

    def __str__(self) -> str:
        return "one of " + ", ".join(map(repr, self.options))


@dataclass(frozen=True)
class Text:
    """Free text, such as a name that only the task can know; it is not searched."""

    example: str = ""

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str)

    def sample(self, rng: np.random.Generator) -> str:
        return self.example

    def to_json(self) -> dict[str, Any]:
        return {"choice": [self.example]}

    def __str__(self) -> str:
        return f"text, such as {self.example!r}" if self.example else "any text"


Domain = Real | Integer | Choice | Text
Space = Mapping[str, Domain]


def domain_from_json(value: object) -> Domain | None:
    """The domain that a recipe file writes in place of a value; None for a value.

    Raises:
        RecipeError: a mapping that is no domain, or one that nothing is in.

    Example:
        >>> domain_from_json({"real": [0.1, 0.7]})
        Real(low=0.1, high=0.7, log=False)
        >>> domain_from_json(0.5) is None
        True
    """
    if not isinstance(value, Mapping):
        return None
    match dict(value):
        case {"real": [low, high], **rest} if _bounds(float | int, low, high, rest):
            return Real(float(low), float(high), rest.get("log", False))
        case {"integer": [low, high], **rest} if _bounds(int, low, high, rest):
            return Integer(low, high, rest.get("log", False))
        case {"choice": [_, *_] as options, **rest} if not rest and all(
            isinstance(o, str | bool | None) or _number(float | int, o) for o in options
        ):
            return Choice(tuple(options))
    raise RecipeError(
        "recipe-domain",
        f"{reprlib.repr(value)} is no domain; write {{real: [low, high]}} or "
        "{integer: [low, high]} with low not above high (and log: true if low is above "
        "0), or {choice: [a, b]}.",
    )


def _bounds(kind: Any, low: object, high: object, rest: Mapping[Any, object]) -> bool:
    """Whether low to high is a range of numbers, which `log` in `rest` can take."""
    log = rest.get("log", False)
    return (
        isinstance(log, bool)
        and rest.keys() <= {"log"}
        and _number(kind, low)
        and _number(kind, high)
        and (0 if log else -LARGEST) < low <= high  # type: ignore[operator]
    )


def _number(kind: Any, value: object) -> bool:
    return (
        isinstance(value, kind)
        and not isinstance(value, bool)
        and -LARGEST < value < LARGEST
    )
