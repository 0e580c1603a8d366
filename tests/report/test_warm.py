"""What is said of a warm start: what it gave, and when it gave nothing."""

from dataclasses import replace

import pytest

from paretune.core.study import Study
from paretune.core.target import Target
from paretune.report._warm import paragraph, sentence, warm_start
from paretune.report.records import records
from tests.automation.histories import OBJECTIVES, Thinning, trial


def steps(number):
    return (Thinning(share=number / 100).to_json(),)


@pytest.fixture
def study():
    figures = [(0.9, 1000.0), (0.9, 300.0), (0.88, 150.0), (0.4, 900.0)]
    trials = tuple(
        trial(n, steps(n) if n else (), {"accuracy": a, "size": s})
        for n, (a, s) in enumerate(figures)
    )
    return Study(
        "now", "toy", {"accuracy": "higher"}, Target(), "sweep", OBJECTIVES,
        trials=trials,
    )  # fmt: skip


def began(study, *numbers):
    recipes = [list(map(dict, steps(n))) for n in numbers]
    return replace(study, warm_start={"studies": ["before"], "recipes": recipes})


def test_a_study_that_began_with_nothing_says_nothing(study):
    assert warm_start(study) is None
    assert sentence(study) == paragraph(study) == ""
    assert records(study)["warm_start"] is None


def test_all_that_was_found_may_come_from_there(study):
    found = warm_start(began(study, 1, 2))
    assert found == {
        "studies": ["before"],
        "trials": [1, 2],
        "members": 2,
        "hypervolume_share": pytest.approx(1.0),
        "baseline_share": found["baseline_share"],
    }
    assert 0 < found["baseline_share"] < 1
    said = sentence(began(study, 1, 2))
    assert "2 recipes taken over from before" in said and "100 %" in said


def test_a_part_has_a_part_of_the_hypervolume(study):
    found = warm_start(began(study, 1))
    assert found["members"] == 1
    assert found["baseline_share"] < found["hypervolume_share"] < 1
    assert records(began(study, 1))["warm_start"] == found


def test_when_it_gave_nothing_that_is_said(study):
    assert "none is on the frontier" in sentence(began(study, 3))
    assert "no recipe that was tried" in sentence(began(study, 77))
    assert warm_start(began(study, 77))["trials"] == []
