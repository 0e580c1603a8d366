"""What explains the trials of a study: it is found, and noise is not."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.measurement import Measurement
from paretune.core.trial import HALTED, INFEASIBLE, Trial
from paretune.report._importance import LEAST, explain, factors, importance
from paretune.report._importanceplot import importances, sentence

SCHEMES = ("static_int8", "dynamic_int8", "float16")


def recipe(rng):
    steps = []
    if rng.random() < 0.7:
        steps.append(
            {
                "technique": "structured_pruning",
                "ratio": round(float(rng.uniform(0.1, 0.9)), 2),
                "scope": str(rng.choice(["uniform", "global"])),
            }
        )
    if rng.random() < 0.6:
        epochs = int(rng.choice([2, 4]))
        steps.append({"technique": "distillation", "epochs": epochs, "alpha": 0.5})
    if rng.random() < 0.7:
        scheme = str(rng.choice(SCHEMES))
        steps.append({"technique": "post_training_quantization", "scheme": scheme})
    return tuple(steps)


def trials(seed, count=16):
    rng = np.random.default_rng(seed)
    return [Trial(n, recipe(rng), "ok") for n in range(count)]


def setting(trial, technique, name, default):
    found = {s["technique"]: s for s in trial.steps}
    return found.get(technique, {}).get(name, default)


@pytest.mark.parametrize("seed", range(4))
def test_a_parameter_that_decides_all_comes_first(seed):
    made = trials(seed)
    ratio = np.array([setting(t, "structured_pruning", "ratio", 0.5) for t in made])
    noise = np.random.default_rng(seed).normal(0, 0.03, len(made))
    found = explain("accuracy", factors(made), ratio + noise)
    assert found.shares[0].name == "structured_pruning.ratio"
    assert found.shares[0].clear and found.shares[0].value > 0.4
    assert not any(s.clear for s in found.shares[2:])
    assert "ratio of structured pruning explains" in sentence(found)


@pytest.mark.parametrize("seed", range(4))
def test_so_does_a_technique_whose_presence_decides(seed):
    made = trials(seed, 20)
    there = [bool(setting(t, "distillation", "epochs", 0)) for t in made]
    noise = np.random.default_rng(seed).normal(0, 0.05, len(made))
    found = explain("accuracy", factors(made), np.array(there, float) + noise)
    assert found.shares[0].name == "distillation" and found.shares[0].clear


def test_noise_stands_out_no_more_often_than_it_may():
    false = 0
    for seed in range(20):
        made = trials(100 + seed)
        values = np.random.default_rng(seed).normal(size=len(made))
        found = explain("accuracy", factors(made), values)
        clear = [s for s in found.shares if s.clear]
        false += bool(clear)
        assert all(
            s.low <= max(s.value, 0.05) and s.low <= s.high for s in found.shares
        )
        assert bool(clear) != ("nothing stands out" in sentence(found))
    assert false <= 3


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100), st.floats(-5, 5))
def test_shares_add_up_and_units_do_not_matter(seed, scale, shift):
    made = trials(seed, 14)
    values = np.random.default_rng(seed).normal(size=len(made))
    found = factors(made)
    one = explain("accuracy", found, values)
    other = explain("accuracy", found, values * scale + shift)
    assert one.explained == pytest.approx(sum(s.value for s in one.shares))
    assert -1e-9 <= one.explained <= 1
    assert {s.name: s.value for s in other.shares} == pytest.approx(
        {s.name: s.value for s in one.shares}, abs=1e-6
    )


def test_techniques_that_always_come_together_are_one_factor():
    both = ({"technique": "a", "x": 1}, {"technique": "b", "y": 1})
    made = [Trial(n, both if n % 2 else (), "ok") for n in range(6)]
    assert [f.name for f in factors(made)] == ["a + b"]


def test_a_parameter_tells_nothing_of_whether_its_technique_is_there():
    for factor in factors(trials(3, 30)):
        if "." in factor.name:
            assert np.allclose(factor.columns.sum(axis=0), 0)


def exact(metric, value):
    unit, better = ("1", "higher") if metric == "accuracy" else ("byte", "lower")
    return Measurement(metric, unit, better, (float(value),), "exact")


def numbered(study, states):
    """A study whose trials have these states, all of them with all figures."""
    rng = np.random.default_rng(0)
    made = [
        Trial(
            n,
            recipe(rng),
            state,
            {m: exact(m, rng.uniform(1, 2)) for m in ("accuracy", "size")},
        )
        for n, state in enumerate(states)
    ]
    return dataclasses.replace(study, trials=tuple(made))


def test_trials_that_did_not_finish_have_no_quality(study):
    states = ["ok"] * LEAST + [HALTED, INFEASIBLE, HALTED]
    found = numbered(study, states)
    assert importance(found, "accuracy").trials == LEAST
    assert importance(found, "size").trials == LEAST + 3


def test_what_was_only_predicted_counts_for_nothing(study):
    found = numbered(study, ["ok"] * LEAST)
    bare = tuple(
        Trial(99 + n, recipe(np.random.default_rng(n)), INFEASIBLE) for n in (1, 2)
    )
    more = dataclasses.replace(found, trials=found.trials + bare)
    assert importance(more, "size") == importance(found, "size")


def test_too_few_trials_are_said_to_be_too_few(study):
    found = numbered(study, ["ok"] * (LEAST - 1))
    assert not importance(found, "accuracy").shares
    assert "Too few trials" in importances(found)
    assert "<svg" not in importances(found)


def test_a_metric_that_never_differs_has_nothing_to_explain(study):
    found = numbered(study, ["ok"] * LEAST)
    same = tuple(
        dataclasses.replace(t, measurements={"accuracy": exact("accuracy", 0.9)})
        for t in found.trials
    )
    found = dataclasses.replace(found, trials=same)
    assert "nothing to explain" in sentence(importance(found, "accuracy"))


def test_the_plot_shows_a_bar_a_factor(study):
    made = importances(study)
    assert made.count("<svg") == 1 and "95 % intervals" in made
    assert "amount of structured pruning" in made


def test_odd_values_of_a_parameter_are_no_trouble():
    odd = ([1, 2], None, True, "a", {"x": 1})
    made = [Trial(n, ({"technique": "a", "x": odd[n % 5]},), "ok") for n in range(15)]
    assert [f.name for f in factors(made)] == ["a.x"]
    unique = [Trial(n, ({"technique": "a", "x": f"{n}"},), "ok") for n in range(15)]
    assert not factors(unique), "a word that is always another foretells nothing"
