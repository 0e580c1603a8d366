"""What is said of zeros that make nothing faster."""

import dataclasses
import io

import pytest

from paretune.core.measurement import Measurement
from paretune.core.target import Target
from paretune.report import why
from paretune.report._zeros import zeros
from paretune.report.page import page
from tests.report.test_why import explanation

SAID = (
    "90 % of its weights are zero; ONNX Runtime multiplies by zero as by any number, "
    "so the zeros make the file smaller, not the model faster."
)


def noted(*shares, spared=40_000):
    names = ("baseline", "magnitude_pruning", "fine_tuning")
    nodes = [
        {"step": name, "format": "torch", "zeros": share}
        for name, share in zip(names, shares, strict=False)
    ]
    return (*nodes, {"step": "export", "format": "onnx", "spared": spared})


def with_trace(study, number, trace):
    trials = tuple(
        dataclasses.replace(t, trace=trace) if t.number == number else t
        for t in study.trials
    )
    made = dataclasses.replace(study, trials=trials)
    return made, next(t for t in trials if t.number == number)


@pytest.fixture
def sparse(study):
    return with_trace(study, 7, noted(0.0, 0.9, 0.9))


def test_it_is_said_what_the_zeros_do_and_what_they_do_not(sparse):
    assert zeros(*sparse) == SAID


def test_a_file_that_something_else_makes_smaller_is_not_put_down_to_zeros(study):
    few = with_trace(study, 7, noted(0.0, 0.1, 0.1, spared=0))
    _, trial = few
    assert trial.values["size"] < study.baseline.values["size"]
    assert zeros(*few) == (
        "10 % of its weights are zero; ONNX Runtime multiplies by zero as by any "
        "number, so the zeros make neither the model faster nor its file smaller."
    )


def test_bytes_that_are_next_to_nothing_of_a_file_are_no_gain(sparse):
    study, trial = sparse
    size = Measurement("size", "byte", "lower", (1e9,), "exact")
    larger = dataclasses.replace(
        trial, measurements={**trial.measurements, "size": size}
    )
    assert zeros(study, larger).endswith(
        "neither the model faster nor its file smaller."
    )


def test_a_file_that_keeps_every_weight_is_not_made_smaller(study):
    trace = noted(0.0, 0.9, 0.9)[:-1]
    assert zeros(*with_trace(study, 7, trace)).endswith("nor its file smaller.")


def test_nothing_is_said_of_a_file_where_nothing_was_noted(study):
    trace = noted(0.0, 0.9, 0.9, spared=None)
    said = zeros(*with_trace(study, 7, trace))
    assert said.endswith("so the zeros make the model no faster.")


@pytest.mark.parametrize("trace", [(), noted(0.0, 0.01), noted(0.9, 0.9, 0.9)])
def test_a_recipe_that_makes_few_zeros_has_nothing_to_be_told(study, trace):
    assert zeros(*with_trace(study, 7, trace)) == ""


def test_the_baseline_is_as_it_came(study):
    assert zeros(*with_trace(study, 0, noted(0.9))) == ""


def test_nothing_is_said_of_a_runtime_that_is_not_known_for_it(sparse):
    study, trial = sparse
    other = dataclasses.replace(study, target=Target(runtime="null"))
    assert zeros(other, trial) == ""


def test_why_and_the_page_say_it(sparse):
    study, trial = sparse
    words = " ".join(why.plain(study, trial, explanation()).split())
    assert SAID in words
    out = io.StringIO()
    page(study, out)
    assert out.getvalue().count(SAID) == 1
