"""What each technique contributed, in words, in a page and as JSON."""

import dataclasses
import io
import json

import pytest

from paretune.report import page
from paretune.report._attribution import attribution, meaning, path, plain
from paretune.report.records import records

FIGURES = {
    "accuracy": {"value": 0.9, "unit": "1", "better": "higher"},
    "size": {"value": 9e4, "unit": "byte", "better": "lower"},
    "latency_p50": {"value": 2e-4, "unit": "s", "better": "lower"},
}


def difference(value, low, high, verdict):
    ends = {"low": low, "high": high, "verdict": verdict}
    return {"kind": "difference", "value": value, **ends}


def ratio(value, low, high, verdict):
    return {**difference(value, low, high, verdict), "kind": "ratio"}


def step(index, technique, quality, size, latency, **more):
    change = {"accuracy": quality, "size": size, "latency_p50": latency}
    return {
        "index": index,
        "technique": technique,
        "recipe": [],
        "state": "ok",
        "error": "",
        "artifact": "a" * 64,
        "figures": FIGURES,
        "change": change,
        **more,
    }


PRUNING = step(
    0,
    "structured_pruning",
    difference(0.02, 0.012, 0.028, 1),
    ratio(3.9, 3.9, 3.9, -1),
    ratio(2.1, 2.02, 2.18, -1),
)
TRAINING = step(
    1,
    "distillation",
    difference(-0.34, -0.36, -0.32, -1),
    ratio(1.0, 1.0, 1.0, 0),
    ratio(1.01, 0.97, 1.05, 0),
)
INT8 = step(
    2,
    "post_training_quantization",
    difference(0.001, -0.003, 0.005, 0),
    ratio(1.0, 1.0, 1.0, 0),
    ratio(0.7, 0.66, 0.74, 1),
)
NOTHING = step(
    1,
    "distillation",
    difference(0.001, -0.003, 0.005, 0),
    ratio(1.0, 1.0, 1.0, 0),
    ratio(1.0, 0.9, None, 0),
)


def attributed(study, *steps):
    trial = study.trials[13]
    told = {
        "version": 1,
        "trial": 13,
        "artifact": trial.artifact,
        "baseline": "b",
        "protocol": "full",
        "complete": True,
        "figures": FIGURES,
        "steps": list(steps or (PRUNING, TRAINING, INT8)),
    }
    return dataclasses.replace(study, attributions={13: told}), trial, told


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            PRUNING,
            "it makes the file 3.90× smaller and calls 2.10× faster and costs 2.0 pt "
            "of accuracy.",
        ),
        (
            TRAINING,
            "it adds 34 pt of accuracy; size and latency p50 can't be told from what "
            "they are without it.",
        ),
        (
            INT8,
            "it makes calls 1.43× slower, and brings nothing in return; accuracy and "
            "size can't be told from what they are without it.",
        ),
        (
            NOTHING,
            "no difference without it could be told from chance on this many samples, "
            "which doesn't prove that there is none.",
        ),
        (
            {"state": "refused", "error": "subnet needs a model that is elastic."},
            "it can't be left out: subnet needs a model that is elastic.",
        ),
        (
            {"state": "failed:nan", "error": "the loss is no number."},
            "the recipe fails without it: the loss is no number.",
        ),
    ],
)
def test_what_a_step_does_is_said_in_words(study, told, said):
    assert meaning(study, told) == said


def test_an_error_is_lowered_not_added(study):
    errors = dataclasses.replace(study, metrics={"accuracy": "lower"})
    worse = difference(0.34, 0.32, 0.36, -1)
    told = {**TRAINING, "change": {"accuracy": worse}}
    assert meaning(errors, told) == "it lowers accuracy by 34 pt."


def test_the_text_has_a_row_a_step_and_fits(study):
    found, trial, told = attributed(study)
    lines = plain(found, trial, told).splitlines()
    assert max(map(len, lines)) <= 100
    rows = [x for x in lines if x.startswith(("pruning ", "distillation ", "quant"))]
    assert len(rows) == 3 and "3.90×" in rows[0] and "−34 pt" in rows[1]
    assert any("Contributions don't add up" in x for x in lines)


def test_the_page_shows_it(study):
    found, *_ = attributed(study)
    out = io.StringIO()
    page.page(found, out)
    assert "What each technique contributed" in out.getvalue()
    assert "costs 2.0 pt of accuracy" in out.getvalue()


def test_without_it_the_page_names_the_command(study):
    assert "paretune attribute demo" in attribution(study)


def test_the_path_is_what_the_search_noted(study):
    said = path(study, study.trials[13])
    assert "92.1 % to 41.0 % after pruning" in said
    assert path(study, study.trials[0]) == ""


def test_scripts_get_it_only_if_there_is_one(study):
    found, _, told = attributed(study)
    assert "attribution" not in records(study)
    kept = json.loads(json.dumps(records(found), allow_nan=False))["attribution"]
    assert kept["13"]["steps"] == told["steps"]


def test_every_study_can_be_shown(any_study):
    made = attribution(any_study)
    assert "<script>alert" not in made
    others = [t for t in any_study.trials if t.ok and t.number]
    assert bool(made) == bool(any_study.baseline and others)
