"""The best setting beside the baseline and the default, a tie where it is one."""

import numpy as np
import pytest

from paretune.core.errors import StoreError
from paretune.core.measurement import Measurement
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.target import Target
from paretune.core.trial import Trial
from paretune.learning.fine_tuning import FineTuning
from paretune.report import table, tuned
from paretune.report.records import records


def judged(number, right, step=None, state="ok"):
    scores = tuple([1.0] * right + [0.0] * (1000 - right))
    taken = Measurement(
        "accuracy", "1", "higher", scores, "samples", split="validation"
    )
    steps = () if step is None else (step.to_json(),)
    return Trial(number, steps, state, {"accuracy": taken} if right else {})


def study(*trials):
    axes = (Objective("accuracy", "higher"),)
    return Study(
        "t", "toy", {"accuracy": "higher"}, Target(), "tune", axes, trials=trials
    )


DEFAULT = FineTuning(epochs=2)
OTHER = FineTuning(epochs=2, learning_rate=3e-3)


def test_the_best_is_compared_with_the_baseline_and_the_default():
    found = study(judged(0, 800), judged(1, 850, DEFAULT), judged(2, 900, OTHER))
    told = tuned.record(found)
    assert told["best"]["trial"] == 2 and told["tried"] == 2
    assert told["best"]["recipe"][0]["learning_rate"] == 3e-3
    assert told["against_baseline"]["value"] == pytest.approx(0.1)
    assert told["against_default"]["value"] == pytest.approx(0.05)
    assert told["against_default"]["verdict"] == "better"
    low, high = (told["against_default"][k] for k in ("low", "high"))
    assert 0 < low < 0.05 < high
    said = "\n".join(tuned.lines(found))
    assert "learning_rate 0.003" in said and "looks better there than it is" in said
    assert "--certify" in said


def test_a_difference_that_could_be_chance_is_a_tie():
    found = study(judged(0, 900), judged(1, 900, DEFAULT), judged(2, 901, OTHER))
    told = tuned.record(found)
    assert told["against_baseline"]["verdict"] == "tie"
    assert told["against_default"]["verdict"] == "tie"
    assert "a tie" in "\n".join(tuned.lines(found))


def test_the_default_itself_may_be_the_best():
    found = study(judged(0, 800), judged(1, 900, DEFAULT), judged(2, 850, OTHER))
    assert tuned.record(found)["against_default"] is None
    assert "default setting itself" in "\n".join(tuned.lines(found))


def test_without_a_judged_trial_there_is_no_best():
    with pytest.raises(StoreError, match="no trial of study 't'"):
        tuned.best(study(judged(0, 800), judged(1, 0, OTHER, "failed:nan")))


def test_one_objective_goes_through_the_table_and_the_record():
    found = study(judged(0, 800), judged(1, 850, DEFAULT), judged(2, 900, OTHER))
    assert "fine tuning" in table.plain(found)
    told = records(found)
    assert [m["id"] for m in told["members"]] == ["2"]
    assert np.isfinite(told["hypervolume"]) and told["hypervolume"] > 1


def test_halted_settings_were_judged_too_and_are_never_the_best():
    halted = judged(2, 950, OTHER, "halted")
    found = study(judged(0, 800), judged(1, 850, DEFAULT), halted)
    told = tuned.record(found)
    assert told["best"]["trial"] == 1 and told["tried"] == 2
    assert "no other that trained to its end" in "\n".join(tuned.lines(found))
