"""The frontier by arrays is the frontier pair by pair."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.strategy import Objective
from paretune.frontier import frontier
from paretune.frontier._columns import Columns, axes
from paretune.frontier._compare import verdict
from paretune.frontier._figures import distinct
from paretune.frontier._members import kept
from paretune.frontier._verdicts import hopeful, verdicts
from tests.test_frontier import (
    ACCURACY,
    BUDGETS,
    LATENCY,
    MEMORY,
    SIZE,
    accuracy,
    circle,
    latency,
    memory,
    noisy_trials,
    size,
    study,
    trial,
)

AXES = (ACCURACY, SIZE, LATENCY)


def slowly(asked):
    """Members' numbers, every pair looked at by itself."""
    trials = distinct(asked)
    beats = np.array([[verdict(a, b, asked) > 0 for b in trials] for a in trials])
    if not trials:
        return set()
    stay = kept(asked, trials, beats)
    return {t.number for t, keep in zip(trials, stay, strict=True) if keep}


@st.composite
def closely(draw):
    """Trials whose figures are few: they often tie, and some are missing."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    trials = []
    for number in range(draw(st.integers(1, 25))):
        scores = rng.random(200) < rng.choice([0.5, 0.55, 0.6])
        if rng.random() < 0.05:
            scores = scores * 0.5
        taken = [
            accuracy(scores),
            size(rng.integers(1, 4)),
            latency(rng.choice([1.0, 1.02, 1.05]), 0.02, seed=rng.integers(10**6)),
            memory(*np.sort(rng.choice([1.0, 1.1, 1.3], 2))),
        ]
        trials.append(trial(number, *[m for m in taken if rng.random() > 0.03]))
    return trials


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(noisy_trials(least=1), closely()),
    BUDGETS,
    st.sampled_from([0.0, 0.03]),
    st.sampled_from([AXES, (*AXES, MEMORY), (SIZE, ACCURACY), (LATENCY, MEMORY)]),
)
def test_every_pair_has_the_same_verdict(trials, budget, noise, over):
    asked = study(trials, over, budget, noise)
    trials = [t for t in trials if t.ok]
    on = axes(asked, trials)
    rows = Columns.of(asked, on, trials)
    count = len(trials)
    left, right = np.divmod(np.arange(count * count), count)
    found = verdicts(asked, on, rows, rows, (left, right)).reshape(count, count)
    for i in range(count):
        looked = hopeful(on, rows, i)
        for j in range(count):
            if i != j:
                assert found[i, j] == verdict(trials[i], trials[j], asked)
                assert looked[j] or found[j, i] < 1
    assert {t.number for t in frontier(asked).members} == slowly(asked)


@pytest.mark.parametrize("better", [1.0, 0.5])
def test_circles_are_resolved_as_ever(better, monkeypatch):
    """Few champions, so that most of the work is done row by row.

    Args:
        better: times of one more trial, which beats the whole circle where it is quick.
    """
    monkeypatch.setattr("paretune.frontier._members.CHAMPIONS", 1)
    quick = [latency(better, seed=9), memory(1, 2)]
    start = replace(latency(better, seed=8), metric="cold_start", ratios=())
    slow = trial(5, latency(9.0, seed=7), memory(90, 99))
    trials = [*circle(), trial(4, *quick, start), slow]
    asked = study(trials, (LATENCY, MEMORY, Objective("cold_start", "lower")))
    members = {t.number for t in frontier(asked).members}
    assert members == slowly(asked)
    assert members
    alone = study(circle(), asked.objectives)
    assert {t.number for t in frontier(alone).members} == slowly(alone)
