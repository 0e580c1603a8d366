"""The frontier trial by trial, beside the one of the whole study."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.frontier import Live, dominates, frontier
from tests.test_frontier import (
    ACCURACY,
    BUDGETS,
    LATENCY,
    SIZE,
    accuracy,
    exact,
    noisy_trials,
    size,
    study,
    trial,
)

FIGURES = st.integers(1, 6).map(float)
POINTS = st.lists(st.tuples(FIGURES, FIGURES, FIGURES), min_size=1, max_size=25)
AXES = (ACCURACY, SIZE, LATENCY)


def live(trials, **asked):
    found = Live(study((), **asked))
    for each in trials:
        found.add(each)
    return found


@settings(max_examples=100, deadline=None)
@given(POINTS, st.randoms())
def test_where_nothing_is_noise_it_is_the_frontier(points, random):
    trials = [
        exact(i, accuracy=a / 10, size=s, latency_p50=t)
        for i, (a, s, t) in enumerate(points)
    ]
    later = trials[1:]
    random.shuffle(later)
    found = live([trials[0], *later], objectives=AXES)
    whole = frontier(study(trials, AXES))
    assert found.frontier().members == whole.members


@settings(max_examples=100, deadline=None)
@given(noisy_trials(least=2), BUDGETS, st.randoms())
def test_what_nothing_beats_never_falls(trials, budget, random):
    later = trials[1:]
    random.shuffle(later)
    held = {"objectives": AXES, "budget": budget}
    whole = study(trials, **held)
    found = {t.number for t in live([trials[0], *later], **held).members}
    assert found
    for one in frontier(whole).members:
        if not any(dominates(t, one, whole) for t in trials):
            assert one.number in found


def test_copies_and_failures_never_become_members():
    figures = accuracy(np.ones(50)), size(1.0)
    first = trial(0, *figures, artifact="a")
    found = live([first])
    assert not found.add(trial(1, *figures, artifact="a"))
    assert not found.add(trial(2, *figures, state="failed:nan"))
    assert found.members == (first,)


def test_the_baseline_stays_in_its_study_after_it_fell():
    found = live([exact(0, accuracy=0.5, size=2), exact(1, accuracy=0.6, size=1)])
    told = found.frontier()
    assert [t.number for t in told.members] == [1]
    assert [t.number for t in told.dominated] == [0]
    assert told.study.baseline is not None
