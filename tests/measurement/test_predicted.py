"""Latencies that were foretold, beside what was measured.

`latencies.json` has structures of two tasks, pruned at random and measured by the
screening protocol on a busy host, as floats and as static int8.
"""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from paretune.measurement._predicted import LEAST, LatencyModel, Point

MEASURED = json.loads((Path(__file__).parent / "latencies.json").read_text())
TASKS = tuple(MEASURED)
GROUPS = ("float", "post_training_quantization")


@cache
def points(task):
    return tuple(
        Point(tuple(map(tuple, p["layers"])), p["group"], p["ratio"])
        for p in MEASURED[task]
    )


def without(known, point):
    """Those of other layers: a twin would give the answer away."""
    return tuple(p for p in known if p.layers != point.layers)


@cache
def left_out(task, group):
    """(what was measured, what other structures foretold) of each point."""
    known = points(task)
    return [
        (p.seconds, LatencyModel(without(known, p)).predict(p.layers, group))
        for p in known
        if p.group == group
    ]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("task", TASKS)
def test_the_interval_holds_about_as_often_as_it_says(task, group):
    told = [(s, f) for s, f in left_out(task, group) if f.known]
    assert len(told) >= 15
    held = sum(f.low <= seconds <= f.high for seconds, f in told)
    assert held >= 0.9 * len(told)


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("task", TASKS)
def test_most_structures_are_foretold_well(task, group):
    told = [(s, f) for s, f in left_out(task, group) if f.known]
    assert median(abs(f.value / s - 1) for s, f in told) < 0.1


@pytest.mark.parametrize("task", TASKS)
def test_it_holds_from_the_first_time_that_something_is_said(task):
    held = []
    order = np.random.default_rng(0).permutation(len(points(task)))
    known = [points(task)[i] for i in order]
    for count, point in enumerate(known):
        before = without(known[:count], point)
        told = LatencyModel(before).predict(point.layers, point.group)
        if told.known:
            held.append(told.low <= point.seconds <= told.high)
    assert len(held) >= 20
    assert sum(held) >= 0.9 * len(held)


def test_nothing_is_said_of_a_group_with_few_points():
    known = points(TASKS[0])
    few = [p for p in known if p.group == "float"]
    for count in range(len(few)):
        others = [p for p in known if p.group != "float"]
        told = LatencyModel([*others, *few[:count]]).predict(few[-1].layers, "float")
        if len({p.layers for p in few[:count]}) < LEAST:
            assert (told.low, told.high) == (0.0, math.inf)
    assert told.known


def test_nothing_is_said_far_beyond_what_was_measured():
    known = points(TASKS[0])
    largest = max(known, key=lambda p: sum(layer[1] for layer in p.layers)).layers
    grown = [(k, 3 * m, 3 * w, i, o) for k, m, w, i, o in largest]
    assert not LatencyModel(known).predict(grown, "float").known
    other = [*largest, ("convolutional_fancy", 0, 0, 1, 1)]
    assert LatencyModel(known).predict(other, "float").known
    unseen = [*largest, ("depthwise", 1, 1, 1, 1)]
    assert not LatencyModel(known).predict(unseen, "float").known


@settings(max_examples=40, deadline=None)
@given(data=st.data(), task=st.sampled_from(TASKS), group=st.sampled_from(GROUPS))
def test_more_of_anything_never_takes_less_time(data, task, group):
    known = points(task)
    model = model_of(task)
    layers = data.draw(st.sampled_from([p.layers for p in known]))
    at = data.draw(st.integers(0, len(layers) - 1))
    kind, *sizes = layers[at]
    grown = [round(s * data.draw(st.floats(1.0, 1.5))) for s in sizes]
    more = [*layers[:at], (kind, *grown), *layers[at + 1 :]]
    before, after = model.predict(layers, group), model.predict(more, group)
    if before.known and after.known:
        assert after.value >= before.value * (1 - 1e-9)
        assert after.low >= before.low * (1 - 1e-9)
        assert after.high >= before.high * (1 - 1e-9)


@cache
def model_of(task):
    return LatencyModel(points(task))


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-4, 1e4), group=st.sampled_from(GROUPS))
def test_the_unit_of_time_does_not_matter(scale, group):
    known = points(TASKS[0])
    scaled = [replace(p, seconds=p.seconds * scale) for p in known]
    one = model_of(TASKS[0]).predict(known[3].layers, group)
    other = LatencyModel(scaled).predict(known[3].layers, group)
    for a, b in ((one.low, other.low), (one.value, other.value)):
        assert b == pytest.approx(a * scale, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), noise=st.sampled_from([0.0, 0.02, 0.2]))
def test_the_interval_has_the_value_in_it_and_grows_with_the_noise(seed, noise):
    rng = np.random.default_rng(seed)
    made = []
    for macs in rng.uniform(1e6, 1e7, 12):
        layers = (("convolution", macs, 1e3, 1e4, 1e4), ("relu", 0, 0, 1e4, 1e4))
        seconds = (1e-5 + 1e-10 * macs) * math.exp(rng.normal(0, noise))
        made.append(Point(layers, "float", seconds))
    told = LatencyModel(made[:-1]).predict(made[-1].layers, "float")
    assume(told.known)
    assert told.low <= told.value <= told.high
    if noise == 0.2:
        assert told.high / told.low > 1.2


def test_one_structure_measured_for_ever_does_not_push_out_the_others():
    task = TASKS[0]
    known = [p for p in points(task) if p.group == "float"]
    often = [
        replace(known[0], seconds=known[0].seconds * (1 + n / 1e4)) for n in range(90)
    ]
    model = LatencyModel([*known, *often])
    assert model.predict(known[1].layers, "float").known
