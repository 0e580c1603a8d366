"""Histories of searches that never ran, for tests of samplers and strategies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from paretune.core.budget import Budget
from paretune.core.measurement import Measurement
from paretune.core.recipe import Recipe
from paretune.core.space import Choice, Integer, Real, Text
from paretune.core.strategy import History, Objective
from paretune.core.technique import Technique, param
from paretune.core.trial import Trial

OBJECTIVES = (Objective("accuracy", "higher"), Objective("size", "lower"))
UNITS = {"accuracy": "1", "size": "byte", "latency_p50": "s"}


@dataclass(frozen=True)
class Thinning(Technique):
    """A technique with a parameter of every kind; it does nothing."""

    source: ClassVar[str] = "a test"

    share: float = param(0.5, Real(0.0, 1.0))
    rate: float = param(1e-3, Real(1e-5, 1e-1, log=True))
    rounds: int = param(3, Integer(1, 100, log=True))
    step: float = param(0.5, Real(0.0, 1.0))
    scheme: str = param("plain", Choice(("plain", "fancy", 3, True, None)))
    note: str = param("", Text("note"))


FREE = Thinning(
    share=Real(0.1, 0.9),
    rate=Real(1e-4, 1e-2, log=True),
    rounds=Integer(2, 40, log=True),
    step=Choice((0.1, 0.25, 0.5, 1)),
    scheme=Choice(("plain", "fancy", 3, True)),
    note=Text("anything"),
)
SPACES = {
    "mixed": (
        Recipe((FREE,)),
        Recipe((Thinning(share=Real(0.1, 0.9)), Thinning(share=Real(0.1, 0.9)))),
        Recipe((Thinning(scheme="fancy"),)),
    ),
    "one": (Recipe((FREE, FREE)),),
    "bound": (Recipe((Thinning(rounds=7),)), Recipe((Thinning(rounds=8),))),
    "narrow": (Recipe((Thinning(share=Real(0.5, 0.5), step=Choice((0.5,))),)),),
}

Outcome = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, float]]


def trial(
    number: int,
    steps: Sequence[Mapping[str, Any]],
    values: Mapping[str, float],
    state: str = "ok",
) -> Trial:
    """A finished trial with these figures."""
    measured = {
        name: Measurement(
            name,
            UNITS[name],
            "higher" if name == "accuracy" else "lower",
            (value,),
            "exact",
        )
        for name, value in values.items()
    }
    return Trial(number, tuple(steps), state, measured)


def random_history(
    recipes: Sequence[Recipe],
    seed: int,
    count: int,
    objectives: tuple[Objective, ...] = OBJECTIVES,
    require: str = "size<=baseline/2",
) -> History:
    """`count` trials of every state with figures out of the air, two under way."""
    rng = np.random.default_rng(seed)

    def steps() -> tuple[Mapping[str, Any], ...]:
        recipe = recipes[int(rng.integers(len(recipes)))]
        bound = recipe.bind({k: d.sample(rng) for k, d in recipe.space.items()})
        return tuple(bound.to_json())

    trials = [trial(0, (), {"accuracy": 0.9, "size": 1e6, "latency_p50": 1e-3})]
    for number in range(1, count + 1):
        state = rng.choice(["ok", "ok", "ok", "infeasible", "failed:nan", "stopped"])
        figures = {
            "accuracy": rng.uniform(0.1, 0.95),
            "size": rng.uniform(1e4, 1e6),
            "latency_p50": rng.uniform(1e-4, 1e-3),
        }
        if state == "infeasible":
            del figures["accuracy"]
        if state == "failed:nan":
            figures = {}
        trials.append(trial(number, steps(), figures, str(state)))
    budget = Budget.parse(require, ["accuracy"])
    return History(objectives, tuple(trials), (steps(), steps()), budget)


def search(
    propose: Callable[[History, np.random.Generator], Recipe | None],
    outcome: Outcome,
    trials: int,
    seed: int = 0,
    objectives: tuple[Objective, ...] = OBJECTIVES,
    require: str = "",
) -> History:
    """A search of that many trials, each with the figures that `outcome` gives."""
    done = [trial(0, (), outcome(()))]
    budget = Budget.parse(require, ["accuracy"])
    for number in range(1, trials + 1):
        history = History(objectives, tuple(done), (), budget)
        recipe = propose(history, np.random.default_rng((seed, number)))
        if recipe is None:
            break
        steps = tuple(recipe.to_json())
        done.append(trial(number, steps, outcome(steps)))
    return History(objectives, tuple(done), (), budget)
