"""The main job on a toy: a search finds, keeps, resumes, and stops cleanly."""

import threading

import pytest

from paretune import api
from paretune.core.errors import BudgetError, StoreError, UnavailableError
from paretune.core.trial import INFEASIBLE
from paretune.frontier import frontier
from paretune.learning.distillation import Distillation
from paretune.store.trials import Trials
from tests.toys import ConvNet

QUICK = {"quick": True, "epochs": 1, "workers": 1}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def study(store):
    events = []
    found = api.optimize(
        ConvNet(),
        study="toy",
        store=store,
        trials=3,
        on_event=lambda kind, facts: events.append(kind),
        **QUICK,
    )
    assert events.count("trial") == 4 and "study" in events
    return found


def test_a_search_ends_with_a_frontier(study):
    assert [t.number for t in study.trials] == [0, 1, 2, 3]
    assert study.baseline and study.baseline.ok
    members = frontier(study).members
    assert members
    for trial in members:
        assert {"size", "latency_p50", "accuracy"} <= trial.measurements.keys()
        assert study.path(trial).exists()
        assert trial.measurements["accuracy"].split == "validation"


def test_every_trial_says_what_its_steps_did(study):
    trained = [
        t for t in study.trials if any(s["step"] == "distillation" for s in t.trace)
    ]
    assert trained
    names = [s["step"] for s in trained[0].trace]
    assert names[0] == "baseline" and "export" in names
    assert all("parameters" in s for s in trained[0].trace)


def test_most_of_the_time_is_accounted_for(study):
    cost = study.cost
    known = cost["train_s"] + cost["export_s"] + cost["measure_s"] + cost["judge_s"]
    assert 0 < cost["overhead_s"] < cost["wall_s"]
    assert known <= cost["wall_s"]


def test_a_finished_study_is_resumed_without_new_trials(study, store):
    again = api.optimize(ConvNet(), study="toy", store=store, trials=3, **QUICK)
    assert [t.to_json() for t in again.trials] == [t.to_json() for t in study.trials]


def test_a_search_that_ended_has_nothing_to_do_by_the_same_limits(study, store):
    said = []
    again = api.optimize(
        ConvNet(),
        study="toy",
        store=store,
        trials=3,
        on_event=lambda kind, facts: said.append((kind, facts)),
        **QUICK,
    )
    assert again.cost == study.cost
    assert not [kind for kind, _ in said if kind in ("start", "trial")]
    assert any("raise --budget" in f.get("what", "") for _, f in said)


def test_a_longer_study_goes_on_from_there(study, store):
    more = api.optimize(ConvNet(), study="toy", store=store, trials=4, **QUICK)
    assert len(more.trials) == 5
    assert [t.to_json() for t in more.trials[:4]] == [t.to_json() for t in study.trials]


def test_another_question_needs_another_study(study, store):
    with pytest.raises(StoreError, match="resume-mismatch"):
        api.optimize(ConvNet(), study="toy", store=store, require="size<=1MB", **QUICK)


def test_what_does_not_fit_is_never_trained(tmp_path, monkeypatch):
    trained = []
    real = Distillation.on_torch
    monkeypatch.setattr(
        Distillation, "on_torch", lambda *a: trained.append(1) or real(*a)
    )
    found = api.optimize(
        ConvNet(),
        store=tmp_path,
        trials=4,
        require="size<=1kB",
        worker="in_process",
        quick=True,
        epochs=1,
    )
    states = {t.state for t in found.trials if t.number}
    assert states == {INFEASIBLE} and not trained
    assert found.baseline.ok


def test_an_unknown_metric_is_found_before_any_work(tmp_path):
    with pytest.raises(BudgetError, match="did you mean 'latency_p50'"):
        api.optimize(ConvNet(), store=tmp_path, require="latncy_p50<=5ms", **QUICK)
    assert not Trials.open(tmp_path).names()


def test_an_unknown_runtime_is_found_before_any_work(tmp_path):
    from paretune.core.target import Target

    with pytest.raises(UnavailableError, match="onnxruntime"):
        api.optimize(ConvNet(), store=tmp_path, target=Target("onxruntime"), **QUICK)


def test_a_study_that_another_search_holds_is_refused(study, store):
    trials = Trials.open(store)
    lease = trials.acquire("toy", "somebody", 1, "elsewhere")
    try:
        with pytest.raises(StoreError, match="store-busy"):
            api.optimize(ConvNet(), study="toy", store=store, trials=9, **QUICK)
    finally:
        trials.release(lease)


def test_an_interrupt_keeps_what_was_finished(tmp_path):
    """The second trial is cut short; the search then ends with all of it."""

    def interrupt(kind, facts):
        if kind == "start" and facts["number"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        api.optimize(
            ConvNet(),
            study="cut",
            store=tmp_path,
            trials=3,
            on_event=interrupt,
            **QUICK,
        )
    kept = api.load("cut", tmp_path)
    assert [t.number for t in kept.trials if t.ok] == [0, 1]
    done = api.optimize(ConvNet(), study="cut", store=tmp_path, trials=3, **QUICK)
    assert sum(t.ok for t in done.trials) == 4
    assert threading.active_count() < 10


def test_certify_reads_the_test_split_and_counts(study, store):
    once = api.certify(study, ConvNet(), store)
    assert once.certifications == 1
    numbers = {t.number for t in frontier(study).members} | {0}
    assert once.certified.keys() == numbers
    assert all(m["accuracy"].split == "test" for m in once.certified.values())
    assert api.certify(study, ConvNet(), store).certifications == 2


def test_pick_names_what_it_knows(study):
    assert api.pick(study, "smallest").values["size"] <= study.baseline.values["size"]
    with pytest.raises(StoreError, match="did you mean 'fastest'"):
        api.pick(study, "fastst")
    with pytest.raises(StoreError, match="no finished trial 99"):
        api.pick(study, "99")
