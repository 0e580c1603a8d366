"""Recipes on one task, side by side: each is realised, judged, timed and certified."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench._results import Results
from paretune.core.measurement import Measurement
from paretune.core.statistics import Difference
from paretune.core.target import Target
from paretune.core.task import Task
from paretune.engine.bench import Bench
from paretune.engine.tasks import find_task
from paretune.frontier._quality import difference

Steps = Sequence[Mapping[str, Any]]
EXAMPLES = Path(__file__).parents[2] / "examples"
TASKS = {
    "fashion": "fashion",
    **{
        name: f"{EXAMPLES / name / 'task.py'}:task"
        for name in ("cifar10", "activity", "sentiment")
    },
}
FOOTPRINT = ("size", "transfer_size", "macs")


def store(name: str) -> Path:
    """Where finished steps are kept, so that a benchmark goes on where it stopped."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "paretune" / "bench" / "techniques" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class Entry:
    """One recipe's artifact beside the baseline of its deck.

    Attributes:
        name: what the table calls it.
        figures: by metric, on the validation split and of the file.
        baseline: the same of the task's model.
        tested: quality on the test split, and the baseline's.
        latency: its time over the baseline's, with its interval; None if not taken.
    """

    name: str
    figures: Mapping[str, Measurement]
    baseline: Mapping[str, Measurement]
    tested: tuple[Measurement, Measurement] | None = None
    latency: tuple[float, float, float] | None = None

    def times(self, metric: str) -> float:
        """How many times smaller than the baseline it is."""
        return self.baseline[metric].value / self.figures[metric].value

    @property
    def gain(self) -> Difference:
        """Quality on the test split less the baseline's, paired, as a share."""
        assert self.tested is not None, "certify first"
        return difference(*self.tested)


@dataclass
class Deck:
    """A task's recipes.

    Args:
        name: of the task: of `TASKS`, or any word if `task` is given.
        quick: certify nothing, and keep everything in a folder of its own.
        seed: of everything random in the recipes.
        task: in place of the one that the name stands for.
    """

    name: str
    quick: bool = False
    seed: int = 0
    task: Task | None = None
    _bench: Bench = field(init=False, repr=False)

    def __post_init__(self) -> None:
        task = self.task or find_task(TASKS[self.name])
        root = store(f"{self.name}{'-quick' if self.quick else ''}")
        self._bench = Bench(task, Target(), root, seed=self.seed)

    @cached_property
    def _print(self) -> str:
        found: str = self._bench.preflight()["fingerprint"]
        return found

    @cached_property
    def baseline(self) -> tuple[str, dict[str, Measurement]]:
        """(artifact, figures) of the task's own model."""
        return self._realised([])

    def play(self, hands: Mapping[str, Steps], latency: bool = True) -> list[Entry]:
        """The entries of these recipes; the test split is read once for all of them.

        Args:
            hands: recipes by what the table calls them.
            latency: whether they are timed beside the baseline, by the full protocol.
        """
        made = {name: self._realised(steps) for name, steps in hands.items()}
        first, base = self.baseline
        artifacts = [artifact for artifact, _ in made.values()]
        ratios: list[Any] = [None] * len(made)
        if latency:
            protocol = "screening" if self.quick else "full"
            told = self._bench.measure(artifacts, first, ["latency"], protocol)
            for number, figures in enumerate(told["measurements"]):
                timed = Measurement.from_json(figures["latency_p50"])
                if timed.ratio is not None:
                    middle, interval = timed.ratio
                    ratios[number] = middle, interval.low, interval.high
        tested: list[Any] = [None] * len(made)
        if not self.quick:
            told = self._bench.certify([first, *artifacts])
            metric = self._bench.task.metric
            quality, *others = (
                Measurement.from_json(m[metric]) for m in told["measurements"]
            )
            tested = [(other, quality) for other in others]
        return [
            Entry(name, made[name][1], base, pair, ratio)
            for name, pair, ratio in zip(made, tested, ratios, strict=True)
        ]

    def _realised(self, steps: Steps) -> tuple[str, dict[str, Measurement]]:
        told = self._bench.realise(list(steps), self._print)
        found = told["measurements"].items()
        return told["artifact"], {k: Measurement.from_json(m) for k, m in found}


def note(results: Results, deck: Deck, entries: Sequence[Entry]) -> None:
    """Each entry as a row of the results, and printed."""
    metric = deck._bench.task.metric
    for entry in entries:
        row: dict[str, Any] = {
            "task": deck.name,
            "recipe": entry.name,
            "seed": deck.seed,
        }
        row |= {f"{m}_times_smaller": entry.times(m) for m in FOOTPRINT}
        row["validation"] = entry.figures[metric].value - entry.baseline[metric].value
        if entry.latency:
            row["latency_ratio"], row["latency_low"], row["latency_high"] = (
                entry.latency
            )
        if entry.tested:
            gain = entry.gain
            row |= {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high}
            row["baseline_test"] = entry.tested[1].value
        results.row(**row)
        told = ", ".join(f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, float))
        print(f"{deck.name}: {entry.name}: {told}", flush=True)


def lost(results: Results, deck: Deck, entry: Entry, most: float) -> None:
    """A figure: points of quality lost on the test split, at most so many."""
    if entry.tested is None:
        return
    gain = entry.gain
    results.figure(
        f"{deck.name}, {entry.name}: points lost on test",
        -100 * gain.value,
        f"<= {most:g}",
        -100 * gain.value <= most,
        "pt",
        -100 * gain.high,
        -100 * gain.low,
    )


def against(entry: Entry, other: Entry) -> Difference | None:
    """Quality on the test split, one entry's less another's, paired."""
    if entry.tested is None or other.tested is None:
        return None
    return difference(entry.tested[0], other.tested[0])


def shortened(steps: Steps, quick: bool) -> Steps:
    """The same recipe with one epoch a step, for a smoke run."""
    return [{**s, "epochs": 1} if quick and "epochs" in s else s for s in steps]


def ratio(
    results: Results, what: str, entry: Entry, goal: str, most: float = 1.0
) -> None:
    """A figure: latency over the baseline's, at most so much; below it if it is 1."""
    if entry.latency is None:
        return
    middle, low, high = entry.latency
    met = high < 1.0 if most == 1.0 else high <= most
    results.figure(what, middle, goal, met, "", low, high)
