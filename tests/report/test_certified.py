"""What is said of the test split holds for all that was certified at once."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest

from bench.truth import null_search, winners_curse
from bench.truth._candidates import certified, search
from paretune.core.measurement import Measurement
from paretune.frontier import frontier
from paretune.report._certified import interval, optimism, together
from paretune.report.page import page


def test_nothing_better_is_found_where_nothing_is_better():
    """TRUST's M8, small: a naive test calls the luckiest better in a quarter."""
    found = [null_search.one(seed, 40, 1_000, 800) for seed in range(30)]
    assert sum(f.better > 0 for f in found) <= 3
    assert sum(f.chosen > 0 for f in found) <= 3
    assert sum(f.naive for f in found) >= 4
    assert np.mean([f.members for f in found]) > 5


def test_the_luckiest_has_an_honest_certified_interval():
    found = [winners_curse.one(seed, 30, 800, 800) for seed in range(40)]
    assert sum(f.holds for f in found) >= 36
    assert np.mean([f.gap for f in found]) > 0.004
    assert sum(f.gap_holds for f in found) >= 34


@pytest.fixture(scope="module")
def study():
    rng = np.random.default_rng(0)
    return certified(search(rng, 10, 1_000), rng, 1_500)


def test_the_family_is_all_that_is_certified(study):
    found = together(study, "accuracy")
    assert found.intervals.keys() == study.certified.keys()
    assert found.differences.keys() == study.certified.keys() - {0}
    for number, proof in study.certified.items():
        own = proof["accuracy"].interval
        joint = found.intervals[number]
        assert joint.low < own.low < own.high < joint.high
        assert interval(study, proof["accuracy"]) == joint
    assert together(study, "f1").intervals == {}


def test_a_figure_of_validation_keeps_its_own_interval(study):
    m = study.trials[0].measurements["accuracy"]
    assert interval(study, m) == m.interval


def test_one_that_is_certified_alone_keeps_its_own_interval(study):
    alone = dataclasses.replace(study, certified={0: study.certified[0]})
    proof = study.certified[0]["accuracy"]
    assert interval(alone, proof) == proof.interval


def test_one_of_other_samples_is_not_of_the_family(study):
    odd = max(study.certified)
    other = Measurement("accuracy", "1", "higher", (1.0, 0.0), "samples", split="test")
    mixed = {**study.certified, odd: {"accuracy": other}}
    found = together(dataclasses.replace(study, certified=mixed), "accuracy")
    assert odd not in found.intervals
    assert odd not in found.differences


def test_a_gap_is_positive_where_validation_flattered(study):
    member = frontier(study).members[0]
    gap = optimism(study, member, "accuracy")
    test = study.certified[member.number]["accuracy"].value
    assert gap.value == pytest.approx(member.values["accuracy"] - test)
    assert optimism(study, member, "f1") is None

    def turned(m):
        wrong = tuple(1 - v for v in m.values)
        return dataclasses.replace(m, better="lower", values=wrong)

    figures = {"accuracy": turned(member.measurements["accuracy"])}
    proof = {"accuracy": turned(study.certified[member.number]["accuracy"])}
    error = dataclasses.replace(member, measurements=figures)
    held = dataclasses.replace(study, certified={member.number: proof})
    same = optimism(held, error, "accuracy")
    assert (same.value, same.low, same.high) == pytest.approx(
        (gap.value, gap.low, gap.high)
    )


def test_the_page_shows_the_intervals_of_all_at_once_and_the_gap(study):
    out = io.StringIO()
    page(study, out)
    text = out.getvalue()
    assert f"hold for all {len(study.certified)} certified models at once" in text
    assert "Optimism gap" in text
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    points = {
        p["n"]: p["v"]["accuracy test"]
        for p in data["points"]
        if p["n"] in study.certified
    }
    for number, ends in together(study, "accuracy").intervals.items():
        assert points[number][1:] == pytest.approx([100 * ends.low, 100 * ends.high])
