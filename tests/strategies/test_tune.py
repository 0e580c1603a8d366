"""How to train: defaults first, then what the sampler proposes, of the data's kind."""

import numpy as np
import pytest

from paretune.automation.samplers.random_search import RandomSearch
from paretune.core.errors import RecipeError
from paretune.core.strategy import Objective
from paretune.learning.data_augmentation import DataAugmentation
from paretune.learning.fine_tuning import FineTuning
from paretune.strategies.tune import VARIED, Tune
from tests.automation.histories import search

ACCURACY = (Objective("accuracy", "higher"),)


def outcome(steps):
    rate = steps[-1]["learning_rate"] if steps else 1e-5
    return {"accuracy": 0.9 - 0.05 * abs(np.log10(rate / 3e-3)), "size": 1e6}


@pytest.mark.parametrize("kind", ["", *VARIED])
def test_the_defaults_come_first_and_nothing_comes_twice(kind):
    strategy = Tune(sampler=RandomSearch(), epochs=3, kind=kind, classes=True)
    history = search(strategy.next, outcome, 20, objectives=ACCURACY)
    proposed = [t.steps for t in history.trials[1:]]
    assert list(proposed[0]) == [FineTuning(epochs=3).to_json()]
    assert len({str(steps) for steps in proposed}) == 20
    names = {tuple(s["technique"] for s in steps) for steps in proposed}
    assert names <= {("fine_tuning",), ("data_augmentation", "fine_tuning")}
    assert (len(names) == 2) == bool(kind)


@pytest.mark.parametrize("kind", VARIED)
def test_only_what_this_kind_of_data_has_is_varied(kind):
    names = {k.split(".")[2] for r in Tune(kind=kind).recipes() for k in r.space}
    others = {n for k, options in VARIED.items() if k != kind for n in options}
    assert set(VARIED[kind]) <= names
    assert not names & (others - set(VARIED[kind]))


@pytest.mark.parametrize("kind", VARIED)
def test_the_default_settings_lie_in_the_space_that_is_searched(kind):
    for name, options in VARIED[kind].items():
        assert DataAugmentation().parameters()[name] in options
    space = Tune(kind=kind, classes=True).recipes()[0].space
    default = FineTuning().parameters()
    assert all(default[k.split(".")[2]] in domain for k, domain in space.items())


def test_labels_are_smoothed_only_where_there_are_classes():
    free = {k.split(".")[2] for k in Tune().recipes()[0].space}
    assert "label_smoothing" not in free
    assert "0.fine_tuning.label_smoothing" in Tune(classes=True).recipes()[0].space


def test_every_training_starts_as_asked_and_is_as_long_as_asked():
    strategy = Tune(sampler=RandomSearch(), epochs=7, start="fresh", kind="signal")
    history = search(strategy.next, outcome, 8, objectives=ACCURACY)
    trained = [t.steps[-1] for t in history.trials[1:]]
    assert {(s["start"], s["epochs"]) for s in trained} == {("fresh", 7)}


def test_another_start_is_refused_with_those_that_there_are():
    with pytest.raises(RecipeError, match="trained"):
        Tune(start="traind")


def test_its_sampler_finds_the_better_half_of_the_rates():
    strategy = Tune(epochs=3)
    history = search(strategy.next, outcome, 40, objectives=ACCURACY)
    late = [
        abs(np.log10(t.steps[-1]["learning_rate"] / 3e-3)) for t in history.trials[21:]
    ]
    assert np.median(late) < 0.5  # of 3 orders of magnitude
