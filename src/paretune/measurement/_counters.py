"""Counters of joules, whatever counts them.

A counter only rises, until it begins again at 0. A figure is the difference of two
readings, and there is none where that can't be told for certain: a counter that stands
still or runs backwards gives an error, never 0 J and never less.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from paretune.core.errors import MeasurementError

EVERY_S = 1.0  # a tally need not look more often
MOST_W = 2_000.0  # no domain draws more: a total that rose faster was set back


@dataclass(frozen=True)
class Domain:
    """One thing that joules are counted of.

    Attributes:
        name: such as "package-0".
        total: reads the running total, in J.
        span: J after which it begins again at 0; 0 for a total that never does.
    """

    name: str
    total: Callable[[], float] = field(repr=False)
    span: float = 0.0


@dataclass(frozen=True)
class Counter:
    """Domains that are read together.

    Attributes:
        source: "rapl", "nvml" or "metered".
        tier: "counter", or "metered" for a meter outside of the processor.
        domains: one or more, none of them counted twice.
        window_s: seconds that two readings must be apart to resolve what runs between.
        still_s: seconds after which a total that has not moved is broken.
        missing: what ought to be counted and isn't, in words.
    """

    source: str
    tier: str
    domains: tuple[Domain, ...]
    window_s: float
    still_s: float
    missing: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What a reader must know of joules that were counted so."""
        names = " + ".join(d.name for d in self.domains)
        lacks = "".join(f", {what}" for what in self.missing)
        what = f" ({self.source} {names}{lacks})"
        return f"energy: {self.tier}{what}, idle included"

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "tier": self.tier,
            "domains": [d.name for d in self.domains],
            "missing": list(self.missing),
        }

    def read(self) -> tuple[float, ...]:
        """The totals of the domains now, in J.

        Raises:
            MeasurementError: one can't be read any more ("energy-lost").
        """
        totals = []
        for domain in self.domains:
            try:
                totals.append(domain.total())
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                why = f"can't be read any more ({error})"
                raise self._wrong("energy-lost", domain, why) from error
        return tuple(totals)

    def between(
        self, before: Sequence[float], after: Sequence[float], seconds: float
    ) -> float:
        """Joules that two readings are apart, all domains together.

        Args:
            before: from `read`.
            after: from `read`, later.
            seconds: between the two, more than 0.

        Raises:
            MeasurementError: it can't be told, since a domain stood still, ran
                backwards, or may have begun again more than once.
        """
        pairs = zip(self.domains, before, after, strict=True)
        return sum(self._rise(d, a, b, seconds) for d, a, b in pairs)

    def _rise(
        self, domain: Domain, before: float, after: float, seconds: float
    ) -> float:
        joules = after - before
        if joules < 0 and domain.span:
            joules += domain.span
        if joules < 0:
            why = f"fell from {before:.6g} J to {after:.6g} J"
            raise self._wrong("energy-backwards", domain, why)
        if joules == 0 and seconds >= self.still_s:
            why = f"has not moved in {seconds:.2g} s"
            raise self._wrong("energy-stalled", domain, why)
        if domain.span and seconds * MOST_W > domain.span:
            why = f"may have begun again more than once in {seconds:.0f} s"
            raise self._wrong("energy-wrapped", domain, why)
        if domain.span and joules > MOST_W * max(seconds, self.still_s):
            why = f"was set back: it rose by {joules:.6g} J in {seconds:.2g} s"
            raise self._wrong("energy-backwards", domain, why)
        return joules

    def _wrong(self, code: str, domain: Domain, why: str) -> MeasurementError:
        return MeasurementError(
            code,
            f"the {self.source} counter {domain.name} {why}, so it gives no joules; "
            "mend it, or leave energy out.",
        )


class Tally:
    """Joules since it was made, however often the counter begins again meanwhile.

    Read it more often than that; it costs next to nothing.

    Args:
        counter: what to read.
        clock: seconds that never go back.
    """

    def __init__(
        self, counter: Counter, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._counter, self._clock = counter, clock
        self._joules = 0.0
        self._broken = False
        self._at = clock()
        self._last: tuple[float, ...] = ()
        try:
            self._last = counter.read()
        except MeasurementError:
            self._broken = True

    def joules(self) -> float | None:
        """So far; None if the counter gave none, or failed at any time since."""
        now = self._clock()
        seconds = now - self._at
        due = seconds >= EVERY_S or (seconds > 0 and not self._joules)
        if due and not self._broken:
            try:
                totals = self._counter.read()
                self._joules += self._counter.between(self._last, totals, seconds)
                self._at, self._last = now, totals
            except MeasurementError:
                self._broken = True
        return None if self._broken or self._joules <= 0 else self._joules
