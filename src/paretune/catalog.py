"""Finds techniques, runtimes, meters and the rest by the name of their file."""

from __future__ import annotations

import importlib
import pkgutil
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from paretune.core.errors import RecipeError, UnavailableError, nearest
from paretune.core.meter import Meter
from paretune.core.recipe import Recipe
from paretune.core.space import (
    Choice,
    Domain,
    Integer,
    Real,
    Text,
    domain_from_json,
)
from paretune.core.strategy import Sampler, Scheduler, Strategy
from paretune.core.target import Runtime
from paretune.core.task import Task
from paretune.core.technique import Technique
from paretune.core.worker import Worker

T = TypeVar("T")
HERE = Path(__file__).parent


class Catalog(Mapping[str, type[T]], Generic[T]):
    """Classes of one contract by file name, each imported only when asked for.

    Args:
        what: the contract in a word, for messages.
        contract: the class that members derive from.
        folders: below the package; files that begin with "_", and folders in it, are no
            members.
    """

    def __init__(self, what: str, contract: type[T], *folders: str) -> None:
        self.what = what
        self._contract = contract
        self._modules: dict[str, str] = {}
        for folder in folders:
            for found in pkgutil.iter_modules([str(HERE / folder)]):
                if found.name.startswith("_") or found.ispkg:
                    continue
                if found.name in self._modules:
                    raise RecipeError("catalog", f"two files are named {found.name!r}.")
                module = folder.replace("/", ".")
                self._modules[found.name] = f"paretune.{module}.{found.name}"

    def __getitem__(self, name: str) -> type[T]:
        if name not in self._modules:
            raise UnavailableError(
                f"{self.what}-unknown",
                f"there is no {self.what} {name!r}; {nearest(name, self)}",
            )
        module = importlib.import_module(self._modules[name])
        (only,) = (
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, self._contract)
            and value.__module__ == module.__name__
            and not value.__name__.startswith("_")
        )
        return only

    def __contains__(self, name: object) -> bool:
        return name in self._modules  # without importing the member

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def area(self, name: str) -> str:
        """The folder that a member's file is in, without importing it."""
        return self._modules[name].split(".")[-2]


TECHNIQUES = Catalog(
    "technique", Technique, "compression", "learning", "architectures", "automation"
)
RUNTIMES = Catalog("runtime", Runtime, "infrastructure/runtimes")
METERS = Catalog("meter", Meter, "measurement")
SAMPLERS = Catalog("sampler", Sampler, "automation/samplers")
SCHEDULERS = Catalog("scheduler", Scheduler, "automation/schedulers")
STRATEGIES = Catalog("strategy", Strategy, "strategies")
TASKS = Catalog("task", Task, "tasks")
WORKERS = Catalog("worker", Worker, "workers")


def recipe(steps: Iterable[Mapping[str, Any]]) -> Recipe:
    """The recipe that these JSON steps describe.

    Raises:
        RecipeError: this is no list of steps, a technique or parameter is unknown, or
            a value, or a part of a domain, is not allowed.

    Example:
        >>> recipe([]).steps
        ()
    """
    if not isinstance(steps, Iterable) or isinstance(steps, str | bytes | Mapping):
        raise RecipeError(
            "recipe-type",
            f"a recipe is a list of steps, not {type(steps).__name__}.",
        )
    try:
        return Recipe(tuple(_step(n, step) for n, step in enumerate(steps, 1)))
    except (ValueError, OverflowError, RecursionError) as error:  # of absurd size
        raise RecipeError(
            "recipe-value", f"a value in the recipe can't be used: {error}."
        ) from error


def _step(number: int, step: object) -> Technique:
    if not isinstance(step, Mapping) or "technique" not in step:
        raise RecipeError(
            "recipe-step",
            f"step {number} is {reprlib.repr(step)}; write 'technique: NAME' and "
            "its parameters.",
        )
    name = step["technique"]
    if not isinstance(name, str) or name not in TECHNIQUES:
        near = nearest(name if isinstance(name, str) else "", TECHNIQUES)
        raise RecipeError(
            "recipe-technique", f"there is no technique {reprlib.repr(name)}; {near}"
        )
    parameters, domains = {}, TECHNIQUES[name].domains()
    for key, value in step.items():
        if not isinstance(key, str):
            raise RecipeError(
                "recipe-parameter",
                f"step {number}, {name}: a parameter has a name, not {key!r}; "
                f"known: {', '.join(TECHNIQUES[name].domains())}.",
            )
        if isinstance(value, str) and isinstance(domains.get(key), Real):
            with suppress(ValueError):
                value = float(value)
        domain = domain_from_json(value)
        parameters[key] = value if domain is None else domain
    del parameters["technique"]
    built = TECHNIQUES[name].build(parameters)
    for key, allowed in built.domains().items():
        if (free := getattr(built, key)) not in allowed and not _within(free, allowed):
            raise RecipeError(
                "recipe-value",
                f"{name}: {key} may be {allowed}; {free} goes beyond that.",
            )
    return built


def _within(free: object, allowed: Domain) -> bool:
    """Whether all that a recipe's domain holds is in the technique's own."""
    match free:
        case Real() | Integer():
            ranges = isinstance(allowed, Real | Integer)
            return ranges and free.low in allowed and free.high in allowed
        case Choice():
            return all(option in allowed for option in free.options)
        case _:
            return isinstance(free, Text) and isinstance(allowed, Text)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML (or JSON) file: a list of steps, or {"recipe": [...]}.

    Raises:
        RecipeError: no such file, not YAML, or no recipe in it.
    """
    content = read_yaml(path)
    if isinstance(content, Mapping):
        unknown = sorted(str(k) for k in content if k != "recipe")
        if unknown:
            hint = nearest(unknown[0], ["recipe"])
            raise RecipeError("spec", f"{path}: unknown key {unknown[0]!r}; {hint}")
        content = content.get("recipe")
    if not isinstance(content, list):
        raise RecipeError(
            "recipe-yaml", f"{path} holds no list of steps ('- technique: NAME')."
        )
    return recipe(content)


def read_yaml(path: Path) -> Any:
    """What is in a YAML (or JSON) file of recipes.

    Raises:
        RecipeError: no such file, or not YAML.
    """
    import yaml

    if not path.is_file():
        raise RecipeError("recipe-not-found", f"there is no recipe file {path}.")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(
            "recipe-not-found", f"{path} can't be read: {error.strerror}."
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = " ".join(str(error).split())
        raise RecipeError("recipe-yaml", f"{path} is not YAML: {where}") from None


def write_recipe(steps: Iterable[Mapping[str, Any]]) -> str:
    """YAML text of a recipe, which `read_recipe` reads."""
    import yaml

    text: str = yaml.safe_dump({"recipe": [dict(s) for s in steps]}, sort_keys=False)
    return text


def usable_runtime(name: str) -> Runtime:
    """The runtime of that name.

    Raises:
        UnavailableError: it is unknown, or can't run here; says what to install.
    """
    runtime = RUNTIMES[name]()
    if reason := runtime.missing():
        raise UnavailableError("runtime-missing", reason)
    return runtime


__all__ = [
    "METERS",
    "RUNTIMES",
    "SAMPLERS",
    "SCHEDULERS",
    "STRATEGIES",
    "TASKS",
    "TECHNIQUES",
    "WORKERS",
    "Catalog",
    "read_recipe",
    "read_yaml",
    "recipe",
    "usable_runtime",
    "write_recipe",
]
