"""The frontier in a terminal and in a pipe."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from paretune.frontier import frontier
from paretune.report.table import figure, plain, table


def printed(study, width):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(table(study, width))
    return out.getvalue()


def test_every_member_and_the_baseline_is_there_with_its_figures(study):
    text = plain(study)
    rows = {line.split()[0]: line for line in text.splitlines() if line[:1].isdigit()}
    members = frontier(study).members
    assert {str(t.number) for t in members} | {"0"} <= rows.keys()
    assert "112 kB" in rows["13"]
    assert "14.9×" in rows["13"]
    assert f"{100 * study.certified[13]['accuracy'].value:.1f} ±" in rows["13"]
    assert rows["13"].endswith("✓")
    assert rows["21"].endswith("✗ size")
    assert "≈" in rows["21"]


def test_what_else_must_be_known_stands_below(study):
    text = plain(study)
    assert "26 trials: 20 done, 3 infeasible, 2 failed, 1 stopped." in text
    assert "Quality is certified on the test split, read once." in text
    assert "not distinguishable from the baseline in accuracy." in text
    assert f"met by 1 of {len(frontier(study).members)} members" in text


def test_a_search_without_certification_says_so(uncertified):
    assert "the test split has not been read" in plain(uncertified)


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_no_figure_is_cut_off_at_any_usual_width(study, width):
    text = printed(study, width)
    assert all(len(line) <= width for line in text.splitlines())
    if width >= 80:
        assert "…" not in text
        assert text.count("112 kB") == 1
        assert "90.1 ± 1.1 %" in text


def test_any_study_can_be_shown(any_study):
    for text in (plain(any_study), printed(any_study, 80)):
        assert "nan" not in text.lower()
        assert "\x1b" not in text
        assert text.encode("utf-8")


def test_a_figure_in_a_line_of_progress(study):
    assert figure(study.trials[0].measurements["size"]) == "size 1.66 MB"
    assert figure(study.trials[0].measurements["accuracy"]).startswith("accuracy 92.")
