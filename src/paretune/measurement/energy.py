"""Energy: joules of one call, with the tier that they were had by."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from paretune.core.measurement import Measurement
from paretune.core.meter import Launch, Meter, Subject
from paretune.measurement._counters import Counter
from paretune.measurement._energy import Gauge, gauge
from paretune.measurement._power import BAND, Power
from paretune.measurement._protocol import flags_of, protocol_of
from paretune.measurement._timing import Timing, compare_subjects

MOST_CALLS = 50_000  # in a block: to tell of more would itself take energy
WHOLE = 0.9  # of a window that calls must fill for it to be theirs


class Energy(Meter):
    """Joules that the counter rises by while the artifact runs, over its calls.

    In each launch everybody has a window of its own, in random order, with an idle
    window right before and right after. The figure is all that the counted domains
    draw. A second one is what is left above idle, in a flag and launch by launch in
    `detail["net_j"]`, None where a launch drew no more than idling does.

    Without a counter the figure is an estimate, the latency multiplied by watts of the
    processor. It says nothing that the latency doesn't, and its flag says so.

    Args:
        protocol: "screening" (2 launches) or "full" (6 launches).
        source: "metered", "rapl", "nvml" or "estimate": that and none other; by default
            the best that there is.
        clock: seconds that never go back.
        wait: lets seconds pass.

    Attributes:
        gauge: what joules are taken with; found when it is needed.
    """

    metrics = ("energy",)
    alone = True

    def __init__(
        self,
        protocol: str = "screening",
        source: str = "",
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.protocol = protocol_of(protocol)
        self.source = source
        self.gauge: Gauge | None = None
        self._clock, self._wait = clock, wait

    def measure(
        self, subjects: Sequence[Subject], baseline: Subject
    ) -> list[tuple[Measurement, ...]]:
        if not subjects:
            return []
        device = baseline.target.device
        found = self.gauge or gauge(True, device, self.source)
        if isinstance(found, Power):
            brief = replace(self.protocol, most=0)  # no launch narrows its band
            timings = compare_subjects(subjects, baseline, brief)
            return [(self._estimated(t, found, baseline),) for t in timings]
        taken = self._counted(found, [baseline, *subjects])
        return [
            (self._measurement(own, taken[0], found, baseline),) for own in taken[1:]
        ]

    def _counted(
        self, counter: Counter, everyone: Sequence[Subject]
    ) -> list[list[_Window]]:
        """The windows of each, launch by launch."""
        rng = np.random.default_rng()
        stand = _Stand(counter, self._clock, self._wait)
        taken: list[list[_Window]] = [[] for _ in everyone]
        for _ in range(self.protocol.launches):
            for i in rng.permutation(len(everyone)):
                taken[i].append(stand.launch(everyone[i], self.protocol.warmup_s))
        return taken

    def _measurement(
        self,
        own: Sequence[_Window],
        base: Sequence[_Window],
        counter: Counter,
        baseline: Subject,
    ) -> Measurement:
        filled = min(w.filled for w in own)
        net = [w.net_per_call for w in own]
        flags = [counter.label, _above(net)]
        if filled < WHOLE:
            flags.append(f"energy: calls fill {100 * filled:.0f} % of the window")
        return Measurement(
            "energy",
            "J",
            "lower",
            tuple(w.per_call for w in own),
            "launches",
            tuple(a.per_call / b.per_call for a, b in zip(own, base, strict=True)),
            flags=(*flags, *flags_of(self.protocol, baseline.target)),
            detail={
                "tier": counter.tier,
                "source": counter.source,
                "domains": [d.name for d in counter.domains],
                "missing": list(counter.missing),
                "net_j": net,
                "idle_w": [w.idle_w for w in own],
                "watts": [w.joules / w.seconds for w in own],
                "window_s": [w.seconds for w in own],
                "calls": [w.calls for w in own],
            },
        )

    def _estimated(
        self, timing: Timing, power: Power, baseline: Subject
    ) -> Measurement:
        target = baseline.target
        values = (power.joules(p.arm.median, target.threads) for p in timing.launches)
        return Measurement(
            "energy",
            "J",
            "lower",
            tuple(max(v, 1e-12) for v in values),
            "launches",
            timing.ratios,
            flags=(power.label, *flags_of(self.protocol, target, timing.settled)),
            detail={
                "tier": power.tier,
                "source": power.source,
                "domains": [],
                "watts": power.each_w * min(target.threads, power.threads),
                "how": power.how,
                "band": BAND,
            },
        )


@dataclass(frozen=True)
class _Window:
    """What one launch drew while it ran, between two idle windows.

    Attributes:
        joules: of the run.
        calls: that it made.
        seconds: that it lasted.
        busy_s: seconds within calls.
        idle_w: W in the idle windows.
    """

    joules: float
    calls: int
    seconds: float
    busy_s: float
    idle_w: float = 0.0

    @property
    def per_call(self) -> float:
        return self.joules / self.calls

    @property
    def net_per_call(self) -> float | None:
        above = self.joules - self.idle_w * self.seconds
        return above / self.calls if above > 0 else None

    @property
    def filled(self) -> float:
        return self.busy_s / self.seconds


@dataclass(frozen=True)
class _Stand:
    """Where launches run between two readings."""

    counter: Counter
    clock: Callable[[], float]
    wait: Callable[[float], None]

    def launch(self, subject: Subject, warmup_s: float) -> _Window:
        """What a fresh launch draws, from idle to idle."""
        launch = subject.launch(False)
        try:
            each = _warm_up(launch, warmup_s)
            before = self._idle()
            window = self._run(launch, each)
            return replace(window, idle_w=(before + self._idle()) / 2)
        finally:
            launch.close()

    def _run(self, launch: Launch, each: float) -> _Window:
        counter = self.counter
        calls = max(1, min(MOST_CALLS, math.ceil(counter.window_s / each)))
        made, busy = 0, 0.0
        begin, totals = self.clock(), counter.read()
        while not made or self.clock() - begin < counter.window_s:
            busy += sum(launch.block(calls, made))
            made += calls
        seconds, after = self.clock() - begin, counter.read()
        joules = counter.between(totals, after, seconds)
        return _Window(joules, made, seconds, busy)

    def _idle(self) -> float:
        """W while nothing of ours runs."""
        begin, totals = self.clock(), self.counter.read()
        self.wait(self.counter.window_s)
        seconds, after = self.clock() - begin, self.counter.read()
        return self.counter.between(totals, after, seconds) / seconds


def _above(net: Sequence[float | None]) -> str:
    """The second figure in words: joules of a call above idle."""
    known = [joules for joules in net if joules is not None]
    if len(known) < len(net):
        return "energy: not above idle"
    return f"energy: {float(np.median(known)):.3g} J of it above idle"


def _warm_up(launch: Launch, seconds: float) -> float:
    """Runs that long; seconds of a call."""
    times = launch.block(1)
    spent = sum(times)
    while spent < seconds:
        wanted = math.ceil((seconds - spent) / max(times[-1], 1e-7))
        times = launch.block(min(MOST_CALLS, wanted))
        spent += sum(times)
    return max(float(np.median(times)), 1e-7)
