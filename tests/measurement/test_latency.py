"""Latency on the null runtime, whose time is known, and on fakes."""

from __future__ import annotations

import math
import os
from functools import partial

import numpy as np
import pytest

from paretune.catalog import usable_runtime
from paretune.core.measurement import Measurement
from paretune.core.meter import Subject
from paretune.core.target import Target
from paretune.engine import launches
from paretune.measurement._protocol import Protocol
from paretune.measurement.latency import Latency
from tests.measurement.artifacts import TARGET, Numbers, sleeper
from tests.measurement.test_timing import Machine

BRIEF = Protocol("brief", launches=3, rounds=2, warmup_s=0.05, settle_s=0.5)


def fake(machine: Machine, name: str, seconds: float) -> Subject:
    start = machine.start(name, seconds)
    return Subject(None, TARGET, None, load=None, launch=lambda empty: start())


def brief() -> Latency:
    meter = Latency()
    meter.protocol = BRIEF
    return meter


def test_injected_sleeps_are_measured_to_3_percent(tmp_path):
    task = Numbers()
    launches.write_inputs(task, TARGET, tmp_path / "inputs.npz")
    subject = partial(
        launches.subject,
        usable_runtime("null"),
        target=TARGET,
        task=task,
        inputs=tmp_path / "inputs.npz",
    )
    one, three = (subject(sleeper(tmp_path, s)) for s in (0.001, 0.003))
    best = [math.inf] * 4
    for _ in range(3):  # other work on this machine may get in the way of some launches
        (a, *_), (b, *_) = brief().measure([one, three], one)
        found = (a.values, 0.001), (b.values, 0.003), (a.ratios, 1.0), (b.ratios, 3.0)
        errors = [min(abs(v / known - 1) for v in some) for some, known in found]
        best = [min(pair) for pair in zip(best, errors, strict=True)]
        if max(best) < 0.03:
            break
    else:
        if os.getloadavg()[0] > (os.cpu_count() or 1):
            pytest.skip("this machine is too busy to time anything on")
    assert max(best) < 0.03


def test_percentiles_want_enough_calls():
    machine = Machine(noise=0.1)
    slow, fast = fake(machine, "slow", 0.02), fake(machine, "fast", 1e-4)
    ((*few,),) = brief().measure([slow], slow)  # 3 x 2 x 2 x 3 = 36 calls
    ((*many,),) = brief().measure([fast], fast)
    assert [m.metric for m in few] == ["latency_p50", "throughput"]
    assert [m.metric for m in many] == list(Latency.metrics)
    p50, p90, p99, _ = (m.value for m in many)
    assert p50 < p90 < p99


def test_a_screening_says_so_and_a_full_run_has_no_flag():
    machine = Machine()
    subject = fake(machine, "one", 0.01)
    ((screened, *_),) = Latency("screening").measure([subject], subject)
    assert screened.flags == ("screening",)
    assert len(screened.values) == len(screened.ratios) == 2
    ((full, *_),) = Latency("full").measure([subject], subject)
    assert full.flags == ()
    assert len(full.values) == len(full.ratios) == 6


def test_the_noise_floor_grows_with_the_noise_of_launches():
    floors = []
    for spread in (0.001, 0.03):
        machine = Machine(seed=1, launch_noise=spread)
        floors.append(Latency("screening").noise_floor(fake(machine, "a", 0.01)))
    assert 0 < floors[0] < 0.01 < floors[1] < 0.2


def test_noise_is_the_far_end_of_the_interval():
    paired = Measurement(
        "latency_p50",
        "s",
        "lower",
        (1.0,) * 6,
        "launches",
        tuple(np.exp([0.03, 0.01, 0.02, 0.02, 0.01, 0.03])),
    )
    _, interval = paired.ratio
    assert paired.floor == pytest.approx(math.log(interval.high))
    assert paired.floor > 0.02


def test_the_floor_needs_several_launches():
    once = Measurement("latency_p50", "s", "lower", (1.0,), "launches", (1.0,))
    assert once.floor == math.inf


def test_samples_of_the_whole_batch_count():
    machine = Machine()
    target = Target(runtime="null", batch=32, scenario="offline")
    slow, fast = (
        Subject(None, target, None, None, lambda empty, s=start: s())
        for start in (machine.start("slow", 0.02), machine.start("fast", 0.01))
    )
    ((*_, measured),) = Latency("screening").measure([fast], slow)
    assert measured.metric == "throughput"
    assert measured.value == pytest.approx(3200)
    assert measured.ratio[0] == pytest.approx(2.0)
    assert measured.better == "higher"
    assert measured.flags == ("screening",)


def test_the_tail_of_a_slow_model_is_there_if_it_is_asked_for():
    machine = Machine(noise=0.01)
    slow = fake(machine, "slow", 0.02)
    ((*without,),) = Latency("full").measure([slow], slow)
    ((*full,),) = Latency("full", tail=True).measure([slow], slow)
    assert "latency_p99" not in [m.metric for m in without]
    assert [m.metric for m in full] == list(Latency.metrics)


def test_no_percentile_is_held_against_one_of_too_few_calls():
    machine = Machine(noise=0.01)
    slow, fast = fake(machine, "slow", 0.05), fake(machine, "fast", 1e-4)
    ((*taken,),) = Latency("full").measure([fast], slow)
    assert "latency_p99" not in [m.metric for m in taken]


def test_precision_beyond_the_noise_of_the_host_is_not_bought():
    assert Latency("full").protocol.precision == 0.01
    assert Latency("full", noise=0.05).protocol.precision == 0.025
