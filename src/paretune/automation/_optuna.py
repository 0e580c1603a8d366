"""A history as an optuna study, so that optuna's samplers can propose from it.

The study is built anew for every proposal: the history is the only state.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from paretune.core.recipe import Recipe, canonical
from paretune.core.space import Choice, Integer, Real, Text
from paretune.core.strategy import History, Objective
from paretune.core.trial import INFEASIBLE, Trial

if TYPE_CHECKING:
    import optuna

Steps = Sequence[Mapping[str, Any]]

_RECIPE = "recipe"
_BROKEN = 1e-9  # the least violation that counts as one


def propose(
    build: Callable[[int], optuna.samplers.BaseSampler],
    recipes: Sequence[Recipe],
    history: History,
    rng: np.random.Generator,
    *,
    complete: bool = False,
    marks: Mapping[str, Any] | None = None,
) -> Recipe:
    """A bound recipe, as the sampler that `build` gives proposes it.

    Which recipe is one more parameter; the parameters of a recipe depend on it. A
    parameter that several recipes have in common (same technique, name and domain) is
    one parameter, so that what one recipe shows about it counts for all.

    Args:
        build: from a seed to the sampler.
        recipes: free or bound, one or more.
        history: trials outside the space of `recipes` can't be told and are left out.
        rng: seeds the sampler, so the same state gives the same proposal.
        complete: whether a trial is told with the parameters that its recipe doesn't
            have, drawn at random, too: for samplers that need all of them.
        marks: optuna's system attributes of every finished trial.
    """
    import optuna

    space = _Space(tuple(recipes))
    seed = int(rng.integers(2**31))
    fill = rng if complete else None
    places = [space.locate(trial.steps) for trial in history.trials]
    told = [
        (trial, place)
        for trial, place in zip(history.trials, places, strict=True)
        if place is not None
    ]
    trials = [trial for trial, _ in told]
    losses = _losses(history.objectives, trials)
    violations = _violations(history, trials)
    with _quiet():
        study = optuna.create_study(
            directions=["minimize"] * len(history.objectives), sampler=build(seed)
        )
        for row, (_, place) in enumerate(told):
            study.add_trial(
                optuna.create_trial(
                    values=[float(v) for v in losses[row]],
                    constraints={"budget": violations[row]},
                    system_attrs=dict(marks or {}),
                    **space.point(place, fill),
                )
            )
        for under_way in map(space.locate, history.pending):
            if under_way is not None:
                running = optuna.trial.TrialState.RUNNING
                point = space.point(under_way, fill)
                study.add_trial(optuna.create_trial(state=running, **point))
        return space.ask(study.ask())


@dataclass(frozen=True)
class _Place:
    """Which recipe, and its searched values by the name of the parameter."""

    index: int
    values: Mapping[str, Any]


class _Space:
    """All that the recipes span, in optuna's terms."""

    def __init__(self, recipes: tuple[Recipe, ...]) -> None:
        self._recipes = recipes
        self._names = [_names(recipe) for recipe in recipes]
        self._genes = [
            {
                names[key]: _Gene(domain)
                for key, domain in recipe.space.items()
                if not isinstance(domain, Text)
            }
            for recipe, names in zip(recipes, self._names, strict=True)
        ]

    def locate(self, steps: Steps) -> _Place | None:
        """Where these bound steps are; None if no recipe gives them."""
        for index, recipe in enumerate(self._recipes):
            if (values := _values(recipe, steps)) is not None:
                names = self._names[index]
                return _Place(index, {names[k]: v for k, v in values.items()})
        return None

    def point(self, place: _Place, fill: np.random.Generator | None) -> dict[str, Any]:
        """Arguments of `optuna.create_trial`."""
        genes = self._genes[place.index]
        params = {n: g.encode(place.values[n]) for n, g in genes.items()}
        if fill is not None:
            others = {n: g for one in self._genes for n, g in one.items()}
            others = {n: g for n, g in others.items() if n not in genes}
            params |= {n: g.encode(g.domain.sample(fill)) for n, g in others.items()}
            genes = {**genes, **others}
        return {
            "params": {_RECIPE: place.index, **params},
            "distributions": {_RECIPE: _categories(len(self._recipes))}
            | {n: g.distribution() for n, g in genes.items()},
        }

    def ask(self, trial: optuna.Trial) -> Recipe:
        """The recipe that the study's sampler proposes, bound."""
        index: int = trial.suggest_categorical(_RECIPE, range(len(self._recipes)))
        recipe, names = self._recipes[index], self._names[index]
        chosen = {n: g.ask(trial, n) for n, g in self._genes[index].items()}
        return recipe.bind(
            {
                key: domain.example if isinstance(domain, Text) else chosen[names[key]]
                for key, domain in recipe.space.items()
            }
        )


