"""The one timing loop: arms against a baseline, interleaved, over fresh launches.

The launch is the unit that is resampled: calls within one launch share its memory
layout and its neighbours on the machine, so that their spread says nothing about the
next launch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np

from paretune.core.measurement import log_t_interval
from paretune.core.meter import Launch, Subject
from paretune.measurement._protocol import Protocol

Start = Callable[[], Launch]

SETTLED = 0.02  # two consecutive windows this close: the warm-up is over
WINDOWS = 2  # that the shortest warm-up is cut into
FEWEST = 3  # calls in a block, however long one takes


@dataclass(frozen=True)
class Figures:
    """What the calls of one arm in one launch came to; seconds, no call left out."""

    calls: int
    mean: float
    median: float
    p90: float
    p99: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Figures:
        """From the seconds of each call.

        Example:
            >>> Figures.of([1.0, 3.0, 2.0]).median
            2.0
        """
        median, p90, p99 = np.percentile(times, (50, 90, 99))
        return cls(
            len(times), float(np.mean(times)), float(median), float(p90), float(p99)
        )


@dataclass(frozen=True)
class Paired:
    """One launch of an arm, against the launch of the baseline beside it.

    Attributes:
        arm: its figures.
        baseline: the baseline's figures, from the same rounds.
        log_ratio: median over rounds of log(median of arm / median of baseline).
        load_s: seconds that loading took; other processes started meanwhile.
        first_call_s: seconds of the first call, likewise.
        settled: whether arm and baseline both became steady before they were timed.
    """

    arm: Figures
    baseline: Figures
    log_ratio: float
    load_s: float
    first_call_s: float
    settled: bool


@dataclass(frozen=True)
class Timing:
    """All launches of one arm."""

    launches: tuple[Paired, ...]

    @property
    def calls(self) -> int:
        return sum(launch.arm.calls for launch in self.launches)

    @property
    def paired_calls(self) -> int:
        """Of the arm or the baseline, whichever made fewer."""
        return min(self.calls, sum(launch.baseline.calls for launch in self.launches))

    @property
    def ratios(self) -> tuple[float, ...]:
        """Arm over baseline, launch by launch."""
        return tuple(math.exp(launch.log_ratio) for launch in self.launches)

    @property
    def settled(self) -> bool:
        return all(launch.settled for launch in self.launches)

    @property
    def half_width(self) -> float:
        """Of the 95 % interval of log(arm / baseline); infinite for one launch."""
        low, high = log_t_interval(self.ratios)
        return math.log(high / low) / 2 if low > 0 else math.inf


def compare(
    baseline: Start,
    arms: Sequence[Start],
    protocol: Protocol,
    rng: np.random.Generator,
) -> list[Timing]:
    """Times each arm against the baseline.

    In each launch all of them start as fresh processes and are warmed up one by one.
    Then, in each round, each arm meets the baseline in four blocks, baseline, arm, arm,
    baseline, so that a drift of the machine falls on both alike; both get the same
    inputs. Only one process runs at a time. Arms whose ratio isn't known to the
    protocol's precision get more launches. Precision ends it, never significance:
    to stop where a difference shows would find differences that aren't there.

    Args:
        baseline: starts a launch of what the arms are compared with.
        arms: start launches of what is timed; the baseline itself gives the A/A test.
        protocol: how much.
        rng: draws the order of the arms, anew for each launch.

    Raises:
        MeasurementError: a launch can't be started, or dies.
    """
    timings: list[Timing] = []
    for first in range(0, len(arms), protocol.group):
        group = arms[first : first + protocol.group]
        timings += _group(baseline, group, protocol, rng)
    return timings


def _group(
    baseline: Start,
    arms: Sequence[Start],
    protocol: Protocol,
    rng: np.random.Generator,
) -> list[Timing]:
    begin = time.monotonic()
    taken: list[list[Paired]] = [[] for _ in arms]
    asked, wanted = [*range(len(arms))], protocol.launches
    while asked:
        for _ in range(wanted):
            chosen = [arms[i] for i in asked]
            for i, pair in zip(
                asked, _launch(baseline, chosen, protocol, rng), strict=True
            ):
                taken[i].append(pair)
        timings = [Timing(tuple(pairs)) for pairs in taken]
        wanted = min(protocol.more, protocol.most - max(map(len, taken)))
        late = time.monotonic() - begin > protocol.limit_s
        asked = [i for i in asked if timings[i].half_width > protocol.precision] * int(
            wanted > 0 and not late
        )
    return timings


def compare_subjects(
    subjects: Sequence[Subject], baseline: Subject, protocol: Protocol
) -> list[Timing]:
    """`compare` on subjects, each in fresh processes of its own."""
    arms = [partial(subject.launch, False) for subject in subjects]
    start = partial(baseline.launch, False)
    return compare(start, arms, protocol, np.random.default_rng())


def _launch(
    baseline: Start,
    arms: Sequence[Start],
    protocol: Protocol,
    rng: np.random.Generator,
) -> list[Paired]:
    """One launch of everything: one `Paired` an arm, in the order of `arms`."""
    with ExitStack() as stack:
        base, *others = _start((baseline, *arms), rng, stack)
        warm, *warms = [_warm_up(launch, protocol) for launch in (base, *others)]
        rounds: list[list[_Round]] = [[] for _ in arms]
        order = rng.permutation(len(arms))
        for number in range(protocol.rounds):
            for i in order:
                rounds[i].append(_round(base, others[i], warm, warms[i], number))
        return [
            Paired(
                Figures.of([t for r in each for t in r.arm]),
                Figures.of([t for r in each for t in r.baseline]),
                float(np.median([r.log_ratio for r in each])),
                launch.load_s,
                launch.first_call_s,
                warm.settled and own.settled,
            )
            for each, launch, own in zip(rounds, others, warms, strict=True)
        ]


def _start(
    starts: Sequence[Start], rng: np.random.Generator, stack: ExitStack
) -> list[Launch]:
    """All of them ready, in the given order; they start in a random one, two a time."""
    ready: dict[int, Launch] = {}
    order = [int(i) for i in rng.permutation(len(starts))]
    for first in range(0, len(order), 2):
        for i in order[first : first + 2]:
            ready[i] = starts[i]()
            stack.callback(ready[i].close)
        for i in order[first : first + 2]:
            wait_for(ready[i])
    return [ready[i] for i in range(len(starts))]


def wait_for(launch: Launch) -> None:
    """Returns once the launch is ready.

    Raises:
        MeasurementError: it died, or could not load the artifact.
    """
    _ = launch.first_call_s


@dataclass(frozen=True)
class _Warm:
    """A launch that was warmed up: calls that a block takes, and whether it settled."""

    calls: int
    settled: bool


def _warm_up(launch: Launch, protocol: Protocol) -> _Warm:
    half = math.ceil(protocol.calls / 2)
    window_s = protocol.warmup_s / WINDOWS
    times = launch.block(half)
    calls, spent = half, sum(times)
    medians = [float(np.median(times))]
    settled = False
    while not settled and spent < protocol.settle_s:
        window = _calls(window_s, medians[-1], half)
        times = launch.block(window, calls)
        calls, spent = calls + window, spent + sum(times)
        medians.append(float(np.median(times)))
        steady = abs(medians[-1] - medians[-2]) < SETTLED * medians[-2]
        settled = steady and spent >= protocol.warmup_s and calls >= protocol.calls
    enough = protocol.long_s / max(medians[-1], 1e-7)
    least = math.ceil(min(protocol.calls, enough))
    return _Warm(_calls(protocol.block_s, medians[-1], max(FEWEST, least)), settled)


def _calls(seconds: float, each: float, least: int) -> int:
    """Calls that take `seconds` at the least, when one takes `each`."""
    return max(least, math.ceil(seconds / max(each, 1e-7)))


@dataclass(frozen=True)
class _Round:
    baseline: list[float]
    arm: list[float]

    @property
    def log_ratio(self) -> float:
        ours, theirs = np.median(self.arm), np.median(self.baseline)
        return math.log(max(ours, 1e-9) / max(theirs, 1e-9))


def _round(base: Launch, arm: Launch, warm: _Warm, own: _Warm, number: int) -> _Round:
    # Both run through the same inputs, whoever makes more calls: they may differ in
    # length.
    span = min(warm.calls, own.calls)
    theirs, ours = (span * math.ceil(w.calls / span) for w in (warm, own))
    start = number * span
    before = base.block(theirs, start, span)
    first = arm.block(ours, start, span)
    second = arm.block(ours, start, span)
    after = base.block(theirs, start, span)
    return _Round(before + after, first + second)
