"""Samplers against drawing at random, on a problem with a clear answer."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.automation._outlook import outlook
from paretune.automation.samplers._outcomes import losses, violations
from paretune.automation.samplers.gaussian_process import GaussianProcess
from paretune.automation.samplers.nsga2 import NSGA2
from paretune.automation.samplers.random_search import RandomSearch
from paretune.automation.samplers.regularized_evolution import (
    RegularizedEvolution,
    _other,
)
from paretune.automation.samplers.tpe import TPE
from paretune.core.budget import Budget
from paretune.core.recipe import Recipe
from paretune.core.space import Choice, Integer, Real
from paretune.core.strategy import History, Objective
from tests.automation.histories import (
    OBJECTIVES,
    SPACES,
    Thinning,
    random_history,
    search,
    trial,
)

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


LIMITS = "size<=baseline/8, accuracy>=baseline-40pt"


def within(history):
    """The hypervolume of (lost accuracy, log size) inside `LIMITS`."""
    base = history.baseline.values
    points = sorted(
        (math.log(t.values["size"] / 100), 1 - t.values["accuracy"])
        for t in history.trials
        if t.number and history.budget.meets(t.values, base)
    )
    total, least, largest = 0.0, 0.4, math.log(1 / 8)
    for size, hurt in points:
        if hurt < least:
            total += (largest - size) * (least - hurt)
            least = hurt
    return total


def volumes(sampler, runs):
    return [
        within(
            search(
                lambda h, rng: sampler.next(RECIPES, h, rng),
                outcome,
                60,
                seed,
                require=LIMITS,
            )
        )
        for seed in range(runs)
    ]


@pytest.mark.parametrize(
    ("sampler", "runs"), [(TPE(), 4), (NSGA2(), 8), (RegularizedEvolution(), 12)]
)
def test_each_beats_drawing_at_random_where_a_budget_binds(sampler, runs):
    """By more than two standard errors; the Gaussian process is too slow for a test."""
    mine, chance = volumes(sampler, runs), volumes(RandomSearch(), 40)
    noise = math.sqrt(np.var(mine, ddof=1) / runs + np.var(chance, ddof=1) / 40)
    assert np.mean(mine) > np.mean(chance) + 2 * noise


def test_a_gaussian_process_looks_where_it_expects_the_best():
    recipes = (Recipe((Thinning(share=Real(0.0, 1.0)),)),)
    objectives = (Objective("accuracy", "higher"),)

    def hill(steps):
        share = steps[0]["share"] if steps else 0.0
        return {"accuracy": 1 - (share - 0.3) ** 2}

    sampler = GaussianProcess(startup=5)
    found = search(
        lambda h, rng: sampler.next(recipes, h, rng), hill, 14, 0, objectives
    )
    late = [t.steps[0]["share"] for t in found.trials[-4:]]
    assert min(abs(share - 0.3) for share in late) < 0.05


def test_a_halted_trial_counts_with_the_quality_that_it_may_still_reach():
    def rung(quality):
        return ({"share": 0.3, "epochs": 2, "quality": {"accuracy": quality}},)

    base = trial(0, (), {"accuracy": 0.9, "size": 100.0})
    ended = [
        replace(trial(n, (), {"accuracy": 0.8, "size": 50.0}), rungs=rung(0.7))
        for n in (1, 2)
    ]
    halted = replace(trial(3, (), {"size": 40.0}, "halted"), rungs=rung(0.6))
    budget = Budget.parse("accuracy>=baseline-15pt", ["accuracy"])
    history = History(OBJECTIVES, (base, *ended, halted), (), budget)
    (expected,) = outlook(history, [halted])
    assert expected == pytest.approx({"accuracy": 0.7, "size": 40.0})
    assert losses(history, history.trials)[3].tolist() == [2.0, 1.0]
    broken = violations(history, history.trials)
    assert broken[3] == pytest.approx(0.05 / 0.75)
    first = History(OBJECTIVES, (base, halted), (), budget)
    assert outlook(first, [halted])[0]["accuracy"] == 0.6


class TestRegularizedEvolution:
    def history(self, recipes=RECIPES, count=20, seed=3):
        rng = np.random.default_rng(seed)
        done = [trial(0, (), outcome(()))]
        for number in range(1, count + 1):
            steps = tuple(RandomSearch().next(recipes, None, rng).to_json())
            done.append(trial(number, steps, outcome(steps)))
        return History(OBJECTIVES, tuple(done))

    def test_one_thing_changes_about_a_parent_that_is_still_alive(self):
        history = self.history(count=40)
        alive = [t.steps for t in history.trials[-20:]]
        dead = [t.steps for t in history.trials[1:-20]]
        for seed in range(30):
            sampler = RegularizedEvolution(crossing=0.0)
            child = sampler.next(RECIPES, history, np.random.default_rng(seed))
            changes = [self.changed(child.to_json(), steps) for steps in alive]
            assert min(changes) == 1
            assert min(self.changed(child.to_json(), steps) for steps in dead) > 0

    def test_another_recipe_keeps_the_values_that_both_have(self):
        history = self.history()
        for seed in range(30):
            sampler = RegularizedEvolution(crossing=1.0)
            child = sampler.next(RECIPES, history, np.random.default_rng(seed))
            assert any(
                len(t.steps) != len(child.steps) and t.steps[0] == child.to_json()[0]
                for t in history.trials[1:]
            )

    def test_before_there_is_a_population_it_draws_at_random(self):
        history = self.history(count=3)
        mine = RegularizedEvolution().next(RECIPES, history, np.random.default_rng(1))
        chance = RandomSearch().next(RECIPES, history, np.random.default_rng(1))
        assert mine == chance

    @given(seed=st.integers(0, 2**20))
    def test_a_changed_value_is_another_one_of_its_domain(self, seed):
        rng = np.random.default_rng(seed)
        for domain in (
            Choice((0.1, 0.2, 0.5)),
            Choice(("plain", "fancy")),
            Choice((1, True)),
            Integer(1, 9),
            Integer(1, 100, log=True),
            Real(0.0, 1.0),
            Real(1e-5, 1e-1, log=True),
        ):
            value = domain.sample(rng)
            other = _other(domain, value, rng)
            assert other in domain
            assert other is not value
            if isinstance(domain, Integer):
                assert other != value

    @staticmethod
    def changed(one, other):
        if len(one) != len(other):
            return 99
        return sum(a[k] != b[k] for a, b in zip(one, other, strict=True) for k in a)
