"""What a measurement was taken on."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from paretune.core.recipe import canonical
from paretune.core.target import Runtime, Target


def environment(runtime: Runtime, target: Target) -> dict[str, Any]:
    """Processor, system, versions and target, with a digest of all of them.

    Two measurements may be compared if their digests are equal.
    """
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "runtime": {name: _version(name) for name in runtime.provides},
        "serving": dict(runtime.serving),
        "target": target.to_json(),
    }
    digest = hashlib.sha256(canonical(found).encode()).hexdigest()[:16]
    return {**found, "governor": _governor(), "digest": digest}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    wanted = ("model name", "microcode")
    pairs = (line.partition(":") for line in lines)
    facts = {name.strip(): value.strip() for name, _, value in pairs}
    return ", ".join(facts[w] for w in wanted if w in facts) or "unknown"


def _governor() -> str:
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    try:
        return path.read_text().strip()
    except OSError:
        return "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"
