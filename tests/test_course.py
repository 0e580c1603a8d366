"""What a live search knows is what its store holds, however it came to know it."""

from functools import partial

import pytest

from paretune import studies
from paretune.core.measurement import Measurement
from paretune.core.recipe import Recipe
from paretune.core.target import Target
from paretune.core.trial import STOPPED, Trial
from paretune.core.worker import WorkFailed
from paretune.course import Course
from paretune.frontier import frontier
from paretune.learning.fine_tuning import FineTuning
from paretune.report.verdict import verdict
from paretune.store.artifacts import Artifacts
from paretune.store.trials import Trials
from tests.store.faults import folder

SPEC = {
    "task": "none",
    "metrics": {"accuracy": "higher"},
    "target": Target("null").to_json(),
    "strategy": "none",
    "objectives": [["accuracy", "higher"], ["size", "lower"]],
    "require": "size<=baseline/4",
}


@pytest.fixture
def root():
    with folder() as found:
        Trials.open(found).create_study("s", SPEC)
        yield found


def course(root):
    store = Trials.open(root)
    lease = store.acquire("s", "me")
    read = partial(studies.load_study, "s", store, root)
    return Course(store, Artifacts(root), lease, read)


def recipe(number):
    return Recipe((FineTuning(epochs=number),)) if number else Recipe()


def ended(number, accuracy, size, state="ok"):
    figures = {
        "accuracy": Measurement("accuracy", "1", "higher", (accuracy,), "exact"),
        "size": Measurement("size", "byte", "lower", (size,), "exact"),
    }
    return Trial(number, tuple(recipe(number).to_json()), state, figures)


def run(found, accuracy, size, state="ok"):
    number = len(found.finished)
    claim = found.claim(recipe(number))
    found.finish(claim, ended(claim.number, accuracy, size, state))


def agrees(found):
    """Whether it is all as if it were read from the store just now."""
    whole = found.study()
    told = [t for t in whole.trials if t.state != STOPPED]
    assert found.history().trials == tuple(told)
    assert found.tried == sum(t.number > 0 for t in told)
    assert found.frontier().members == frontier(whole).members
    assert found.best() == verdict(whole)
    assert all(found.history().seen(recipe(t.number)) for t in told)
    assert not found.history().seen(recipe(99))


def test_it_is_kept_up_to_date_trial_by_trial(root):
    found = course(root)
    run(found, 0.9, 1000.0)
    agrees(found)
    for accuracy, size in ((0.8, 500.0), (0.7, 400.0), (0.85, 450.0), (0.6, 249.0)):
        run(found, accuracy, size)
        agrees(found)
    run(found, 0.9, 100.0, "infeasible")
    run(found, 0.9, 100.0, STOPPED)
    agrees(found)
    again = course(root)
    agrees(again)
    assert again.history().trials == found.history().trials


def test_trials_that_end_in_another_order_are_told_by_number(root):
    found = course(root)
    run(found, 0.9, 1000.0)
    first, second = found.claim(recipe(1)), found.claim(recipe(2))
    found.pending |= {1: recipe(1), 2: recipe(2)}
    assert found.history().seen(recipe(1)) and found.history().seen(recipe(2))
    found.finish(second, ended(2, 0.8, 300.0))
    assert [t.number for t in found.history().trials] == [0, 2]
    assert found.history().seen(recipe(1))
    found.finish(first, ended(1, 0.7, 200.0))
    agrees(found)


def test_better_figures_change_the_frontier(root):
    found = course(root)
    run(found, 0.9, 1000.0)
    run(found, 0.8, 200.0)
    run(found, 0.7, 210.0)
    assert [t.number for t in found.frontier().members] == [0, 1]
    better = Measurement("size", "byte", "lower", (190.0,), "exact")
    found.amend(found.finished[2], {"size": better})
    assert [t.number for t in found.frontier().members] == [0, 1, 2]
    agrees(found)


def test_a_trial_that_crashes_too_often_is_one_that_ended(root):
    found = course(root)
    run(found, 0.9, 1000.0)
    claim = found.claim(recipe(1))
    failed = WorkFailed("crash(SIGSEGV)", "crash", "It died.")
    while claim := found.again(claim, failed):
        found.pending[1] = recipe(1)
    assert found.finished[1].state == "failed:crash(SIGSEGV)"
    assert not found.pending
    agrees(found)
