"""Trees as Linux shows RAPL in /sys/class/powercap, and what happens to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SPAN_UJ = 262_143_328_850  # of a real Xeon


def tree(root: Path, zones: Mapping[str, tuple[str, int]]) -> Path:
    """A powercap tree with these zones: {folder: (name, energy_uj)}."""
    (root / "intel-rapl").mkdir(parents=True, exist_ok=True)  # the control type itself
    for folder, (name, energy_uj) in zones.items():
        zone = root / folder
        zone.mkdir()
        (zone / "name").write_text(f"{name}\n")
        (zone / "energy_uj").write_text(f"{energy_uj}\n")
        (zone / "max_energy_range_uj").write_text(f"{SPAN_UJ}\n")
    return root


class Watts:
    """Lets time pass, in which each zone draws its watts; counters begin again.

    Args:
        root: of a tree.
        watts: by folder; the others stand still.
    """

    def __init__(self, root: Path, watts: Mapping[str, float]) -> None:
        self.root, self.watts = root, dict(watts)
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for folder, watts in self.watts.items():
            path = self.root / folder / "energy_uj"
            total = int(path.read_text()) + round(1e6 * watts * seconds)
            path.write_text(f"{total % SPAN_UJ}\n")
