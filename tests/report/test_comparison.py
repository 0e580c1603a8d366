"""Two artifacts in words."""

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.target import Target
from paretune.core.trial import OK, Trial
from paretune.report.comparison import comparison, record


def latency(seconds, ratio, spread=0.001):
    noise = np.exp(spread * np.array([-1, 1, -1, 1, -1, 1]))
    return Measurement(
        "latency_p50",
        "s",
        "lower",
        tuple(seconds * noise),
        "launches",
        tuple(ratio * noise),
    )


def study(ratio, right=(0.9, 0.9), metrics=None):
    size = [Measurement("size", "byte", "lower", (b,), "exact") for b in (2e6, 1e6)]
    timed = latency(0.002, 1.0), latency(0.002 * ratio, ratio)
    rng = np.random.default_rng(0)
    draws = rng.random(2000)
    judged = [
        Measurement(
            "accuracy",
            "1",
            "higher",
            tuple((draws < p).astype(float)),
            "samples",
            split="validation",
        )
        for p in right
    ]
    trials = tuple(
        Trial(i, (), OK, {m.metric: m for m in (size[i], timed[i], judged[i])})
        for i in (0, 1)
    )
    metrics = {"accuracy": "higher"} if metrics is None else metrics
    axes = (Objective("size", "lower"), Objective("latency_p50", "lower"))
    return Study("a and b", "t", metrics, Target(), "", axes, trials=trials, noise=0.01)


def test_a_faster_one_has_its_ratio_with_an_interval():
    text = comparison(study(0.5, (0.9, 0.8)))
    assert "B is 2.0× faster than A" in text or "B is 2.00× faster than A" in text
    assert "0.500 of A's time (95 %:" in text
    assert "2.0× smaller" in text or "2.00× smaller" in text
    assert "pt" in text
    assert "validation split" in text


def test_within_the_noise_there_is_no_difference():
    text = comparison(study(1.0005))
    assert "No difference in latency" in text
    assert "no difference" in text
    assert "faster" not in text


def test_without_a_task_there_is_no_quality():
    text = comparison(study(0.5, metrics={}))
    assert "accuracy" not in text
    assert "--task" in text


def test_the_record_says_the_same():
    told = record(study(0.5))
    assert told["version"] == 1
    assert told["change"]["latency_p50"]["verdict"] == 1
    assert told["change"]["accuracy"]["verdict"] == 0
    assert told["change"]["size"]["amount"] == 0.5
    assert told["a"]["size"]["value"] == 2e6
