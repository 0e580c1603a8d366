"""A search that halts trials: who went on, what is kept, and resuming it."""

import io

import pytest

from paretune import api
from paretune.core.errors import StoreError, UnavailableError
from paretune.report.page import page
from paretune.report.records import records
from paretune.store.trials import Trials
from tests.toys import ConvNet

HALVING = {
    "quick": True,
    "epochs": 4,
    "workers": 1,
    "worker": "in_process",
    "study": "toy",
    "scheduler": "successive_halving",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def study(store):
    return api.optimize(ConvNet(), store=store, trials=4, **HALVING)


def test_some_are_halted_and_some_go_on_to_the_end(study):
    climbed = [t for t in study.trials if t.rungs]
    halted = [t for t in climbed if t.halted]
    assert [t.number for t in study.trials] == list(range(5))
    assert climbed
    for trial in climbed:
        shares = [r["share"] for r in trial.rungs]
        assert shares == sorted(set(shares))
        assert all("accuracy" in r["quality"] for r in trial.rungs)
    for trial in halted:
        assert "size" in trial.measurements
        assert "accuracy" not in trial.measurements
        assert trial.artifact is None


def test_a_promotion_that_was_cut_short_goes_on(study, store):
    trials = Trials.open(store)
    number = next(t.number for t in trials.trials("toy") if t.halted)
    lease = trials.acquire("toy", "killed")
    before = trials.reopen("toy", number, lease).halted
    trials.release(lease)
    again = api.optimize(ConvNet(), store=store, trials=5, **HALVING)
    found = next(t for t in again.trials if t.number == number)
    assert found.rungs[: len(before.rungs)] == before.rungs
    assert found.ok or len(found.rungs) > len(before.rungs)


def test_reports_tell_of_halted_trials(study):
    told = records(study)
    assert told["trials"]["halted"] == sum(t.halted for t in study.trials)
    out = io.StringIO()
    page(study, out)
    assert "Trainings that were halted" in out.getvalue()
    assert 'class="rungs"' in out.getvalue()


@pytest.mark.parametrize(
    "wrong", [{"scheduler": "sucessive_halving"}, {"rungs_over": "lenght"}]
)
def test_unknown_names_are_refused_before_any_work(wrong, tmp_path):
    with pytest.raises(UnavailableError, match=r"successive_halving|length"):
        api.optimize(ConvNet(), store=tmp_path, **{**HALVING, **wrong})


def test_it_goes_on_with_its_own_scheduler_and_with_no_other(study, store):
    with pytest.raises(StoreError, match=r"successive_halving over length.*--study"):
        api.optimize(
            ConvNet(), store=store, trials=6, **{**HALVING, "scheduler": "hyperband"}
        )
    own = {k: v for k, v in HALVING.items() if k != "scheduler"}
    api.optimize(ConvNet(), store=store, trials=4, **own)
    kept = Trials.open(store).facts("toy")["scheduler"]
    assert kept == {"name": "successive_halving", "over": "length"}
