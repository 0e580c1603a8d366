"""The frontier from records: the same members as from all the bodies."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune import studies
from paretune.core.measurement import Measurement
from paretune.core.target import Target
from paretune.core.trial import HALTED, OK, Trial
from paretune.frontier import frontier, record
from paretune.frontier._staircase import best_below, least_above
from paretune.store.trials import Trials
from tests.store.faults import folder

AXES = [["accuracy", "higher"], ["size", "lower"], ["latency_p50", "lower"]]


def spec(require="", axes=AXES, better="higher"):
    return {
        "task": "none",
        "metrics": {"accuracy": better},
        "target": Target("null").to_json(),
        "strategy": "anything",
        "objectives": [[m, better if m == "accuracy" else b] for m, b in axes],
        "require": require,
    }


def trial(number, rng, samples, spread, levels, state=OK, better="higher"):
    """Figures from few values, so that there are ties, copies and circles."""
    scores = (rng.random(samples) < rng.choice(levels)).astype(float).tolist()
    ratios = np.exp(rng.choice([-0.1, -0.05, 0.0, 0.05]) + rng.normal(0, spread, 4))
    times = tuple(ratios.tolist())
    figures = [
        Measurement(
            "accuracy", "1", better, tuple(scores), "samples", split="validation"
        ),
        Measurement("size", "byte", "lower", (float(rng.integers(1, 12)),), "exact"),
        Measurement("latency_p50", "s", "lower", times, "launches", times),
        Measurement("macs", "1", "lower", (float(rng.integers(1, 5)),), "exact"),
    ]
    by_name = {m.metric: m for m in figures}
    file = None if rng.random() < 0.2 else f"file {rng.integers(60)}"
    return Trial(number, (), state, by_name, artifact=file)


def fill(store, what, trials):
    store.create_study("s", what)
    lease = store.acquire("s", "me")
    for t in trials:
        store.finish(store.claim("s", [], lease), t)


def both(store, root):
    """The numbers of the members: quickly, and from all trials."""
    quick = studies.load_frontier("s", store, root)
    slow = frontier(studies.load_study("s", store, root))
    assert quick.study.certified == slow.study.certified
    return [t.number for t in quick.members], [t.number for t in slow.members]


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 40),
    samples=st.sampled_from([1, 9, 40, 200]),
    spread=st.sampled_from([0.0, 0.002, 0.05]),
    require=st.sampled_from(["", "accuracy>=baseline-1pt", "size<=5B, macs<=3"]),
    axes=st.sampled_from([AXES, AXES[:2], [*AXES[:2], ["macs", "lower"]]]),
    better=st.sampled_from(["higher", "lower"]),
)
@settings(max_examples=30, deadline=None)
def test_the_members_are_those_of_the_whole(
    seed, count, samples, spread, require, axes, better
):
    rng = np.random.default_rng(seed)
    levels = ([0.5], [0.1, 0.9], [0.8, 0.82, 0.85, 0.9])[seed % 3]
    make = partial(
        trial, rng=rng, samples=samples, spread=spread, levels=levels, better=better
    )
    with folder() as root:
        store = Trials.open(root)
        fill(store, spec(require, axes, better), [make(n) for n in range(count)])
        quick, slow = both(store, root)
    assert quick == slow


def test_amended_figures_count(tmp_path):
    rng = np.random.default_rng(1)
    make = partial(trial, rng=rng, samples=40, spread=0.01, levels=[0.1, 0.9])
    store = Trials.open(tmp_path)
    fill(store, spec(), [make(n) for n in range(40)])
    before, _ = both(store, tmp_path)
    smallest = Measurement("size", "byte", "lower", (0.5,), "exact")
    sure = make(40).measurements["accuracy"]
    perfect = Measurement(
        "accuracy", "1", "higher", (1.0,) * 40, "samples", split=sure.split
    )
    quick = Measurement("latency_p50", "s", "lower", (0.1,) * 4, "launches", (0.1,) * 4)
    loser = next(n for n in range(1, 40) if n not in before)
    figures = {m.metric: m for m in (smallest, perfect, quick)}
    store.amend("s", loser, figures)
    now, slow = both(store, tmp_path)
    assert now == slow
    assert loser in now


def test_what_is_not_ok_is_no_member(tmp_path):
    rng = np.random.default_rng(2)
    make = partial(trial, rng=rng, samples=40, spread=0.01, levels=[0.9])
    states = [OK, HALTED, OK, "failed:nan", OK]
    store = Trials.open(tmp_path)
    fill(store, spec(), [make(n, state=state) for n, state in enumerate(states)])
    with store.view("s") as view:
        assert view.records["number"].tolist() == [0, 2, 4]
    quick, slow = both(store, tmp_path)
    assert quick == slow


@pytest.mark.parametrize("state", [OK, "failed:error"])
def test_without_a_baseline_or_with_scores_between_all_bodies_are_read(tmp_path, state):
    rng = np.random.default_rng(3)
    make = partial(trial, rng=rng, samples=9, spread=0.01, levels=[0.9])
    odd = Measurement(
        "accuracy", "1", "higher", (0.25, 0.5) * 4, "samples", split="validation"
    )
    first, second = make(0, state=state), make(1)
    second = Trial(1, (), OK, {**second.measurements, "accuracy": odd})
    store = Trials.open(tmp_path)
    fill(store, spec(), [first, second, make(2)])
    quick, slow = both(store, tmp_path)
    assert quick == slow


def test_an_older_store_is_read_as_it_is(tmp_path):
    schema = Path(__file__).parent / "store" / "schemas" / "1_figures.sql"
    with closing(sqlite3.connect(tmp_path / "studies.db")) as connection:
        connection.executescript(schema.read_text())
    store = Trials.open(tmp_path, create=False)
    with store.view("a") as view:
        assert view.metrics == ()
    assert studies.load_frontier("a", store, tmp_path).members
    Trials.open(tmp_path)
    with store.view("a") as view:
        assert view.records["number"].tolist() == [0, 1]
        assert view.right("accuracy", [1, 0]) != view.right("accuracy", [0, 1])
        for n in (0, 1):
            kept = record(store.trial("a", n), view.metrics)
            assert view.records[n].tobytes() == kept


@given(
    points=st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=40),
    asked=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_a_staircase_never_says_too_much(points, asked):
    costs, heights = np.array(points, dtype=float).T[:2], np.array(points).T[2]
    at = np.array(asked, dtype=float)[:, None]
    below = heights[(costs < at).all(axis=0)]
    above = heights[(costs >= at).all(axis=0)]
    assert best_below(costs, heights, at)[0] <= max(below, default=-np.inf)
    assert least_above(costs, heights, at)[0] <= min(above, default=np.inf)
