"""What a search costs: seconds by what they went to."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class Ledger:
    """Books the time of one live search; its slots share it.

    `overhead_s` is the wall time that went to nothing a user asked for: that in which
    no worker had an operation, plus, slot by slot, what operations took beyond the
    training, exporting, judging and measuring that they report (starting processes,
    loading the task, checking it, keeping results).

    Example:
        >>> ledger = Ledger(slots=1)
        >>> with ledger.busy() as book:
        ...     book({"train_s": 0.0})
        >>> ledger.costs()["train_s"]
        0.0
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._lock = threading.Lock()
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
            known = sum(costs.values())
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
        """Seconds since the beginning: "wall_s", "overhead_s" and what was booked."""
        with self._lock:
            now = time.monotonic()
            idle = self._idle_s + (0.0 if self._busy else now - self._idle_since)
            return {
                **self._costs,
                "wall_s": now - self._began,
                "overhead_s": idle + self._beyond_s / self._slots,
            }
