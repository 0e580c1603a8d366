"""How much is measured, and what a reader must know of it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from paretune.core.errors import MeasurementError, nearest
from paretune.core.target import Target


@dataclass(frozen=True)
class Protocol:
    """How much is measured.

    Attributes:
        name: "full" or "screening".
        launches: fresh processes of each arm.
        rounds: ABBA rounds in each launch.
        calls: in a block at the least, unless they take longer than `long_s`.
        block_s: seconds of a block at the least.
        long_s: seconds of a block that are enough, however few calls it has.
        warmup_s: seconds of warm-up at the least.
        settle_s: seconds after which an arm is taken as it is, "never settled".
        group: arms that are in memory together.
        most: launches of an arm that isn't known to `precision` before.
        more: launches that are added at a time.
        precision: half the width of the 95 % interval of log(arm / baseline) at which
            an arm is known well enough; 0.01 is 1 %.
        limit_s: seconds of a group after which no launch is added.
    """

    name: str
    launches: int = 6
    rounds: int = 6
    calls: int = 10
    block_s: float = 0.02
    warmup_s: float = 0.5
    settle_s: float = 10.0
    long_s: float = 0.05
    group: int = 8
    most: int = 0
    more: int = 4
    precision: float = 0.01
    limit_s: float = 45.0


FULL = Protocol("full", most=24)
SCREENING = Protocol("screening", launches=2, rounds=4, warmup_s=0.2, settle_s=2.0)
PROTOCOLS = {p.name: p for p in (SCREENING, FULL)}


def protocol_of(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        MeasurementError: there is none.

    Example:
        >>> protocol_of("full").launches
        6
    """
    if name not in PROTOCOLS:
        raise MeasurementError(
            "protocol",
            f"there is no measuring protocol {name!r}; {nearest(name, PROTOCOLS)}",
        )
    return PROTOCOLS[name]


def flags_of(
    protocol: Protocol, target: Target, settled: bool = True
) -> tuple[str, ...]:
    """What a reader must know of a timing that was taken like this, on this host."""
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    known = {
        protocol.name: protocol.name != FULL.name,
        "no free core": target.threads >= cores,
        "never settled": not settled,
    }
    return tuple(flag for flag, holds in known.items() if holds)
