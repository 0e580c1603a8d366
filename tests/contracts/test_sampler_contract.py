"""What every sampler promises."""

import random
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paretune.catalog import SAMPLERS
from paretune.core.budget import Budget
from paretune.core.recipe import Recipe
from paretune.core.space import Real
from paretune.core.strategy import History, Objective, told
from paretune.core.trial import Trial
from tests.automation.histories import OBJECTIVES, SPACES, Thinning, random_history

SLOW = "gaussian_process"  # a proposal takes seconds: it gets a case of each kind
samplers = pytest.mark.parametrize("name", SAMPLERS)
quick = pytest.mark.parametrize("name", [n for n in SAMPLERS if n != SLOW])
few = settings(max_examples=25, suppress_health_check=list(HealthCheck), deadline=None)


def is_bound_version(recipe, free):
    """Whether `recipe` is `free` with a value of the domain in each domain's place."""
    if recipe.space or len(recipe.steps) != len(free.steps):
        return False
    got, wanted = recipe.to_json(), free.to_json()
    if any(g["technique"] != w["technique"] for g, w in zip(got, wanted, strict=True)):
        return False
    for index, (step, record) in enumerate(zip(free.steps, got, strict=True)):
        for name, value in step.parameters().items():
            domain = free.space.get(f"{index}.{step.name()}.{name}")
            if domain is None and record[name] != value:
                return False
            if domain is not None and record[name] not in domain:
                options = getattr(domain, "options", ())
                if float not in map(type, options) or record[name] not in options:
                    return False
    return True


@quick
@few
@given(
    space=st.sampled_from(sorted(SPACES)),
    seed=st.integers(0, 2**20),
    count=st.integers(0, 30),
    axes=st.integers(1, 3),
)
def test_proposals_are_bound_and_inside_the_domains(name, space, seed, count, axes):
    check_proposal(name, space, seed, count, axes)


@pytest.mark.parametrize(
    ("space", "axes"), [("mixed", 3), ("one", 1), ("bound", 2), ("narrow", 2)]
)
def test_the_slow_one_proposes_inside_the_domains_too(space, axes):
    check_proposal(SLOW, space, 1, 16, axes)


def check_proposal(name, space, seed, count, axes):
    recipes = SPACES[space]
    objectives = (*OBJECTIVES, Objective("latency_p50", "lower"))[:axes]
    history = random_history(recipes, seed, count, objectives)
    recipe = SAMPLERS[name]().next(recipes, history, np.random.default_rng(seed))
    assert any(is_bound_version(recipe, free) for free in recipes)


@quick
@few
@given(seed=st.integers(0, 2**20), count=st.integers(0, 30))
def test_the_same_history_and_generator_give_the_same_proposal(name, seed, count):
    check_repeats(name, seed, count)


def test_the_slow_one_repeats_itself_too():
    check_repeats(SLOW, 3, 14)


def check_repeats(name, seed, count):
    recipes = SPACES["mixed"]
    history = random_history(recipes, seed, count)
    random.seed(1)
    np.random.seed(1)
    first = SAMPLERS[name]().next(recipes, history, np.random.default_rng(seed))
    random.seed(2)
    np.random.seed(2)
    second = SAMPLERS[name]().next(recipes, history, np.random.default_rng(seed))
    assert first.to_json() == second.to_json()
    assert first.digest == second.digest


@samplers
def test_other_generators_give_other_proposals(name):
    recipes = SPACES["one"]
    history = random_history(recipes, 0, 12)
    seeds = 4 if name == SLOW else 10
    proposals = {
        SAMPLERS[name]().next(recipes, history, np.random.default_rng(seed)).digest
        for seed in range(seeds)
    }
    assert len(proposals) > seeds / 2


@samplers
def test_the_global_generators_are_left_alone(name):
    history = random_history(SPACES["mixed"], 0, 20)
    random.seed(4)
    np.random.seed(4)
    wanted = random.random(), np.random.random()
    random.seed(4)
    np.random.seed(4)
    SAMPLERS[name]().next(SPACES["mixed"], history, np.random.default_rng(0))
    assert (random.random(), np.random.random()) == wanted


@samplers
def test_nothing_known_and_nothing_but_failures_will_do(name):
    recipes = SPACES["mixed"]
    for history in (
        History(OBJECTIVES),
        History(OBJECTIVES, budget=Budget.parse("size<=baseline/2", [])),
    ):
        assert SAMPLERS[name]().next(recipes, history, np.random.default_rng(0))
    failures = random_history(recipes, 3, 60)
    failed = tuple(t for t in failures.trials if t.state == "failed:nan")
    assert SAMPLERS[name]().next(
        recipes, History(OBJECTIVES, failed), np.random.default_rng(0)
    )


@quick
def test_a_proposal_costs_little_after_a_hundred_trials(name):
    recipes = SPACES["mixed"]
    history = random_history(recipes, 0, 100)
    sampler = SAMPLERS[name]()
    sampler.next(recipes, history, np.random.default_rng(0))
    begin = time.process_time()
    for seed in range(5):
        sampler.next(recipes, history, np.random.default_rng(seed))
    # 50 ms on an idle machine; processor time grows when neighbours crowd the cache.
    assert (time.process_time() - begin) / 5 < 0.25


@pytest.mark.parametrize("name", ["random_search", "regularized_evolution"])
def test_ten_thousand_trials_make_it_no_slower(name):
    recipes = SPACES["mixed"]
    long = random_history(recipes, 0, 10_000)
    tried = frozenset(told(t.steps) for t in long.trials)

    def seconds(history):
        sampler, begin = SAMPLERS[name](), time.process_time()
        for seed in range(30):
            sampler.next(recipes, history, np.random.default_rng(seed))
        return time.process_time() - begin

    short = replace(long, trials=long.trials[-200:], tried=tried)
    seconds(short)
    assert seconds(replace(long, tried=tried)) < 3 * seconds(short) + 0.1


@samplers
def test_what_only_one_recipe_has_is_given_to_that_one_alone(name):
    with_it = Recipe((Thinning(share=Real(0.0, 1.0)), Thinning(step=Real(0.0, 1.0))))
    without = Recipe((Thinning(share=Real(0.0, 1.0)),))
    history = random_history((with_it, without), 2, 12)
    for seed in range(2 if name == SLOW else 20):
        recipe = SAMPLERS[name]().next(
            (with_it, without), history, np.random.default_rng(seed)
        )
        first = recipe.to_json()[0]
        assert first["step"] == 0.5
        assert len(recipe.steps) == 1 or recipe.to_json()[1]["share"] == 0.5


@samplers
@pytest.mark.parametrize("state", ["halted", "infeasible"])
def test_trials_without_all_of_their_figures_will_do(name, state):
    """Halted ones have quality at a rung, ones left for a prediction none at all."""
    recipes = SPACES["mixed"]
    known = random_history(recipes, 0, 14)
    rung = {"share": 0.3, "epochs": 2, "quality": {"accuracy": 0.7}, "seconds": 1.0}
    measured = (
        {} if state == "infeasible" else {"size": known.trials[1].measurements["size"]}
    )
    bare = tuple(
        Trial(
            20 + n,
            t.steps,
            state,
            measured,
            rungs=(rung,) if state == "halted" else (),
            error="predicted to miss size<=baseline/2",
        )
        for n, t in enumerate(known.trials[1:6])
    )
    for trials in ((known.trials[0], *bare), (*known.trials, *bare)):
        history = replace(known, trials=trials)
        recipe = SAMPLERS[name]().next(recipes, history, np.random.default_rng(0))
        assert any(is_bound_version(recipe, free) for free in recipes)
