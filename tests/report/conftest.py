"""Studies that all reports must be able to show."""

from __future__ import annotations

import dataclasses

import pytest

from paretune.core.budget import Budget
from paretune.core.measurement import Measurement
from paretune.core.strategy import Objective
from paretune.core.trial import Trial
from tests.report import synthetic

HOSTILE = "<script>alert(1)</script>\"'`|[x](javascript:1)\x1b[31m\u202e\ud800&lt;"


@pytest.fixture(scope="session")
def study():
    return synthetic.study()


@pytest.fixture(scope="session")
def uncertified():
    return synthetic.study(certified=False)


def hostile(study):
    """The study, with trouble wherever text comes from outside."""
    trials = [
        dataclasses.replace(
            t,
            steps=tuple({**s, "technique": HOSTILE, HOSTILE: HOSTILE} for s in t.steps),
            error=HOSTILE if t.error else "",
            trace=tuple({**n, "step": HOSTILE} for n in t.trace),
            parity={"max_abs": float("nan"), "agreement": 1.0},
        )
        for t in study.trials
    ]
    return dataclasses.replace(
        study,
        name=HOSTILE,
        task=HOSTILE,
        strategy=HOSTILE,
        trials=tuple(trials),
        environment={
            HOSTILE: HOSTILE,
            "runtime": {HOSTILE: HOSTILE},
            "nested": [HOSTILE],
        },
    )


def regression(study):
    """A task whose metric is an error, resampled as a whole, beside a second one."""
    trials = []
    for n, error in enumerate((0.31, 0.30, 0.35)):
        values = (error, *(error + 0.002 * i for i in range(-20, 21)))
        figures = (
            Measurement("mse", "1", "lower", values, "resamples", split="validation"),
            Measurement(
                "r2", "1", "higher", (-0.2 + n,), "resamples", split="validation"
            ),
            synthetic.exact("size", 1000 / (n + 1), "byte"),
            Measurement("latency_p50", "s", "lower", (2e-3 - 5e-4 * n,), "launches"),
            Measurement("throughput", "1/s", "higher", (5e3, 5.1e3), "launches"),
        )
        trials.append(
            Trial(n, (), "ok", {m.metric: m for m in figures}, artifact=f"{n}" * 64)
        )
    metrics = {"mse": "lower", "r2": "higher"}
    axes = (Objective("mse", "lower"), Objective("size", "lower"))
    budget = Budget.parse("throughput>=1/s, mse<=baseline+0.1", metrics)
    return dataclasses.replace(
        study,
        metrics=metrics,
        objectives=(*axes, Objective("throughput", "higher")),
        trials=tuple(trials),
        budget=budget,
        certified={},
        certifications=0,
    )


CASES = {
    "whole": lambda s: s,
    "hostile": hostile,
    "regression": regression,
    "empty": lambda s: dataclasses.replace(
        s, trials=(), certified={}, cost={}, environment={}, noise=0.0
    ),
    "baseline alone": lambda s: dataclasses.replace(s, trials=s.trials[:1]),
    "no baseline": lambda s: dataclasses.replace(s, trials=s.trials[1:]),
    "all failed": lambda s: dataclasses.replace(
        s, trials=tuple(t for t in s.trials if not t.ok), certified={}
    ),
    "no budget": lambda s: dataclasses.replace(s, budget=Budget()),
    "budget unmet": lambda s: dataclasses.replace(
        s, budget=Budget.parse("size<=1kB, accuracy>=baseline+2pt", s.metrics)
    ),
    "unmeasured budget": lambda s: dataclasses.replace(
        s, budget=Budget.parse("cold_start<=1s", s.metrics)
    ),
    "partly certified": lambda s: dataclasses.replace(
        s, certified={k: v for k, v in s.certified.items() if k in (0, 13)}
    ),
}


@pytest.fixture(scope="session", params=CASES)
def any_study(request, study):
    """Every kind of study in turn."""
    return CASES[request.param](study)
