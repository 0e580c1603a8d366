"""Statistics are computed from raw values, and mean what they say."""

import math

import numpy as np
import pytest

from paretune.core.errors import MeasurementError
from paretune.core.measurement import Measurement, log_t_interval


def test_intervals_of_accuracy_cover_the_truth():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        right = rng.random(500) < 0.9
        m = Measurement("accuracy", "1", "higher", tuple(map(float, right)), "samples")
        covered += m.interval.low <= 0.9 <= m.interval.high
    assert 0.91 <= covered / 300 <= 0.98


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
