"""How a history becomes an optuna study."""

import subprocess
import sys

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.automation.samplers import _optuna, _outcomes, _space
from paretune.core.budget import Budget
from paretune.core.recipe import Recipe
from paretune.core.space import Choice, Integer, Real, Text
from paretune.core.strategy import History, Objective
from tests.automation.histories import FREE, OBJECTIVES, SPACES, Thinning, trial


class Spy(optuna.samplers.RandomSampler):
    """Keeps the study that it is asked about."""

    study = None

    def infer_relative_search_space(self, study, trial):
        self.study = study
        return {}


def study_of(recipes, history, **options):
    spy = Spy(seed=0)
    _optuna.propose(
        lambda seed: spy, recipes, history, np.random.default_rng(0), **options
    )
    return [t for t in spy.study.trials if t.state != optuna.trial.TrialState.WAITING][
        :-1  # the last is the one that was asked for
    ]


def bound(recipe, **values):
    return tuple(
        recipe.bind({k: values[k.rpartition(".")[2]] for k in recipe.space}).to_json()
    )


def share(told):
    (value,) = (v for k, v in told.params.items() if "share" in k)
    return value


FILL = lambda domain: domain.sample(np.random.default_rng(0))  # noqa: E731
NARROW = Recipe((Thinning(share=Real(0.0, 1.0)),))
BASE = trial(0, (), {"accuracy": 0.9, "size": 1000.0})


def told(*trials, require="size<=baseline/2, accuracy>=baseline-10pt"):
    budget = Budget.parse(require, ["accuracy"])
    history = History(OBJECTIVES, (BASE, *trials), (), budget)
    return study_of((NARROW,), history)


def test_no_trial_of_the_space_is_dropped_whatever_became_of_it():
    outcomes = ["ok", "infeasible", "failed:nan", "failed:crash(SIGSEGV)", "stopped"]
    figures = {
        "ok": {"accuracy": 0.9, "size": 400.0},
        "infeasible": {"size": 900.0},
        "stopped": {"size": 300.0},
    }
    trials = [
        trial(n, bound(NARROW, share=n / 10), figures.get(state, {}), state)
        for n, state in enumerate(outcomes, 1)
    ]
    study = told(*trials)
    assert [round(share(t), 1) for t in study] == [0.1, 0.2, 0.3, 0.4, 0.5]
    violations = [t.constraints["budget"] for t in study]
    assert violations[0] == 0
    assert violations[1] == pytest.approx(0.8)
    assert violations[2] == violations[3] > max(violations[:2])  # worse than any
    assert violations[4] == 0
    assert study[1].values[0] == 2.0  # never trained: as bad as the worst seen


def test_an_infeasible_trial_counts_as_such_even_if_its_figures_say_otherwise():
    study = told(trial(1, bound(NARROW, share=0.1), {"size": 100.0}, "infeasible"))
    assert study[0].constraints["budget"] > 0


def test_trials_outside_the_space_are_left_out():
    other = Recipe((Thinning(share=0.2, rounds=9),)).to_json()
    assert told(trial(1, other, {"accuracy": 0.9, "size": 1.0})) == []


def test_limits_that_lean_on_a_figure_the_baseline_lacks_are_not_judged():
    history = History(
        OBJECTIVES,
        (trial(1, bound(NARROW, share=0.1), {"accuracy": 0.9, "size": 5e6}),),
        (),
        Budget.parse("size<=baseline/2", []),
    )
    assert study_of((NARROW,), history)[0].constraints["budget"] == 0
    absolute = History(
        OBJECTIVES, history.trials, (), Budget.parse("size<=1MB", ["accuracy"])
    )
    assert study_of((NARROW,), absolute)[0].constraints["budget"] == pytest.approx(4.0)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1, 1e6)), min_size=1, max_size=12))
def test_losses_keep_who_dominates_whom(figures):
    trials = [
        trial(n, (), {"accuracy": a, "size": s}) for n, (a, s) in enumerate(figures, 1)
    ]
    losses = _outcomes.losses(History(OBJECTIVES, tuple(trials)), trials)
    assert ((losses >= 1) & (losses <= 2)).all()
    for i, (accuracy, size) in enumerate(figures):
        for j, (other, larger) in enumerate(figures):
            assert (accuracy > other) == (losses[i, 0] < losses[j, 0])
            assert (size < larger) == (losses[i, 1] < losses[j, 1])


def test_recipes_share_parameters_of_the_same_technique_and_domain():
    recipes = (
        Recipe((Thinning(share=Real(0.0, 1.0)), Thinning(rounds=Integer(1, 9)))),
        Recipe((Thinning(rounds=3, share=Real(0.0, 1.0)),)),
        Recipe((Thinning(share=Real(0.0, 0.5)),)),
    )
    shares = [
        name
        for recipe in recipes
        for name in _space.names(recipe).values()
        if "share" in name
    ]
    assert shares[0] == shares[1] != shares[2]
    twice = _space.names(Recipe((FREE, FREE)))
    assert len(set(twice.values())) == len(twice)


def test_told_in_full_every_trial_has_every_parameter():
    recipes = SPACES["mixed"]
    trials = tuple(
        trial(n, tuple(r.bind({k: d.sample(np.random.default_rng(0)) for k, d in
              r.space.items()}).to_json()), {"accuracy": 0.5, "size": 1.0})
        for n, r in enumerate(recipes, 1)
    )  # fmt: skip
    history = History(OBJECTIVES, trials)
    full = study_of(recipes, history, fill=FILL, marks={"mark": 1})
    assert len({frozenset(t.params) for t in full}) == 1
    assert all(t.system_attrs["mark"] == 1 for t in full)
    bare = study_of(recipes, history)
    assert len({len(t.params) for t in bare}) > 1


def test_what_is_under_way_is_told_as_running():
    history = History(OBJECTIVES, (BASE,), (bound(NARROW, share=0.25),))
    (running,) = study_of((NARROW,), history)
    assert running.state == optuna.trial.TrialState.RUNNING


@pytest.mark.parametrize("value", ["plain", 3, True])
def test_values_survive_the_way_there_and_back(value):
    gene = _optuna._Gene(Choice(("plain", "fancy", 3, True, 1)))
    number = gene.encode(value)
    fixed = optuna.trial.FixedTrial({"x": number})
    got = gene.ask(fixed, "x")
    assert got == value
    assert type(got) is type(value)


def test_steps_on_a_scale_are_ordered_and_words_are_not():
    scale = _optuna._Gene(Choice((0.3, 0.35, 0.4))).distribution()
    words = _optuna._Gene(Choice(("minmax", "entropy"))).distribution()
    flags = _optuna._Gene(Choice((False, True))).distribution()
    assert isinstance(scale, optuna.distributions.IntDistribution)
    assert isinstance(words, optuna.distributions.CategoricalDistribution)
    assert isinstance(flags, optuna.distributions.CategoricalDistribution)


def test_free_text_is_not_searched():
    recipe = Recipe((Thinning(note=Text("as said")),))
    history = History((Objective("accuracy", "higher"),))
    for seed in range(3):
        got = _optuna.propose(
            lambda s: optuna.samplers.RandomSampler(seed=s),
            (recipe,),
            history,
            np.random.default_rng(seed),
        )
        assert got.to_json()[0]["note"] == "as said"


def test_optunas_log_level_is_put_back():
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        told()
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(optuna.logging.INFO)


def test_optuna_is_imported_only_when_something_is_proposed():
    code = (
        "import sys; from paretune.catalog import SAMPLERS;"
        "[SAMPLERS[n]() for n in SAMPLERS]; sys.exit('optuna' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
