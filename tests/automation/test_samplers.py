"""TPE and NSGA-II against drawing at random, on a problem with a clear answer."""

import math

import numpy as np
import pytest

from paretune.automation.nsga2 import NSGA2
from paretune.automation.random_search import RandomSearch
from paretune.automation.tpe import TPE
from paretune.core.recipe import Recipe
from paretune.core.space import Choice, Integer, Real
from tests.automation.histories import SPACES, Thinning, random_history, search

FIRST = Thinning(
    share=Choice(tuple(round(0.05 * n, 2) for n in range(1, 20))),
    rate=Real(1e-5, 1e-1, log=True),
    rounds=Integer(1, 100, log=True),
    step=Choice((0.0, 0.25, 0.5, 0.75, 1.0)),
)
RECIPES = (
    Recipe((FIRST,)),
    Recipe((FIRST, Thinning(scheme=Choice(("plain", "fancy"))))),
)


def outcome(steps):
    """Size falls with the share; quality with that and with what is badly set."""
    if not steps:
        return {"accuracy": 1.0, "size": 100.0}
    first = steps[0]
    hurt = 0.3 * first["share"] ** 3
    hurt += 0.1 * abs(math.log10(first["rate"] / 1e-3))
    hurt += 0.1 * abs(math.log10(first["rounds"] / 20))
    hurt += 0.1 * abs(first["step"] - 0.25)
    size = 100 * (1 - 0.9 * first["share"])
    if len(steps) == 2:
        size, hurt = size / 3, hurt + (0.3 if steps[1]["scheme"] == "plain" else 0.01)
    return {"accuracy": 1 - hurt, "size": size}


def hypervolume(history):
    """Of (lost accuracy, log size), up to 0.5 and the baseline's size."""
    points = sorted(
        (math.log(t.values["size"] / 100), 1 - t.values["accuracy"])
        for t in history.trials
    )
    total, least = 0.0, 0.5
    for size, hurt in points:
        if hurt < least and size < 0:
            total += -size * (least - hurt)
            least = hurt
    return total


def mean_hypervolume(sampler, require="", runs=6, trials=40):
    return np.mean(
        [
            hypervolume(
                search(
                    lambda h, rng: sampler.next(RECIPES, h, rng),
                    outcome,
                    trials,
                    seed,
                    require=require,
                )
            )
            for seed in range(runs)
        ]
    )


def test_both_beat_drawing_at_random():
    by_chance = mean_hypervolume(RandomSearch(), runs=12)
    assert mean_hypervolume(TPE()) > 1.1 * by_chance
    by_chance = mean_hypervolume(RandomSearch(), runs=12, trials=80)
    assert mean_hypervolume(NSGA2(), trials=80) > 1.05 * by_chance


@pytest.mark.parametrize("sampler", [TPE(), NSGA2()])
def test_a_budget_draws_the_search_to_what_meets_it(sampler):
    require = "size<=baseline/8"

    def late(one):
        histories = [
            search(
                lambda h, rng: one.next(RECIPES, h, rng),
                outcome,
                30,
                seed,
                require=require,
            )
            for seed in range(4)
        ]
        return np.mean(
            [
                h.budget.meets(t.values, h.baseline.values)
                for h in histories
                for t in h.trials[16:]
            ]
        )

    assert late(sampler) > late(RandomSearch()) + 0.2


def test_random_search_takes_every_recipe_as_often():
    recipes = SPACES["mixed"]
    history = random_history(recipes, 0, 5)
    draws = [
        len(RandomSearch().next(recipes, history, np.random.default_rng(s)).steps)
        for s in range(300)
    ]
    assert 60 < draws.count(2) < 140
