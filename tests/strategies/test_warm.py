"""Recipes of earlier studies: which ones, in what order, and how they are adapted."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from paretune.automation.samplers.random_search import RandomSearch
from paretune.core.recipe import Recipe
from paretune.core.strategy import History, Objective
from paretune.core.study import Study
from paretune.core.target import Target
from paretune.frontier import frontier
from paretune.strategies._warm import WarmStart, adapted, alternated, spread
from paretune.strategies.shrink_and_improve import ShrinkAndImprove
from tests.automation.histories import OBJECTIVES, Thinning, search, trial


def study(*figures):
    trials = [trial(0, (), {"accuracy": 0.9, "size": 1000.0})]
    for number, (accuracy, size) in enumerate(figures, 1):
        steps = (Thinning(share=number / 100).to_json(),)
        trials.append(trial(number, steps, {"accuracy": accuracy, "size": size}))
    return Study(
        "before", "toy", {"accuracy": "higher"}, Target(), "sweep", OBJECTIVES,
        trials=tuple(trials),
    )  # fmt: skip


def test_the_first_few_stand_for_the_whole_frontier():
    found = study((0.9, 500.0), (0.895, 480.0), (0.85, 100.0), (0.5, 900.0))
    order = [t.number for t in spread(found)]
    assert order[0] == 3  # its own box is the largest
    assert order.index(2) > 0
    assert 4 not in order and 0 not in order
    assert set(order) == {t.number for t in frontier(found).members} - {0}


def test_a_study_that_found_nothing_gives_nothing():
    assert spread(study()) == []


def test_trainings_become_as_long_as_this_searchs_and_all_else_stays():
    steps = [
        {"technique": "structured_pruning", "ratio": 0.5},
        {"technique": "distillation", "epochs": 10, "learning_rate": 0.002},
        {"technique": "fine_tuning", "epochs": 5},
        {"technique": "distillation", "epochs": 2},
    ]
    found = adapted(steps, 10, 30)
    assert [s.get("epochs") for s in found] == [None, 30, 15, 6]
    assert found[0] == steps[0] and found[1]["learning_rate"] == 0.002
    assert steps[1]["epochs"] == 10


@given(st.integers(1, 100), st.integers(1, 60), st.integers(1, 60))
def test_a_training_never_vanishes(epochs, then, now):
    (step,) = adapted([{"technique": "fine_tuning", "epochs": epochs}], then, now)
    assert step["epochs"] >= 1
    (usual,) = adapted([{"technique": "fine_tuning", "epochs": then}], then, now)
    assert usual["epochs"] == now


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=4))
def test_studies_take_turns_and_nothing_is_lost(lists):
    assert sorted(alternated(lists)) == sorted(n for one in lists for n in one)


def test_what_was_taken_over_comes_first_and_then_the_strategy_goes_on():
    lead = tuple(Recipe((Thinning(share=s),)) for s in (0.5, 0.25))
    inner = ShrinkAndImprove(sampler=RandomSearch())
    warm = WarmStart(inner, lead)
    figures = {"accuracy": 0.9, "size": 1e6, "latency_p50": 1e-3}
    history = search(warm.next, lambda steps: figures, 6)
    steps = [list(t.steps) for t in history.trials[1:]]
    assert steps[:2] == [r.to_json() for r in lead]
    cold = search(inner.next, lambda steps: figures, 4)
    assert steps[2:] != [] and steps[2] == list(cold.trials[1].steps)
    assert warm.recipes() == inner.recipes()


def test_a_recipe_that_was_tried_is_passed_over():
    lead = (Recipe((Thinning(share=0.5),)),)
    done = trial(1, lead[0].to_json(), {"accuracy": 0.9})
    history = History((Objective("accuracy", "higher"),), (done,))
    warm = WarmStart(ShrinkAndImprove(sampler=RandomSearch()), lead)
    assert warm.next(history, np.random.default_rng(0)) != lead[0]
