"""What a processor draws, by its name: the estimate where nothing counts joules.

It is time multiplied by a constant, so it orders models exactly as their time does.
The constant is wrong by 38 % on average (CodeCarbon's own RAPL traces against its
fallback), hence a band of half the figure either way.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from paretune.measurement._rapl import virtual

BAND = 0.5
ASSUMED_W = 4.0  # of a thread: CodeCarbon's own for processors that it doesn't know
CPUINFO = Path("/proc/cpuinfo")
TABLE = "data/hardware/cpu_power.csv"
NOISE = re.compile(r"\((?:R|TM)\)|@.*|\b(?:CPU|Processor|\w+-Core|with .*)\b", re.I)


@dataclass(frozen=True)
class Power:
    """Watts of this machine's processor.

    Attributes:
        each_w: W of one busy thread.
        threads: that the processor shows.
        how: where the figure comes from, in words.
    """

    each_w: float
    threads: int
    how: str

    source = "estimate"
    tier = "estimated"

    @property
    def label(self) -> str:
        """What a reader must know of joules that were estimated so."""
        return f"energy: estimated, ±{100 * BAND:.0f} %"

    @property
    def watts(self) -> float:
        """Of the whole processor, W."""
        return self.each_w * self.threads

    def to_json(self) -> dict[str, Any]:
        return {"source": self.source, "tier": self.tier, "how": self.how}

    def joules(self, seconds: float, threads: int = 1) -> float:
        """Of that many threads that are busy for that long.

        Args:
            seconds: 0 or more.
            threads: 1 or more; beyond those of the processor none draws power.

        Example:
            >>> Power(4.0, 8, "assumed").joules(2.0, threads=3)
            24.0
        """
        return seconds * self.each_w * min(threads, self.threads)


def power(
    cpuinfo: Path = CPUINFO,
    threads: int | None = None,
    table: Mapping[str, float] | None = None,
) -> Power:
    """What is known, or has to be assumed, of this machine's processor.

    Args:
        cpuinfo: what Linux says of it.
        threads: that it shows; by default those of this machine.
        table: W by processor; by default CodeCarbon's, if that is installed.
    """
    count = threads or os.cpu_count() or 1
    name = _name(cpuinfo)
    known = _table() if table is None else table
    watts = rated(name, known)
    if virtual(cpuinfo):
        why = "a virtual machine's share of its processor is not known"
    elif watts is not None:
        return Power(watts / count, count, f"{watts:g} W for {name}, {count} threads")
    elif not known:
        why = "CodeCarbon's table of processors is not installed"
    else:
        why = f"{name or 'this processor'} is not in CodeCarbon's table"
    return Power(ASSUMED_W, count, f"{why}: {ASSUMED_W:g} W a thread assumed")


def rated(name: str, table: Mapping[str, float]) -> float | None:
    """Watts of the processor in the table whose words are all in `name`.

    Args:
        name: as the processor calls itself.
        table: W by name.

    Returns:
        None if there is none, or several that disagree.

    Example:
        >>> table = {"Intel Core i7-8700": 65.0, "Intel Core i7-8700K": 95.0}
        >>> rated("Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz", table)
        95.0
    """
    words = _words(name)
    fits: dict[int, set[float]] = {}
    for known, watts in table.items():
        theirs = _words(known)
        if theirs <= words and any(re.search(r"\d", word) for word in theirs):
            fits.setdefault(len(theirs), set()).add(watts)
    best = fits[max(fits)] if fits else set()
    return best.pop() if len(best) == 1 else None


def _words(name: str) -> frozenset[str]:
    return frozenset(NOISE.sub(" ", name).casefold().split())


def _name(cpuinfo: Path) -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.M)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor()


@cache
def _table() -> Mapping[str, float]:
    """Thermal design power in W by name; empty without CodeCarbon.

    Its file is read and the package is not imported, since that takes a second and
    looks for cloud services.
    """
    path = data(TABLE)
    if path is None:
        return {}
    found = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            with suppress(ValueError):  # some rows hold no number
                found[row["Name"]] = float(row["TDP"])
    return {name: watts for name, watts in found.items() if watts > 0}


def data(name: str) -> Path | None:
    """A data file of CodeCarbon; None if that is not installed or hasn't got it."""
    found = importlib.util.find_spec("codecarbon")
    places = (found.submodule_search_locations or []) if found else []
    paths = (Path(place) / name for place in places)
    return next((path for path in paths if path.is_file()), None)
