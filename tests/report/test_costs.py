"""What the search took, and after how many inferences that is repaid."""

import dataclasses
import io
import math

import pytest

from paretune.core.measurement import Measurement
from paretune.core.target import Target
from paretune.frontier import frontier
from paretune.report._costs import (
    break_even,
    costs,
    energy,
    guess,
    repaid,
    sentences,
    spent,
)
from paretune.report.page import page
from paretune.report.records import records
from paretune.report.table import plain
from paretune.report.verdict import pick

GRID = {
    "intensity": 475.0,
    "unit": "g/kWh",
    "place": "world",
    "year": 2018,
    "source": "IEA",
}
HOW = "4 W a thread assumed"


def with_costs(study, **more):
    """The study, whose search took processor time and joules."""
    environment = {
        **study.environment,
        "grid": GRID,
        "energy": {"source": "estimate", "tier": "estimated", "how": HOW},
    }
    cost = {**study.cost, "cpu_s": 366.0, **more}
    return dataclasses.replace(study, cost=cost, environment=environment)


def with_energy(study, source, share=1.0):
    """The study, with joules of a call: 20 W of its latency, or a share of that."""
    trials = []
    for t in study.trials:
        timed = t.measurements.get("latency_p50")
        taken = dict(t.measurements)
        if timed:
            part = share if t.number else 1.0
            taken["energy"] = Measurement(
                "energy",
                "J",
                "lower",
                tuple(20.0 * part * v for v in timed.values),
                "launches",
                tuple(part * r for r in timed.ratios),
                detail={"source": source},
            )
        trials.append(dataclasses.replace(t, measurements=taken))
    return dataclasses.replace(study, trials=tuple(trials))


def test_processor_time_over_what_a_call_saves(study):
    paid = with_costs(study)
    best = pick(paid)
    ratio, interval = best.measurements["latency_p50"].ratio
    base = paid.baseline.values["latency_p50"]
    even = break_even(paid, best)
    assert even.inferences == pytest.approx(366.0 / (base * (1 - ratio)))
    assert even.low == pytest.approx(366.0 / (base * (1 - interval.low)))
    assert even.high == pytest.approx(366.0 / (base * (1 - interval.high)))
    assert even.low < even.inferences < even.high and even.by == "cpu_s"
    assert even.to_json()["by"] == "cpu_s"


def test_threads_and_samples_of_a_call_count(study):
    paid = with_costs(study)
    best = pick(paid)
    wide = dataclasses.replace(paid, target=Target(threads=4, batch=8))
    one, many = (break_even(s, best).inferences for s in (paid, wide))
    assert many == pytest.approx(one * 8 / 4)


def test_never_if_it_is_not_certainly_faster(study):
    paid = with_costs(study)
    best = pick(paid)
    timed = best.measurements["latency_p50"]
    for ratios in ((0.98, 1.01, 0.99, 1.02), (1.98, 2.01, 1.99, 2.02)):
        slow = dataclasses.replace(timed, ratios=ratios)
        figures = {**best.measurements, "latency_p50": slow}
        unsure = dataclasses.replace(best, measurements=figures)
        assert break_even(paid, unsure) is None
        assert "ever repays" in repaid(paid, unsure)
    assert break_even(paid, paid.baseline) is None
    assert repaid(paid, paid.baseline) == repaid(paid, None) == ""


def test_what_is_not_known_is_not_said(study):
    assert break_even(study, pick(study)) is None
    assert repaid(study, pick(study)) == ""
    assert spent(study)["energy_j"] is None
    assert spent(study)["energy_source"] == "none"
    assert spent(study)["co2e_g"] is None and spent(study)["grid"] is None


def test_an_open_end_is_null_and_never():
    from paretune.report._costs import BreakEven, many

    even = BreakEven(5.0, 4.0, math.inf, "cpu_s")
    assert even.to_json()["high"] is None
    assert many(even.high) == "never"


