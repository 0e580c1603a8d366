"""What a search costs: seconds by what they went to, and joules."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from paretune.measurement._counters import Counter, Tally
from paretune.measurement._cpu import cpu_s
from paretune.measurement._energy import Gauge
from paretune.measurement._power import power


class Ledger:
    """Books the time of one live search; its slots share it.

    `overhead_s` is the wall time that went to nothing a user asked for: that in which
    no worker had an operation, plus, slot by slot, what operations took beyond the
    training, exporting, judging and measuring that they report (starting processes,
    loading the task, checking it, keeping results).

    `cpu_s` is the processor time of this process and of all that it started. Joules are
    booked by their source, "rapl_j", "nvml_j", "metered_j" or "estimate_j". A counter
    counts whatever else the machine does, and its idling, for the time of the search.
    The estimate is `cpu_s` times the watts of a thread; it also stands in for a counter
    that fails on the way.

    Args:
        slots: workers that it has.
        gauge: what joules are had by; None for none.

    Example:
        >>> ledger = Ledger(slots=1)
        >>> with ledger.busy() as book:
        ...     book({"train_s": 0.0})
        >>> ledger.costs()["train_s"]
        0.0
    """

    def __init__(self, slots: int, gauge: Gauge | None = None) -> None:
        self._slots = slots
        self._gauge = gauge
        self._tally = Tally(gauge) if isinstance(gauge, Counter) else None
        self._cpu_began = cpu_s()
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._began = time.monotonic()
        self._costs: dict[str, float] = defaultdict(float)
        self._busy = 0
        self._idle_since = self._began
        self._idle_s = 0.0
        self._beyond_s = 0.0
        self._trials: list[float] = []
        self.arm_s = 0.0  # what one of several takes to be measured in full

    @contextmanager
    def busy(self) -> Iterator[Callable[[Mapping[str, float]], None]]:
        """A worker has an operation for as long as this lasts; books what it cost."""
        known = 0.0

        def book(costs: Mapping[str, float]) -> None:
            nonlocal known
            known = sum(s for name, s in costs.items() if name != "cpu_s")
            with self._lock:
                for name, seconds in costs.items():
                    self._costs[name] += seconds

        begin = time.monotonic()
        with self._lock:
            if self._busy == 0:
                self._idle_s += begin - self._idle_since
            self._busy += 1
        try:
            yield book
        finally:
            with self._lock:
                end = time.monotonic()
                self._beyond_s += max(0.0, end - begin - known)
                self._busy -= 1
                if self._busy == 0:
                    self._idle_since = end

    def trial(self, seconds: float) -> None:
        """Notes how long a trial took from beginning to end."""
        with self._lock:
            self._trials.append(seconds)

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self._began

    @property
    def usual_trial_s(self) -> float:
        """Mean time of the last trials, 0.0 before there is one."""
        recent = self._trials[-6:]
        return sum(recent) / len(recent) if recent else 0.0

    def costs(self) -> dict[str, float]:
        """Since the beginning: "wall_s", "overhead_s", "cpu_s", joules, and the rest.

        Workers that have ended count with all of their processor time, others with
        what their operations have reported.
        """
        counted = self._counted()
        with self._lock:
            now = time.monotonic()
            idle = self._idle_s + (0.0 if self._busy else now - self._idle_since)
            spent = max(cpu_s() - self._cpu_began, self._costs["cpu_s"])
            return {
                **self._costs,
                "wall_s": now - self._began,
                "overhead_s": idle + self._beyond_s / self._slots,
                "cpu_s": spent,
                **self._joules(spent, counted),
            }

    def _counted(self) -> float | None:
        """Joules by the counter; it may be slow to answer, so nothing else waits."""
        with self._reading:
            return self._tally.joules() if self._tally else None

    def _joules(self, spent: float, counted: float | None) -> dict[str, float]:
        """By source."""
        if self._gauge is None:
            return {}
        if counted is not None:
            return {f"{self._gauge.source}_j": counted}
        guess = power() if isinstance(self._gauge, Counter) else self._gauge
        return {f"{guess.source}_j": guess.joules(spent)}
