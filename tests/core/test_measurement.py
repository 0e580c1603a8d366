"""Statistics are computed from raw values, and mean what they say."""

import math

import numpy as np
import pytest

from paretune.core.errors import MeasurementError
from paretune.core.measurement import Measurement, log_t_interval


def quality(scores, split="validation"):
    values = tuple(np.asarray(scores, float).tolist())
    return Measurement("accuracy", "1", "higher", values, "samples", split=split)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.97])
@pytest.mark.parametrize("count", [100, 1_000])
def test_intervals_of_accuracy_cover_the_truth(count, share):
    """500 test sets, drawn anew from all data there could be."""
    rng = np.random.default_rng(count)
    ends = [quality(rng.random(count) < share).interval for _ in range(500)]
    assert 0.92 <= sum(e.low <= share <= e.high for e in ends) / 500 <= 0.98


def test_intervals_of_a_float_score_cover_the_truth():
    rng = np.random.default_rng(4)
    ends = [quality(rng.beta(8, 1, 80)).interval for _ in range(200)]
    assert 0.91 <= sum(e.low <= 8 / 9 <= e.high for e in ends) / 200 <= 0.985


def test_all_right_is_not_certainly_perfect():
    m = quality([1] * 60)
    assert (m.value, m.interval.high) == (1.0, 1.0)
    assert 0.93 < m.interval.low < 0.97


def test_what_is_a_share_of_samples_is_known():
    assert quality([0, 1, 1]).binary
    assert not quality([0, 0.5, 1]).binary
    assert not Measurement("size", "byte", "lower", (1.0,), "exact").binary
    assert int(np.bitwise_count(quality([0, 1, 1] * 7).right).sum()) == 14


def test_intervals_over_launches_cover_the_truth():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(500):
        low, high = log_t_interval(tuple(np.exp(rng.normal(0.0, 0.05, 6))))
        covered += low <= 1.0 <= high
    assert 0.92 <= covered / 500 <= 0.98


def test_one_launch_tells_nothing_of_its_spread():
    assert log_t_interval((0.01,)) == (0.0, math.inf)


def test_two_models_share_their_resamples():
    rng = np.random.default_rng(2)
    right = rng.random(400) < 0.8
    a = Measurement("accuracy", "1", "higher", tuple(map(float, right)), "samples")
    b = Measurement("accuracy", "1", "higher", tuple(map(float, right)), "samples")
    assert np.array_equal(a.replicates, b.replicates)


@pytest.mark.parametrize("bad", [(), (math.nan,), (1.0, math.inf)])
def test_no_figure_without_finite_values(bad):
    with pytest.raises(MeasurementError):
        Measurement("size", "byte", "lower", bad, "exact")


def test_json_keeps_every_value():
    m = Measurement(
        "latency_p50", "s", "lower", (0.1, 0.2), "launches", (1.0, 1.1), flags=("x",)
    )
    assert Measurement.from_json(m.to_json()) == m
    assert m.ratio and m.ratio[0] == pytest.approx(math.sqrt(1.1))
