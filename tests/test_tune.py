"""Tuning and warm starts from end to end, on toys."""

import json

import pytest

from paretune import api
from paretune.catalog import read_recipe
from paretune.cli.main import main
from paretune.core.errors import RecipeError, StoreError, UnavailableError
from paretune.report import table, tuned
from paretune.report.records import records
from tests.toys import ConvNet

QUICK = {"quick": True, "epochs": 1, "workers": 1, "worker": "in_process"}
TUNE = {"strategy": "tune", "objectives": (), **QUICK}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def study(store):
    return api.optimize(ConvNet(), study="tuned", store=store, trials=2, **TUNE)


def test_settings_are_judged_by_quality_alone(study):
    assert [o.metric for o in study.objectives] == ["accuracy"]
    assert [t.state for t in study.trials] == ["ok"] * 3
    varied, plain = sorted(study.trials[1:], key=lambda t: -len(t.steps))
    assert [s["technique"] for s in plain.steps] == ["fine_tuning"]
    assert varied.steps[0]["kind"] == "image"
    told = tuned.record(study)
    assert told["tried"] == 2
    assert told["against_baseline"]["verdict"] in ("better", "tie", "worse")


def test_one_objective_goes_through_frontier_report_and_table(study, tmp_path):
    found = records(study)
    assert found["members"] and found["hypervolume"] > 0
    assert "accuracy" in table.plain(study)
    page = api.write_report(study, tmp_path / "page.html").read_text()
    assert "data augmentation" in page


def test_another_study_begins_with_what_that_one_found(study, store):
    warm = api.optimize(
        ConvNet(),
        study="warm",
        store=store,
        trials=1,
        warm_start=("tuned",),
        **QUICK,
    )
    found = records(warm)["warm_start"]
    assert found["studies"] == ["tuned"]
    assert found["trials"][0] == 1
    taken = {json.dumps(dict(s)) for t in study.trials for s in t.steps}
    assert {json.dumps(dict(s)) for s in warm.trials[1].steps} <= taken
    assert 0 < found["hypervolume_share"] <= 1
    assert "Warm start" in table.plain(warm)


def test_an_unknown_study_is_found_before_any_work(store):
    with pytest.raises(StoreError, match="tuned"):
        api.optimize(ConvNet(), store=store, trials=1, warm_start=("tuend",), **QUICK)


def test_a_start_that_there_is_not_or_that_nobody_asked_for(store):
    with pytest.raises(RecipeError, match="fresh"):
        api.optimize(ConvNet(), store=store, trials=1, start="frsh", **TUNE)
    with pytest.raises(UnavailableError, match="strategy tune"):
        api.optimize(ConvNet(), store=store, trials=1, start="fresh", **QUICK)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tune", "nosuch"], "nosuch"),
        (["tune", "fashion", "--start", "old"], "trained"),
        (["tune", "fashion", "--sampler", "tpa"], "tpe"),
        (["tune", "fashion", "--save", "/no/such/place/r.yaml"], "/no/such/place"),
        (["optimize", "fashion", "--warm-start", "nosuch"], "nosuch"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(arguments, said, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--store", str(tmp_path / "store")])
    assert ended.value.code == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("paretune: [") and said in lines[-1]


def test_the_command_saves_a_recipe_that_can_be_used(tmp_path, capsys):
    saved, store = tmp_path / "best.yaml", str(tmp_path / "store")
    asked = "tune tests/toys.py:ConvNet --epochs 1 --trials 1 --workers 1 --study t"
    options = ["--store", store, "--save", str(saved), "--json"]
    with pytest.raises(SystemExit) as ended:
        main([*asked.split(), *options])
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert told["saved"] == str(saved)
    assert read_recipe(saved).to_json() == told["best"]["recipe"]
    assert told["against_default"] is None  # it is the default itself
    with pytest.raises(SystemExit):
        main(["frontier", "t", "--store", store, "--json"])
    assert json.loads(capsys.readouterr().out)["strategy"] == "tune"
