"""What every sampler promises."""

import random
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paretune.catalog import SAMPLERS
from paretune.core.budget import Budget
from paretune.core.strategy import History, Objective
from tests.automation.histories import OBJECTIVES, SPACES, random_history

samplers = pytest.mark.parametrize("name", SAMPLERS)
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


@samplers
@few
@given(
    space=st.sampled_from(sorted(SPACES)),
    seed=st.integers(0, 2**20),
    count=st.integers(0, 30),
    axes=st.integers(1, 3),
)
def test_proposals_are_bound_and_inside_the_domains(name, space, seed, count, axes):
    recipes = SPACES[space]
    objectives = (*OBJECTIVES, Objective("latency_p50", "lower"))[:axes]
    history = random_history(recipes, seed, count, objectives)
    recipe = SAMPLERS[name]().next(recipes, history, np.random.default_rng(seed))
    assert any(is_bound_version(recipe, free) for free in recipes)


@samplers
@few
@given(seed=st.integers(0, 2**20), count=st.integers(0, 30))
def test_the_same_history_and_generator_give_the_same_proposal(name, seed, count):
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
    proposals = {
        SAMPLERS[name]().next(recipes, history, np.random.default_rng(seed)).digest
        for seed in range(10)
    }
    assert len(proposals) > 5


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


@samplers
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
