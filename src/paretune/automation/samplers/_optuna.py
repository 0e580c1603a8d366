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

from paretune.automation.samplers._outcomes import losses, violations
from paretune.automation.samplers._space import Place, Places, alike, ordered
from paretune.core.recipe import Recipe
from paretune.core.space import Choice, Domain, Integer, Real, Text
from paretune.core.strategy import History

if TYPE_CHECKING:
    import optuna

Fill = Callable[[Domain], Any]

_RECIPE = "recipe"


def propose(
    build: Callable[[int], optuna.samplers.BaseSampler],
    recipes: Sequence[Recipe],
    history: History,
    rng: np.random.Generator,
    *,
    fill: Fill | None = None,
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
        fill: gives values for the parameters that a trial's recipe doesn't have, for
            samplers that need all of them; None: a trial is told with its own alone.
        marks: optuna's system attributes of every finished trial.
    """
    import optuna

    space = _Space(recipes)
    seed = int(rng.integers(2**31))
    places = [space.locate(trial.steps) for trial in history.trials]
    told = [
        (trial, place)
        for trial, place in zip(history.trials, places, strict=True)
        if place is not None
    ]
    trials = [trial for trial, _ in told]
    ranked = losses(history, trials)
    broken = violations(history, trials)
    limited = bool(history.budget.constraints) or max(broken, default=0.0) > 0
    with _quiet():
        study = optuna.create_study(
            directions=["minimize"] * len(history.objectives), sampler=build(seed)
        )
        for row, (_, place) in enumerate(told):
            study.add_trial(
                optuna.create_trial(
                    values=[float(v) for v in ranked[row]],
                    constraints={"budget": broken[row]} if limited else None,
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


class _Space(Places):
    """All that the recipes span, in optuna's terms."""

    def __init__(self, recipes: Sequence[Recipe]) -> None:
        super().__init__(recipes)
        self._genes = [
            {
                known[key]: _Gene(domain)
                for key, domain in recipe.space.items()
                if not isinstance(domain, Text)
            }
            for recipe, known in zip(self.recipes, self.names, strict=True)
        ]

    def point(self, place: Place, fill: Fill | None) -> dict[str, Any]:
        """Arguments of `optuna.create_trial`."""
        genes = self._genes[place.index]
        params = {n: g.encode(place.values[n]) for n, g in genes.items()}
        if fill is not None:
            others = {n: g for one in self._genes for n, g in one.items()}
            others = {n: g for n, g in others.items() if n not in genes}
            params |= {n: g.encode(fill(g.domain)) for n, g in others.items()}
            genes = {**genes, **others}
        return {
            "params": {_RECIPE: place.index, **params},
            "distributions": {_RECIPE: _categories(len(self.recipes))}
            | {n: g.distribution() for n, g in genes.items()},
        }

    def ask(self, trial: optuna.Trial) -> Recipe:
        """The recipe that the study's sampler proposes, bound."""
        index: int = trial.suggest_categorical(_RECIPE, range(len(self.recipes)))
        recipe, names = self.recipes[index], self.names[index]
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
            case Choice(options) if ordered(options):
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
            case Choice(options) if ordered(options):
                return options[trial.suggest_int(name, 0, len(options) - 1)]
            case Choice(options):
                return options[trial.suggest_categorical(name, range(len(options)))]

    def encode(self, value: Any) -> Any:
        if isinstance(self.domain, Choice):
            options = self.domain.options
            return next(i for i, o in enumerate(options) if alike(o, value))
        return value


def _categories(count: int) -> Any:
    from optuna.distributions import CategoricalDistribution

    return CategoricalDistribution(range(count))


@contextmanager
def _quiet() -> Iterator[None]:
    """optuna's log at errors only, and no word on what it calls experimental."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            kind = optuna.exceptions.ExperimentalWarning
            warnings.simplefilter("ignore", kind)
            yield
    finally:
        optuna.logging.set_verbosity(before)
