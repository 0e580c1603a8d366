"""The timing loop as a pure function of launches whose clocks are arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import MeasurementError
from paretune.core.measurement import log_t_interval
from paretune.core.target import Target
from paretune.measurement._protocol import (
    FULL,
    SCREENING,
    Protocol,
    flags_of,
    protocol_of,
)
from paretune.measurement._timing import Figures, Timing, compare

QUICK = Protocol("quick", launches=6, rounds=6, warmup_s=0.02, settle_s=1.0)


@dataclass
class Machine:
    """Makes launches whose calls take a known time, and notes what they do."""

    seed: int = 0
    noise: float = 0.0
    launch_noise: float = 0.0
    drift: float = 0.0
    log: list[tuple[str, str]] = field(default_factory=list)
    open: int = 0
    most: int = 0
    now: float = 0.0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def start(self, name: str, seconds: float, dies: str = ""):
        def begin():
            self.log.append(("start", name))
            self.open += 1
            self.most = max(self.most, self.open)
            own = seconds * np.exp(self.rng.normal(0, self.launch_noise))
            return Fake(self, name, own, dies)

        return begin


@dataclass
class Fake:
    machine: Machine
    name: str
    seconds: float
    dies: str
    load_s: float = 0.5
    starts: list[int] = field(default_factory=list)

    @property
    def first_call_s(self) -> float:
        if self.dies == "loading":
            raise MeasurementError("launch-crash", self.name)
        return 0.1

    def block(self, calls, start=0, span=0):
        if self.dies == "running":
            raise MeasurementError("launch-crash", self.name)
        machine = self.machine
        machine.log.append(("block", self.name))
        self.starts.append(start)
        slow = 1.0 + machine.drift * machine.now
        spread = np.exp(machine.rng.normal(0, machine.noise, calls))
        times = list(self.seconds * slow * spread)
        machine.now += sum(times)
        return times

    def peak_memory(self):
        return 0

    def close(self):
        self.machine.log.append(("close", self.name))
        self.machine.open -= 1


@settings(max_examples=25, deadline=None)
@given(
    ratio=st.floats(0.1, 10.0),
    seconds=st.floats(1e-4, 5e-3),
    drift=st.floats(0.0, 0.02),
    seed=st.integers(0, 1000),
)
def test_a_known_ratio_is_found_on_a_machine_that_drifts(ratio, seconds, drift, seed):
    machine = Machine(seed, drift=drift)
    (timing,) = compare(
        machine.start("base", seconds),
        [machine.start("arm", seconds * ratio)],
        QUICK,
        np.random.default_rng(seed),
    )
    assert len(timing.ratios) == QUICK.launches
    assert timing.ratios == pytest.approx([ratio] * QUICK.launches, rel=0.01)


def test_intervals_over_launches_are_calibrated():
    excluded = 0
    for seed in range(150):
        machine = Machine(seed, noise=0.05, launch_noise=0.02)
        (timing,) = compare(
            machine.start("base", 0.004),
            [machine.start("same", 0.004)],
            Protocol("quick", launches=6, rounds=2, warmup_s=0.01, settle_s=0.1),
            np.random.default_rng(seed),
        )
        low, high = log_t_interval(timing.ratios)
        excluded += not low <= 1.0 <= high
    assert excluded <= 15  # 7.5 expected


@pytest.mark.parametrize("arms", [1, 3, 20])
def test_nothing_is_timed_while_anything_starts_and_all_is_closed(arms):
    machine = Machine()
    timings = compare(
        machine.start("base", 0.001),
        [machine.start(str(i), 0.001 * (i + 1)) for i in range(arms)],
        QUICK,
        np.random.default_rng(0),
    )
    medians = [[pair.arm.median for pair in timing.launches] for timing in timings]
    expected = [[0.001 * (i + 1)] * QUICK.launches for i in range(arms)]
    assert np.allclose(medians, expected)
    assert machine.open == 0
    assert machine.most <= QUICK.group + 1
    running = 0
    timed = False
    for what, _ in machine.log:
        running += {"start": 1, "close": -1}.get(what, 0)
        assert not (what == "start" and timed)
        timed = what == "block" or (timed and running > 0)


def test_arms_meet_the_baseline_in_abba_order_anew_each_launch():
    machine = Machine()
    compare(
        machine.start("base", 0.001),
        [machine.start(name, 0.001) for name in "abcd"],
        QUICK,
        np.random.default_rng(1),
    )
    orders = set()
    rest = [entry for entry in machine.log if entry[0] != "start"]
    while rest:
        ends = next(i for i, (what, _) in enumerate(rest) if what == "close")
        blocks = [name for _, name in rest[:ends]][-4 * 4 * QUICK.rounds :]
        meetings = [blocks[i : i + 4] for i in range(0, len(blocks), 4)]
        for first, second, third, fourth in meetings:
            assert first == fourth == "base"
            assert second == third != "base"
        orders.add(tuple(second for _, second, *_ in meetings[:4]))
        rest = rest[ends + 5 :]
    assert len(orders) > 1


def test_both_arms_get_the_same_inputs_and_other_ones_each_round():
    machine = Machine()
    seen: dict[str, list[int]] = {}

    def spy(name, begin):
        def started():
            launch = begin()
            seen[name] = launch.starts
            return launch

        return started

    compare(
        spy("base", machine.start("base", 0.01)),
        [spy("arm", machine.start("arm", 0.01))],
        QUICK,
        np.random.default_rng(0),
    )
    last = 2 * QUICK.rounds
    assert seen["base"][-last:] == seen["arm"][-last:]
    assert len(set(seen["arm"][-last:])) == QUICK.rounds


def test_blocks_are_long_enough_for_fast_and_for_slow_models():
    machine = Machine()
    fast, slow = compare(
        machine.start("base", 0.001),
        [machine.start("fast", 1e-5), machine.start("slow", 0.05)],
        FULL,
        np.random.default_rng(0),
    )
    blocks = 2 * FULL.rounds * FULL.launches
    assert fast.calls * 1e-5 >= blocks * FULL.block_s
    assert slow.calls == blocks * 3  # long enough: nobody waits for ten of them


def test_both_run_through_the_same_inputs_however_many_calls_they_make():
    machine = Machine()
    orders: dict[str, list[tuple[int, int, int]]] = {"base": [], "arm": []}

    def spy(name, begin):
        def started():
            launch = begin()
            block = launch.block
            launch.block = lambda *order: orders[name].append(order) or block(*order)
            return launch

        return started

    compare(
        spy("base", machine.start("base", 0.004)),
        [spy("arm", machine.start("arm", 1e-4))],
        QUICK,
        np.random.default_rng(0),
    )
    timed = 2 * QUICK.rounds
    for (few, start, span), (many, start_too, span_too) in zip(
        orders["base"][-timed:], orders["arm"][-timed:], strict=True
    ):
        assert (start, span) == (start_too, span_too)
        assert few < many
        assert few % span == many % span == 0


@pytest.mark.parametrize(("noise", "launches"), [(0.0, 6), (0.2, 24)])
def test_launches_are_added_until_the_ratio_is_known(noise, launches):
    machine = Machine(launch_noise=noise)
    quiet, noisy = compare(
        machine.start("base", 0.004),
        [machine.start("quiet", 0.004), machine.start("noisy", 0.004)],
        FULL,
        np.random.default_rng(0),
    )
    assert len(quiet.ratios) == len(noisy.ratios) == launches


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), noise=st.floats(0.002, 0.02))
def test_enough_precision_is_where_it_ends(seed, noise):
    machine = Machine(seed, launch_noise=noise)
    (timing,) = compare(
        machine.start("base", 0.004),
        [machine.start("arm", 0.004)],
        FULL,
        np.random.default_rng(seed),
    )
    count = len(timing.ratios)
    assert count in range(6, 25)
    if count < FULL.most:
        assert timing.half_width <= FULL.precision
    if count > FULL.launches:
        before = Timing(timing.launches[: -FULL.more])
        assert before.half_width > FULL.precision or count == FULL.most


def test_a_stop_at_enough_precision_leaves_intervals_calibrated():
    excluded = 0
    for seed in range(150):
        machine = Machine(seed, launch_noise=0.01)
        (timing,) = compare(
            machine.start("base", 0.004),
            [machine.start("same", 0.004)],
            FULL,
            np.random.default_rng(seed),
        )
        low, high = log_t_interval(timing.ratios)
        excluded += not low <= 1.0 <= high
    assert excluded <= 15  # 7.5 expected


def test_outliers_are_kept():
    assert Figures.of([1.0] * 98 + [100.0] * 2).mean == pytest.approx(2.98)
    assert Figures.of([1.0] * 98 + [100.0] * 2).p99 == pytest.approx(100.0)


def test_what_never_settles_is_said_and_does_not_go_on_for_ever():
    machine = Machine(drift=40.0)
    (timing,) = compare(
        machine.start("base", 0.001),
        [machine.start("arm", 0.001)],
        Protocol("quick", launches=2, rounds=2, warmup_s=0.1, settle_s=0.3),
        np.random.default_rng(0),
    )
    assert not timing.settled
    assert "never settled" in flags_of(SCREENING, Target(), timing.settled)


def test_a_warm_up_waits_until_the_calls_are_steady():
    machine = Machine()

    class Compiling(Fake):
        def block(self, calls, start=0, span=0):
            slow = 1.0 + 4.0 * np.exp(-self.machine.now / 0.05)
            return [t * slow for t in super().block(calls, start)]

    def begin():
        machine.now, machine.open = 0.0, machine.open + 1
        return Compiling(machine, "arm", 0.001, "")

    (timing,) = compare(
        machine.start("base", 0.001), [begin], QUICK, np.random.default_rng(0)
    )
    assert timing.settled
    assert all(0.95 < ratio < 1.05 for ratio in timing.ratios)


@pytest.mark.parametrize("dies", ["loading", "running"])
def test_a_launch_that_dies_takes_the_others_with_it(dies):
    machine = Machine()
    with pytest.raises(MeasurementError, match="launch-crash"):
        compare(
            machine.start("base", 0.001),
            [machine.start("good", 0.001), machine.start("bad", 0.001, dies)],
            QUICK,
            np.random.default_rng(0),
        )
    assert machine.open == 0


def test_a_target_that_takes_every_core_is_flagged():
    assert "no free core" in flags_of(FULL, Target(threads=1024))
    assert flags_of(SCREENING, Target(threads=1024)) == ("screening", "no free core")


def test_an_unknown_protocol_is_named():
    with pytest.raises(MeasurementError, match="did you mean 'screening'"):
        protocol_of("screning")
