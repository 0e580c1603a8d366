"""The JSON contract: what scripts may rely on."""

from __future__ import annotations

import json

import pytest

from paretune.frontier import frontier
from paretune.report.records import records

NUMBER = (int, float)
OPTIONAL = (int, float, type(None))
METRIC = {
    "value": OPTIONAL,
    "low": OPTIONAL,
    "high": OPTIONAL,
    "unit": str,
    "split": (str, type(None)),
}
MEMBER = {
    "id": str,
    "recipe": list,
    "artifact": (str, type(None)),
    "sha256": (str, type(None)),
    "metrics": dict,
    "parity": dict,
    "optimism_gap": (dict, type(None)),
    "probability": OPTIONAL,
    "break_even": (dict, type(None)),
    "meets_budget": bool,
}
WHOLE = {
    "version": int,
    "study": str,
    "task": str,
    "target": dict,
    "strategy": str,
    "certified": bool,
    "certifications": int,
    "baseline": (dict, type(None)),
    "members": list,
    "budget": list,
    "hypervolume": OPTIONAL,
    "hypervolume_interval": list,
    "reference_point": dict,
    "trials": dict,
    "warm_start": (dict, type(None)),
    "cost": dict,
}


def valid(record, contract):
    assert record.keys() == contract.keys()
    for key, kind in contract.items():
        assert isinstance(record[key], kind), key


def valid_member(member):
    valid(member, MEMBER)
    for step in member["recipe"]:
        assert "technique" in step
    for record in member["metrics"].values():
        ratio = record.pop("ratio", {"value": 1, "low": 1, "high": 1})
        valid(record, METRIC)
        assert set(ratio) == {"value", "low", "high"}


def test_the_optimism_gap_is_validation_less_test(study, uncertified):
    best, *_ = records(study)["members"]
    trial = frontier(study).members[0]
    proof = study.certified[trial.number]["accuracy"]
    gap = best["optimism_gap"]
    assert gap["value"] == pytest.approx(trial.values["accuracy"] - proof.value)
    assert gap["low"] < gap["value"] < gap["high"]
    assert records(study)["baseline"]["optimism_gap"] is not None
    assert all(m["optimism_gap"] is None for m in records(uncertified)["members"])


def test_certified_figures_have_the_intervals_of_all_at_once(study, uncertified):
    for member, trial in zip(
        records(study)["members"], frontier(study).members, strict=True
    ):
        shown = member["metrics"]["accuracy"]
        own = study.certified[trial.number]["accuracy"].interval
        assert shown["low"] < own.low < own.high < shown["high"]
    shown = records(uncertified)["members"][0]["metrics"]["accuracy"]
    own = frontier(uncertified).members[0].measurements["accuracy"].interval
    assert (shown["low"], shown["high"]) == (own.low, own.high)


def test_it_follows_the_contract(any_study):
    text = json.dumps(records(any_study), allow_nan=False)
    record = json.loads(text)
    valid(record, WHOLE)
    assert record["version"] == 1
    ended = {"done", "failed", "stopped", "infeasible", "halted", "foreseen"}
    assert record["trials"].keys() == ended
    cost = record["cost"]
    assert {"wall_s", "train_s", "measure_s", "overhead_s", "energy_j"} <= cost.keys()
    assert cost["energy_source"] == "none"
    for member in record["members"]:
        valid_member(member)
    if record["baseline"] is not None:
        valid_member(record["baseline"])


def test_the_figures_are_the_studys(study):
    record = records(study)
    members = frontier(study).members
    assert [m["id"] for m in record["members"]] == [str(t.number) for t in members]
    for shown, trial in zip(record["members"], members, strict=True):
        for name, m in trial.measurements.items():
            if name != "accuracy":
                assert shown["metrics"][name]["value"] == m.value
        proof = study.certified[trial.number]["accuracy"]
        assert shown["metrics"]["accuracy"]["value"] == proof.value
        assert shown["metrics"]["accuracy"]["split"] == "test"
        ratio, interval = trial.measurements["latency_p50"].ratio
        assert shown["metrics"]["latency_p50"]["ratio"] == pytest.approx(
            {"value": ratio, "low": interval.low, "high": interval.high}
        )
        assert shown["sha256"] == trial.artifact
    assert record["certified"]
    assert record["certifications"] == 1


def test_certified_means_every_member(study, uncertified):
    import dataclasses

    assert not records(uncertified)["certified"]
    assert records(uncertified)["members"][0]["metrics"]["accuracy"]["split"] == (
        "validation"
    )
    part = {k: v for k, v in study.certified.items() if k != 21}
    assert not records(dataclasses.replace(study, certified=part))["certified"]