@dataclass(frozen=True)
class _Gene:
    """One searched parameter, as a number that optuna's distributions hold."""

    domain: Real | Integer | Choice

    def distribution(self) -> Any:
        from optuna.distributions import FloatDistribution, IntDistribution

        match self.domain:
            case Real(low, high, log):
                return FloatDistribution(low, high, log=log)
            case Integer(low, high, log):
                return IntDistribution(low, high, log=log)
            case Choice(options) if _ordered(options):
                return IntDistribution(0, len(options) - 1)
            case Choice(options):
                return _categories(len(options))

    def ask(self, trial: optuna.Trial, name: str) -> Any:
        """The value that the sampler proposes."""
        match self.domain:
            case Real(low, high, log):
                return trial.suggest_float(name, low, high, log=log)
            case Integer(low, high, log):
                return trial.suggest_int(name, low, high, log=log)
            case Choice(options) if _ordered(options):
                return options[trial.suggest_int(name, 0, len(options) - 1)]
            case Choice(options):
                return options[trial.suggest_categorical(name, range(len(options)))]

    def encode(self, value: Any) -> Any:
        if isinstance(self.domain, Choice):
            options = self.domain.options
            return next(i for i, o in enumerate(options) if _alike(o, value))
        return value


def _ordered(options: tuple[Any, ...]) -> bool:
    """Whether they are steps on a scale, such as 0.3, 0.35, 0.4.

    What holds for one then nearly holds for the next, which a sampler would have to
    learn anew for each option of an unordered parameter.
    """
    numbers = all(type(o) in (int, float) for o in options)
    return numbers and list(options) == sorted(options)


def _alike(one: Any, other: Any) -> bool:
    """Equality where 1 and 1.0 are the same, and 1 and True aren't."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _categories(count: int) -> Any:
    from optuna.distributions import CategoricalDistribution

    return CategoricalDistribution(range(count))


def _names(recipe: Recipe) -> dict[str, str]:
    """By key of the recipe's space, the name of the parameter across recipes."""
    names: dict[str, str] = {}
    for key, domain in recipe.space.items():
        name = f"{key.partition('.')[2]} {canonical(domain.to_json())}"
        # A technique that comes twice has its parameters twice.
        while name in names.values():
            name += "'"
        names[key] = name
    return names


def _values(recipe: Recipe, steps: Steps) -> dict[str, Any] | None:
    if len(recipe.steps) != len(steps):
        return None
    values: dict[str, Any] = {}
    for index, (step, record) in enumerate(zip(recipe.steps, steps, strict=True)):
        if record.get("technique") != step.name():
            return None
        for name, wanted in step.parameters().items():
            if name not in record:
                return None
            got = record[name]
            if isinstance(wanted, Choice):
                fits = any(_alike(option, got) for option in wanted.options)
            elif isinstance(wanted, Real | Integer | Text):
                fits = got in wanted
            else:
                fits = _alike(wanted, got)
            if not fits:
                return None
            if isinstance(wanted, Real | Integer | Choice | Text):
                values[f"{index}.{step.name()}.{name}"] = got
    return values


def _losses(objectives: Sequence[Objective], trials: Sequence[Trial]) -> np.ndarray:
    """What to minimise, shape (trials, objectives): ranks from 1 (best) to 2 (worst).

    Ranks keep who dominates whom, and keep one collapsed model, or the units of an
    axis, from deciding what counts as spread. A figure that wasn't taken (a footprint
    that broke the budget was never trained; a failure has none) counts as the worst
    seen: nothing speaks for it.
    """
    losses = np.full((len(trials), len(objectives)), 2.0)
    for column, objective in enumerate(objectives):
        sign = 1.0 if objective.better == "lower" else -1.0
        found = {
            row: sign * trial.values[objective.metric]
            for row, trial in enumerate(trials)
            if objective.metric in trial.measurements
        }
        _, ranks = np.unique(list(found.values()), return_inverse=True)
        worst = max(1, int(ranks.max(initial=0)))
        losses[list(found), column] = 1.0 + ranks / worst
    return losses


def _violations(history: History, trials: Sequence[Trial]) -> list[float]:
    """By how much each trial breaks the budget; above 0 where it does.

    The shares by which limits are missed, added up. Trials that failed are broken
    worse than any other.
    """
    base = history.baseline.values if history.baseline else {}
    found = []
    for trial in trials:
        broken = _BROKEN if trial.state == INFEASIBLE else 0.0
        for constraint in history.budget.constraints:
            value = trial.values.get(constraint.metric)
            known = constraint.metric in base or not constraint.relation
            if value is not None and known and not constraint.met(value, base):
                limit = constraint.limit(base)
                missed = abs(value - limit) / max(abs(limit), 1e-12)
                broken += max(missed, _BROKEN)
        found.append(broken)
    worst = max(found, default=0.0)
    return [
        worst + 1.0 if trial.state.startswith("failed") else broken
        for broken, trial in zip(found, trials, strict=True)
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """optuna's log at warnings only, and no word on what it calls experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            kind = optuna.exceptions.ExperimentalWarning
            warnings.simplefilter("ignore", kind)
            yield
    finally:
        optuna.logging.set_verbosity(before)
