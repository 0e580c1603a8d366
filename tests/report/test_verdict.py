"""The sentence at the top must be true of the study."""

from __future__ import annotations

import dataclasses

import pytest

from paretune.core.budget import Budget
from paretune.frontier import frontier
from paretune.report import _figures as f
from paretune.report.verdict import closest, counts, judged, pick, tally, ties, verdict
from tests.report import synthetic


def test_it_names_the_best_bargain_and_what_it_gains(study):
    best = pick(study)
    said = verdict(study)
    size = study.baseline.values["size"] / best.values["size"]
    faster = 1 / best.measurements["latency_p50"].ratio[0]
    assert f"trial {best.number}." in said
    assert f"{size:.1f}× smaller" in said
    assert f"{faster:.1f}× faster" in said
    lost = study.certified[0]["accuracy"].value - study.certified[13]["accuracy"].value
    assert best.number == 13
    assert f"accuracy {100 * lost:.1f} pt worse" in said


def test_a_difference_within_the_noise_is_never_a_number(study):
    loose = dataclasses.replace(
        study, budget=Budget.parse("accuracy>=baseline-0.5pt", study.metrics)
    )
    end = (
        f"accuracy not distinguishable from the baseline's: trial {pick(loose).number}."
    )
    assert end in verdict(loose)
    said = ties(study, frontier(study).members)
    assert "21" in said
    assert said.endswith("not distinguishable from the baseline in accuracy.")


def test_an_unmet_budget_names_the_nearest_and_what_binds(study):
    tight = dataclasses.replace(
        study, budget=Budget.parse("size<=40kB, accuracy>=0.1", study.metrics)
    )
    nearest, binding = closest(tight)
    oks = [t for t in study.trials if t.ok]
    assert nearest == min(oks, key=lambda t: t.values["size"])
    assert [c.metric for c in binding] == ["size"]
    assert verdict(tight).startswith("No trial meets the budget: the nearest, trial 7,")
    assert "size ≤ 40kB (it has 48.5 kB)" in verdict(tight)


def test_leave_it_alone_is_an_answer(study):
    alone = dataclasses.replace(study, trials=study.trials[:1], budget=Budget())
    assert verdict(alone).startswith("Leave the model as it is")


def test_a_baseline_that_failed_is_said(study):
    broken = dataclasses.replace(study.trials[0], state="failed:parity")
    failed = dataclasses.replace(study, trials=(broken, *study.trials[1:]))
    assert verdict(failed) == (
        "The baseline failed (failed:parity), so there is nothing to compare with."
    )


def test_certified_figures_decide_whether_the_budget_is_met(study):
    """On validation 13 is 1.35 pt below the baseline, on test it may be more."""
    member = study.trials[13]
    budget = Budget.parse("accuracy>=baseline-1.4pt", study.metrics)
    held = dataclasses.replace(study, budget=budget)
    lost = study.certified[0]["accuracy"].value - study.certified[13]["accuracy"].value
    assert held.meets(member)
    assert f.meets(held, member) == (lost <= 0.014)
    assert f.meets(dataclasses.replace(held, certified={}), member)


def test_counts_are_of_all_trials(study):
    assert counts(study) == {"done": 20, "infeasible": 3, "failed": 2, "stopped": 1}
    assert sum(counts(study).values()) == len(study.trials)
    assert tally(study) == "26 trials: 20 done, 3 infeasible, 2 failed, 1 stopped."


def test_no_study_is_without_a_verdict(any_study):
    said = verdict(any_study)
    assert said.endswith(".")
    assert "nan" not in said


@pytest.mark.parametrize("metric", ["size", "latency_p50", "accuracy"])
def test_the_baseline_is_not_compared_with_itself(study, metric):
    assert f.change(study, study.baseline, metric) is None


def test_what_is_certified_and_what_is_not(study, uncertified):
    members = frontier(study).members
    assert judged(study, members) == (
        "Quality is certified on the test split, read once."
    )
    part = {k: v for k, v in study.certified.items() if k not in (7, 12)}
    partly = dataclasses.replace(study, certified=part, certifications=2)
    assert judged(partly, members) == (
        "Quality is certified on the test split, read 2 times; that of trials 7 and 12 "
        "is still that of the validation split."
    )
    assert "has not been read" in judged(uncertified, members)


def test_a_change_is_on_one_split(study):
    before = f.change(study, study.trials[13], "accuracy", certified=False)
    after = f.change(study, study.trials[13], "accuracy")
    assert before.interval != after.interval
    alone = dataclasses.replace(study, certified={13: study.certified[13]})
    assert f.change(alone, study.trials[13], "accuracy") == before


def test_the_fixture_has_a_frontier_worth_showing():
    assert len(frontier(synthetic.study(certified=False)).members) >= 6
