"""RAPL: the processor's own count of joules, as Linux shows it.

Source: David et al. 2010, "RAPL: memory power estimation and capping" (ISLPED);
https://docs.kernel.org/power/powercap/powercap.html.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paretune.measurement._counters import Counter, Domain

ROOT = Path("/sys/class/powercap")
WINDOW_S = 1.0
SETTLE_S = 0.1  # it counts every millisecond: one that rests so long is broken
MIRROR_J = 1.0  # totals of two dies this close, out of 10^5, are one counter
ZONE = re.compile(r"intel-rapl(-mmio)?:\d+$")  # the parts of a package have two numbers
PACKAGE = re.compile(r"package-(\d+)")
MICRO = 1e-6


def rapl(
    root: Path = ROOT, wait: Callable[[float], None] = time.sleep
) -> Counter | str:
    """The counter of all packages; where there is none, why, without a full stop.

    Args:
        root: of the powercap tree.
        wait: lets seconds pass.
    """
    zones = sorted((p for p in _listed(root) if ZONE.match(p.name)), key=_preference)
    if not zones:
        return f"no RAPL in {root}{' (virtual machine)' if virtual() else ''}"
    found: dict[str, Domain] = {}
    faults: dict[str, str] = {}
    for zone in zones:
        name = _name(zone)
        if not PACKAGE.match(name) or name in found:
            continue  # a part of one, the whole platform, or the same once more
        domain = _domain(zone, name)
        if isinstance(domain, Domain):
            found[name] = domain
        else:
            faults.setdefault(name, domain)
    faults |= {name: f"{name} is missing" for name in _gaps({*found, *faults})}
    missing = {name: why for name, why in faults.items() if name not in found}
    alive = _alive(_unmirrored(found), missing, wait)
    if not alive:
        return "; ".join(missing.values()) or f"no package among the zones in {root}"
    told = tuple(missing[name] for name in sorted(missing))
    return Counter("rapl", "counter", alive, WINDOW_S, SETTLE_S, told)


def virtual(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether a hypervisor says that this machine is one of its own."""
    try:
        return bool(re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo.read_text(), re.M))
    except OSError:
        return False


@dataclass(frozen=True)
class _Total:
    """Reads the file of a zone, in J."""

    path: Path

    def __call__(self) -> float:
        return int(self.path.read_text()) * MICRO


def _listed(root: Path) -> list[Path]:
    try:
        return list(root.iterdir())
    except OSError:
        return []


def _preference(zone: Path) -> tuple[bool, str]:
    """The register's own view before the one through memory, which may lag."""
    return "mmio" in zone.name, zone.name


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def _domain(zone: Path, name: str) -> Domain | str:
    """The zone's domain, or what is wrong with it."""
    path = zone / "energy_uj"
    try:
        int(path.read_text())
    except PermissionError:
        return f"{name} may not be read: sudo chmod a+r {path}"
    except (OSError, ValueError):
        return f"{name} is missing"
    try:
        span = int((zone / "max_energy_range_uj").read_text()) * MICRO
    except (OSError, ValueError):
        span = 0.0
    return Domain(name, _Total(path), span)


def _gaps(names: set[str]) -> list[str]:
    """Packages whose number is left out."""
    numbers = {int(m[1]) for n in names if (m := PACKAGE.match(n))}
    return [f"package-{n}" for n in range(max(numbers, default=0)) if n not in numbers]


def _unmirrored(found: dict[str, Domain]) -> list[Domain]:
    """One of each counter: some processors show a package's on each of its dies."""
    kept: list[tuple[Domain, float]] = []
    for domain in found.values():
        total = domain.total()
        dies = (k for k in kept if _package(k[0]) == _package(domain))
        if not any(abs(total - known) < MIRROR_J for _, known in dies):
            kept.append((domain, total))
    return [domain for domain, _ in kept]


def _package(domain: Domain) -> str:
    found = PACKAGE.match(domain.name)
    return found[0] if found else domain.name


def _alive(
    domains: list[Domain], missing: dict[str, str], wait: Callable[[float], None]
) -> tuple[Domain, ...]:
    """Those that move; the others are added to what is missing."""
    before = [d.total() for d in domains]
    if domains:
        wait(SETTLE_S)
    moved = []
    for domain, total in zip(domains, before, strict=True):
        if domain.total() != total:
            moved.append(domain)
        else:
            missing[domain.name] = f"{domain.name} stands still"
    return tuple(moved)
