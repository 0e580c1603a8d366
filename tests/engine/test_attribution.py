"""A recipe without one of its steps, and how its figures change."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune import catalog
from paretune.core.measurement import Measurement
from paretune.engine.attribution import changes, left_out, told

PRUNE = {"technique": "structured_pruning", "ratio": 0.5}
TUNE = {"technique": "fine_tuning", "epochs": 1}
INT8 = {"technique": "post_training_quantization", "scheme": "static_int8"}


def timed(*ratios):
    values = tuple(r * 1e-3 for r in ratios)
    return {
        "latency_p50": Measurement(
            "latency_p50", "s", "lower", values, "launches", ratios
        )
    }


def judged(scores, better="higher"):
    return {
        "accuracy": Measurement(
            "accuracy", "1", better, tuple(scores), "samples", split="validation"
        )
    }


def test_each_step_is_left_out_once():
    whole = catalog.recipe([PRUNE, TUNE, INT8])
    found = left_out(whole)
    assert [p.technique for p in found] == [s.name() for s in whole.steps]
    assert [len(p.recipe.steps) for p in found] == [2, 2, 2]
    assert not any(p.refused for p in found)
    assert found[2].recipe.steps == whole.steps[:2]


def test_a_step_that_another_needs_is_refused_in_a_sentence():
    whole = catalog.recipe([{"technique": "supernet"}, {"technique": "subnet"}])
    first, second = left_out(whole)
    assert "subnet needs" in first.refused and first.refused.endswith(".")
    assert not second.refused


def test_the_only_step_leaves_the_baseline():
    (only,) = left_out(catalog.recipe([INT8]))
    assert only.recipe.steps == () and not only.refused


def test_quality_is_compared_sample_by_sample():
    whole = judged(np.repeat([1.0, 0.0], [900, 100]))
    without = judged(np.repeat([1.0, 0.0], [800, 200]))
    found = changes(without, whole, {})["accuracy"]
    assert found["kind"] == "difference" and found["verdict"] == -1
    assert found["value"] == pytest.approx(-0.1)
    assert found["low"] < -0.1 < found["high"] < 0


def test_an_error_that_grows_is_worse():
    few, many = np.repeat([0.0, 1.0], [900, 100]), np.repeat([0.0, 1.0], [800, 200])
    assert (
        changes(judged(many, "lower"), judged(few, "lower"), {})["accuracy"]["verdict"]
        == -1
    )


def test_other_samples_are_not_compared():
    assert not changes(judged([1.0] * 5), judged([1.0] * 6), {})


def test_times_are_compared_launch_by_launch():
    whole, without = timed(0.50, 0.60, 0.40), timed(1.01, 1.19, 0.80)
    found = changes(without, whole, {})["latency_p50"]
    assert found["verdict"] == -1 and found["value"] == pytest.approx(2.0, rel=0.02)
    assert 1 < found["low"] < found["value"] < found["high"]


def test_what_lies_within_the_noise_of_the_host_is_a_tie():
    whole, without = timed(1.0, 1.0, 1.0), timed(1.03, 1.031, 1.029)
    assert changes(without, whole, {})["latency_p50"]["verdict"] == -1
    found = changes(without, whole, {"latency_p50": 0.05})["latency_p50"]
    assert found["verdict"] == 0 and found["low"] <= 1 <= found["high"]


def test_one_launch_tells_nothing():
    found = changes(timed(2.0), timed(1.0), {})["latency_p50"]
    assert found["verdict"] == 0 and found["high"] is None


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_sizes_turn_round_when_the_two_do(a, b):
    one, other = (
        {"size": Measurement("size", "byte", "lower", (float(n),), "exact")}
        for n in (a, b)
    )
    forth, back = changes(one, other, {})["size"], changes(other, one, {})["size"]
    assert forth["verdict"] == -back["verdict"]
    assert forth["value"] * back["value"] == pytest.approx(1)
    assert (forth["verdict"] == 0) == (abs(np.log(a / b)) < 0.005)


def test_figures_are_json_without_infinity():
    found = told(timed(1.0), ("latency_p50", "size"))
    assert list(found) == ["latency_p50"]
    assert found["latency_p50"]["high"] is None
