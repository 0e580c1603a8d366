"""Which tier of energy there is here: metered, counter or estimated.

The tiers are labelled and never share an axis: a meter wired to the machine, the
hardware's own counter, and watts by the processor's name multiplied by time.
"""

from __future__ import annotations

import math
import os
import subprocess
from pathlib import Path

from paretune.core.errors import UnavailableError
from paretune.measurement._counters import Counter, Domain
from paretune.measurement._power import Power, power
from paretune.measurement._rapl import rapl

METER = "PARETUNE_METER"  # names the user's own meter
ANSWER_S = 10.0  # that a meter may take to print its total
SLOW_S = 10.0  # a window for counters that move ten times a second

Gauge = Counter | Power


def gauge(estimate: bool = False, device: str = "cpu", source: str = "") -> Gauge:
    """What joules are taken with here, the best tier first.

    Args:
        estimate: whether a guess is welcome where nothing counts joules.
        device: that the artifact runs on; NVML counts a graphics card alone.
        source: "metered", "rapl", "nvml" or "estimate": that one and none other.

    Raises:
        UnavailableError: there is none; says why and what to do.
    """
    if source == "estimate":
        return power()
    found = counter(device)
    if isinstance(found, Counter):
        if source in ("", found.source):
            return found
        raise UnavailableError(
            "energy-tier",
            f"energy is to be taken by {source!r} and here it would be by "
            f"{found.source!r}; the two never share an axis: begin another study.",
        )
    if estimate and not source:
        return power()
    hint = (
        f"this study's energy was taken by {source!r}"
        if source
        else ("--estimate-energy gives a labelled guess")
    )
    raise UnavailableError("energy-unavailable", f"{found}; {hint}.")


def counter(device: str = "cpu") -> Counter | str:
    """What counts joules here; where nothing does, why, without a full stop.

    Raises:
        UnavailableError: the user has named a meter and it can't be used.
    """
    if named := os.environ.get(METER):
        return metered(Path(named))
    return rapl() if device == "cpu" else nvml()


def metered(path: Path) -> Counter:
    """A meter of the user's own.

    Args:
        path: a file that always holds the joules so far as its last word, or a program
            that prints them.

    Raises:
        UnavailableError: it gives no number ("energy-meter").
    """
    program = os.access(path, os.X_OK)

    def total() -> float:
        said = (
            subprocess.run(
                [path.resolve()],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=ANSWER_S,
                check=True,
            ).stdout
            if program
            else path.read_text(encoding="utf-8")
        )
        words = said.split()
        joules = float(words[-1]) if words else math.nan
        if not math.isfinite(joules):
            raise ValueError(f"it says {said.strip()!r}")
        return joules

    try:
        total()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise UnavailableError(
            "energy-meter",
            f"{METER}={path} gives no joules ({error}); it must be a file, or a "
            "program that prints, whose last word is the joules so far.",
        ) from error
    domain = Domain(path.name, total)
    return Counter("metered", "metered", (domain,), SLOW_S, SLOW_S)


def nvml() -> Counter | str:
    """The counter of all NVIDIA devices; where there is none, why."""
    try:
        import pynvml
    except ImportError:
        return "no NVIDIA counter (pip install nvidia-ml-py)"
    try:
        pynvml.nvmlInit()
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(i)
            for i in range(pynvml.nvmlDeviceGetCount())
        ]
        for handle in handles:
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        return f"no NVIDIA counter ({error})"

    def domain(number: int) -> Domain:
        def total() -> float:
            try:
                millijoules = pynvml.nvmlDeviceGetTotalEnergyConsumption(
                    handles[number]
                )
            except pynvml.NVMLError as error:
                raise OSError(str(error)) from error
            return float(millijoules) * 1e-3

        return Domain(f"gpu-{number}", total)

    if not handles:
        return "no NVIDIA device"
    domains = tuple(domain(i) for i in range(len(handles)))
    return Counter("nvml", "counter", domains, SLOW_S, 1.0)


def doctored(device: str = "cpu") -> str:
    """The tier that there is here, in a line, and why no better one."""
    try:
        found = counter(device)
    except UnavailableError as error:
        return error.message
    if isinstance(found, Counter):
        return found.label.removeprefix("energy: ")
    return f"estimated only, with --estimate-energy: {found}; {power().how}"
