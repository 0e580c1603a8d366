"""What searches are compared by: finished trials, and the hypervolume that they span.

Only what meets the budget counts: the reference point is the budget's own limits. Size
and latency count by their logarithm, latency as its ratio to the baseline timed beside
it, quality as judged on the validation split. All runs of a task that timed the same
structure share one latency for it, the median: what the machine did to one of them is
no merit of its search.
"""

from __future__ import annotations

import json
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from paretune import catalog
from paretune.core.recipe import canonical
from paretune.core.trial import Trial
from paretune.engine.path import libraries
from paretune.strategies.shrink_and_improve import ShrinkAndImprove

EXAMPLES = Path(__file__).parents[2] / "examples"
QUALITY = "accuracy"
LOST, SMALLER, FASTER = 0.02, 6.0, 2.0
REQUIRE = (
    f"latency_p50<=baseline/{FASTER:g}, size<=baseline/{SMALLER:g}, "
    f"{QUALITY}>=baseline-{100 * LOST:g}pt"
)
TASKS = {
    "fashion": "fashion",
    "activity": f"{EXAMPLES / 'activity' / 'task.py'}:task",
}
EPOCHS = 5
UNUSED = {  # what the loop has no use of
    *("automation", "strategies", "report", "cli", "api", "search.py", "course.py"),
    *("queue.py", "agenda.py", "settling.py"),
}


@dataclass(frozen=True)
class Event:
    """A trial that has ended.

    Attributes:
        cpu_s: processor seconds of the search until then, all of its processes.
        number: 0 is the baseline.
        steps: the recipe.
        state: as `Trial.state`.
        values: accuracy, size in bytes, latency over the baseline's; those there are.
    """

    cpu_s: float
    number: int
    steps: tuple[Mapping[str, Any], ...]
    state: str
    values: Mapping[str, float]

    @property
    def structure(self) -> str:
        """A digest of what decides its size and latency."""
        return catalog.recipe(self.steps).structure().digest


def event(cpu_s: float, trial: Trial) -> Event:
    """A finished trial of ours as an event."""
    taken = trial.measurements
    values = {k: taken[k].value for k in (QUALITY, "size") if k in taken}
    if "latency_p50" in taken and (ratio := taken["latency_p50"].ratio):
        values["latency"] = ratio[0]
    steps = tuple(dict(s) for s in trial.steps)
    return Event(cpu_s, trial.number, steps, trial.state, values)


def folder(method: str, quick: bool = False) -> Path:
    """Where runs are kept, so that a comparison goes on where it was."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    base = Path(home) / "paretune" / "bench" / f"search{'-quick' if quick else ''}"
    found = base / origin(method)
    found.mkdir(parents=True, exist_ok=True)
    return found


@cache
def origin(method: str) -> str:
    """A digest of what a run comes of: runs of other code don't compare.

    The loop has a sampler of its own, and no strategy or scheduler.
    """
    root = EXAMPLES.parent
    own = Path(__file__).with_name("loop.py" if method == "loop" else "ours.py")
    files = [*(root / "src").rglob("*.py"), Path(__file__), own]
    facts: list[Any] = [REQUIRE, EPOCHS, list(libraries())]
    if method == "loop":
        files = [f for f in files if UNUSED.isdisjoint(f.relative_to(root).parts)]
        facts += [r.to_json() for r in ShrinkAndImprove(epochs=EPOCHS).recipes()]
    found = sha256(canonical(facts).encode())
    for path in sorted(files):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


def write(path: Path, events: Sequence[Event], done: bool) -> None:
    """Keeps a run, all of it or what there is so far."""
    text = json.dumps({"done": done, "events": [asdict(e) for e in events]})
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def read(path: Path) -> tuple[list[Event], bool]:
    """The events of a run, and whether it came to its end."""
    if not path.exists():
        return [], False
    content = json.loads(path.read_text())
    events = [Event(**{**e, "steps": tuple(e["steps"])}) for e in content["events"]]
    return events, content["done"]


def latencies(runs: Iterable[Sequence[Event]]) -> dict[str, float]:
    """By structure, the median of its latency over the baseline's, of all runs."""
    found = defaultdict(list)
    for events in runs:
        # Recipes of one structure may repeat one measurement: once a run is enough.
        own = {
            e.structure: e.values["latency"] for e in events if "latency" in e.values
        }
        for structure, ratio in own.items():
            found[structure].append(ratio)
    return {structure: statistics.median(ratios) for structure, ratios in found.items()}


def gains(events: Sequence[Event], shared: Mapping[str, float]) -> np.ndarray:
    """How far each trial is within the limits, shape (events, 3); 0 if it isn't.

    Args:
        events: of one run, its baseline among them.
        shared: what `latencies` found.
    """
    base = next(e.values for e in events if e.number == 0)
    rows = np.zeros((len(events), 3))
    for row, each in enumerate(events):
        if each.state == "ok" and each.values.keys() >= {QUALITY, "size"}:
            ratio = shared.get(each.structure, each.values.get("latency", 1.0))
            rows[row] = (
                each.values[QUALITY] - (base[QUALITY] - LOST),
                np.log(base["size"] / SMALLER / each.values["size"]),
                np.log(1 / FASTER / ratio),
            )
    rows[(rows <= 0).any(axis=1)] = 0.0
    return rows


def volume(points: np.ndarray) -> float:
    """The volume that points span above 0.

    Example:
        >>> volume(np.array([[1.0, 1.0, 2.0], [0.5, 1.0, 1.0]]))
        2.0
    """
    import moocore

    if not len(points) or not points.any():
        return 0.0
    return float(moocore.hypervolume(points, ref=0.0, maximise=True))


def time_to(
    events: Sequence[Event], shared: Mapping[str, float], wanted: float
) -> float:
    """CPU-seconds until the hypervolume is that large; infinite if it never is."""
    if wanted <= 0:
        return float("inf")
    points = gains(events, shared)
    for count in range(1, len(events) + 1):
        if volume(points[:count]) >= wanted:
            return events[count - 1].cpu_s
    return float("inf")


def at(events: Sequence[Event], shared: Mapping[str, float], cpu_s: float) -> float:
    """The hypervolume after that many CPU-seconds."""
    count = sum(e.cpu_s <= cpu_s for e in events)
    return volume(gains(events, shared)[:count])