def test_joules_that_were_counted_on_both_sides_decide(study):
    paid = with_energy(with_costs(study, rapl_j=9_000.0), "rapl", 0.5)
    best = pick(paid)
    ratio, _ = best.measurements["energy"].ratio
    saved = paid.baseline.values["energy"] * (1 - ratio)
    even = break_even(paid, best)
    assert even.by == "energy"
    assert even.inferences == pytest.approx(9_000.0 / saved)
    assert repaid(paid, best).startswith("The search's 9 kJ are repaid after")


@pytest.mark.parametrize(
    ("source", "booked"),
    [("estimate", "estimate_j"), ("rapl", "nvml_j"), ("estimate", "rapl_j")],
)
def test_joules_of_two_tiers_are_never_set_against_each_other(source, booked, study):
    paid = with_energy(with_costs(study, **{booked: 9_000.0}), source)
    assert break_even(paid, pick(paid)).by == "cpu_s"


def test_the_least_certain_source_labels_the_sum(study):
    assert energy(with_costs(study, rapl_j=5.0)) == (5.0, "rapl")
    assert energy(with_costs(study, rapl_j=5.0, estimate_j=2.0)) == (7.0, "estimate")
    assert energy(study) == (0.0, "none")


def test_the_record(study):
    paid = with_costs(study, estimate_j=1_464.0)
    cost = records(paid)["cost"]
    assert cost["cpu_s"] == 366.0 and cost["energy_j"] == 1_464.0
    assert cost["energy_source"] == "estimate" and cost["grid"] == GRID
    assert cost["co2e_g"] == pytest.approx(1_464.0 / 3.6e6 * 475)
    assert not [k for k in cost if k.endswith("_j") and k != "energy_j"]
    best = pick(paid)
    (member,) = (m for m in records(paid)["members"] if m["id"] == str(best.number))
    assert member["break_even"] == break_even(paid, best).to_json()
    assert records(paid)["baseline"]["break_even"] is None


def test_the_terminal_says_it_in_a_line(study):
    paid = with_costs(study, estimate_j=1_464.0)
    best = pick(paid)
    (line,) = sentences(paid, frontier(paid))
    assert line.startswith("The search's 6.1 CPU-minutes are repaid after ")
    assert line.endswith(f" inferences of trial {best.number}.")
    assert line in plain(paid).splitlines()


def test_that_an_estimate_adds_nothing_is_said_where_there_is_one(study):
    assert guess(study) == guess(with_energy(study, "rapl")) == ""
    said = guess(with_energy(study, "estimate"))
    assert "estimated, ±50 %" in said and "says nothing that latency doesn't" in said
    assert said in plain(with_energy(study, "estimate"))


def test_the_page_has_time_energy_carbon_and_break_even(study):
    paid = with_energy(with_costs(study, estimate_j=1_464.0), "estimate")
    section = costs(paid)
    assert "6.1 CPU-minutes" in section
    assert f"1.5 kJ, estimated, ±50 % ({HOW})" in section
    assert "0.19 g CO₂e, at 475 g/kWh (world, 2018, IEA)" in section
    assert "In joules it is the same" in section
    assert "cpu " not in section.partition("</ul>")[0]  # no part of the wall time
    out = io.StringIO()
    page(paid, out)
    assert section in out.getvalue()


def test_counted_joules_name_their_counter(study):
    told = {"source": "rapl", "domains": ["package-0"]}
    environment = {**study.environment, "energy": told}
    cost = {**study.cost, "rapl_j": 5_000.0}
    section = costs(dataclasses.replace(study, environment=environment, cost=cost))
    assert "5 kJ, counted by rapl package-0; idling and all other" in section
    assert "estimated" not in section


def test_no_study_breaks_it(any_study):
    for odd in ({}, {"grid": "?", "energy": []}, {"grid": {"intensity": "<b>"}}):
        made = dataclasses.replace(
            with_costs(any_study, estimate_j=3.0),
            environment={**any_study.environment, **odd},
        )
        assert "<b>" not in costs(made)
        for trial in made.trials:
            even = break_even(made, trial)
            assert even is None or 0 < even.low <= even.inferences <= even.high
        assert records(made)["cost"]["grid"] is None
