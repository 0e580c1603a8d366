"""What a study learns of latencies, and when it passes a structure over."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.budget import Budget
from paretune.core.measurement import Measurement
from paretune.core.recipe import Recipe
from paretune.core.trial import INFEASIBLE, OK, Trial
from paretune.engine.forecasts import Forecasts
from paretune.experiment import SCREENED, Experiment
from paretune.ledger import Ledger
from paretune.store.latencies import Latencies

BASELINE_S = 0.002


def layers(macs):
    return [["convolution", macs, 1000, 100, 100], ["relu", 0, 0, 100, 100]]


def timed(ratio, flags=("screening",), drift=1.0):
    spread = ratio * np.exp([-0.01, 0.01])
    return {
        "macs": Measurement("macs", "1", "lower", (5.0,), "exact"),
        "latency_p50": Measurement(
            "latency_p50",
            "s",
            "lower",
            tuple(spread * BASELINE_S * drift),
            "launches",
            tuple(spread),
            flags=flags,
        ),
    }


def learned(root, count=8, noise=0.03):
    found = Forecasts(Latencies(root), "e", "t")
    rng = np.random.default_rng(1)
    for n in range(count):
        macs = 1000 * (n + 1)
        ratio = macs / 8000 * np.exp(rng.normal(0, noise))
        told = {"layers": layers(macs), "group": "float"}
        found.learn(f"s{n}", told, timed(ratio, drift=rng.uniform(0.5, 2)))
    return found


@dataclass
class Sketches:
    """A worker that knows one structure's layers, and exports nothing."""

    macs: float
    asked: int = 0

    def do(self, operation, arguments, timeout_s=None):
        if operation != "sketch":
            raise LookupError(operation)
        self.asked += 1
        return {"layers": layers(self.macs), "group": "float", "cost": {}}

    def close(self): ...


def experiment(forecasts, require, **options):
    base = Trial(0, (), OK, timed(1.0, ()))
    budget = Budget.parse(require, ["accuracy"])
    return Experiment(
        "t", budget, (), Ledger(1), baseline=base, forecasts=forecasts, **options
    )


@settings(max_examples=40, deadline=None)
@given(limit=st.floats(0.01, 2.0), macs=st.floats(600, 15_000), slack=st.booleans())
def test_nothing_is_passed_over_whose_interval_reaches_the_limit(
    shared, limit, macs, slack
):
    told = shared.ask(layers(macs), "float", BASELINE_S)
    if slack:  # right at the edge, where it matters
        limit = told.low * (1 - SCREENED) / BASELINE_S * (1 + limit / 100)
    asked = experiment(shared, f"latency_p50<=baseline*{limit:.9f}")
    worker = Sketches(macs)
    if told.low * (1 - SCREENED) > limit * BASELINE_S * (1 + 1e-6):
        trial = asked.trial(worker, 1, Recipe())
        assert (trial.state, dict(trial.measurements)) == (INFEASIBLE, {})
        assert trial.foreseen
        assert trial.error.startswith("predicted to miss latency_p50<=baseline*")
        assert ", at least " in trial.error
        assert trial.artifact is None
    else:
        with pytest.raises(LookupError, match="realise"):
            asked.trial(worker, 1, Recipe())
    assert worker.asked == 1


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return learned(tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize(
    ("require", "options"),
    [
        ("latency_p50<=1us", {"predict": False}),
        ("size<=1kB", {}),
        ("latency_p50>=1s", {}),
    ],
)
def test_it_is_not_asked_where_it_has_no_say(shared, require, options):
    worker = Sketches(5000)
    with pytest.raises(LookupError, match="realise"):
        experiment(shared, require, **options).trial(worker, 1, Recipe())
    assert worker.asked == 0


def test_a_halted_trial_goes_on_whatever_is_predicted(shared):
    asked = experiment(shared, "latency_p50<=1us")
    with pytest.raises(LookupError, match="realise"):
        asked.trial(Sketches(5000), 1, Recipe(), halted=Trial(1, (), "halted"))


def test_what_was_learned_is_there_for_the_next_study(tmp_path):
    first = learned(tmp_path)
    again = Forecasts(Latencies(tmp_path), "e", "t")
    assert again.ask(layers(5000), "float") == first.ask(layers(5000), "float")
    assert again.facts() == first.facts()
    assert not Forecasts(Latencies(tmp_path), "another host", "t").ready
    assert not Forecasts(Latencies(tmp_path), "e", "another task").ready


def test_facts_count_only_what_was_foretold(tmp_path):
    facts = learned(tmp_path).facts()
    assert (facts["points"], facts["foretold"]) == (8, 3)
    assert 0 <= facts["held"] <= 3
    assert 0 < facts["error"] < 0.2


def test_a_full_measurement_takes_the_place_of_a_screened_one(tmp_path):
    found = learned(tmp_path)
    before = found.ask(layers(1000), "float").value
    found.replace("s0", timed(1.0, ()))
    found.replace("nobody knows it", timed(1.0, ()))
    assert found.facts()["points"] == 8
    assert found.ask(layers(1000), "float").value > before
    other = timed(9.0, ())
    other["macs"] = Measurement("macs", "1", "lower", (6.0,), "exact")
    after = found.ask(layers(1000), "float")
    found.replace("s0", other)  # training changed what was pruned: another structure
    assert found.ask(layers(1000), "float") == after
