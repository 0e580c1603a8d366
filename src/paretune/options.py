"""How to search, and the workers that a search is given."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from paretune import catalog, studies
from paretune.core.recipe import Recipe
from paretune.core.target import Target
from paretune.core.task import Task
from paretune.core.worker import Job, Worker
from paretune.measurement import _energy

TRAININGS = 8  # that a search should afford: what an epoch costs decides their length
SCHEDULER = "full_length"  # unless another is asked for
Progress = Callable[[int, str, float], None]


def unheard(*_: object) -> None:
    """Where nobody listens to what happens."""


@dataclass(frozen=True)
class Options:
    """How to search, with what the command line defaults to.

    Attributes:
        study: its name; by default made from the task and what is asked of it.
        store: a folder; by default the user's own.
        target: where the artifacts will be served.
        require: what the device allows, such as "size<=200kB, accuracy>=baseline-1pt".
        seconds: wall time of the study, earlier searches of it included.
        trials: how many, the baseline not counted.
        strategy: who shapes recipes.
        sampler: who fills in their parameters.
        scheduler: who decides how far each trial trains; by default the study's own, or
            that of `SCHEDULER`.
        curves: whether a halted trial is left once it can't reach the frontier any
            more, by what the finished ones came to.
        rungs_over: what rungs are shares of: "length" of the training (the default), or
            "data".
        objectives: the frontier's axes besides the task's first quality metric.
        epochs: of training in a recipe; by default what the time allows.
        workers: how many; by default one a core.
        worker: "isolated", or "in_process" for debugging.
        seed: of everything random.
        timeout_s: of one operation of a worker.
        recipes: exactly these are run; with strategy "sweep" only.
        supernet: whether narrower nets are also taken out of one that is trained once.
        warm_start: earlier studies in the store, of any task or target; the recipes of
            their frontiers are tried first.
        start: of every training with strategy "tune": "trained" or "fresh" weights.
        quick: measure with the screening protocol only, for a first look.
        predict: whether structures are passed over, before they are exported, that the
            latency model is sure will miss the budget.
        estimate_energy: measure energy, by an estimate where nothing counts joules.
        grid: where the electricity comes from, for the search's own carbon: a country,
            or grams of CO2 equivalent per kWh; by default the world's average.
    """

    study: str | None = None
    store: Path | None = None
    target: Target = field(default_factory=Target)
    require: str = ""
    seconds: float | None = None
    trials: int | None = None
    strategy: str = "shrink_and_improve"
    sampler: str = "tpe"
    scheduler: str | None = None
    curves: bool = True
    rungs_over: Literal["length", "data"] | None = None
    objectives: tuple[str, ...] = studies.OBJECTIVES
    epochs: int | None = None
    workers: int | None = None
    worker: str = "isolated"
    seed: int = 0
    timeout_s: float = 3600.0
    recipes: tuple[Recipe, ...] = ()
    supernet: bool = False
    warm_start: tuple[str, ...] = ()
    start: str | None = None
    quick: bool = False
    predict: bool = True
    estimate_energy: bool = False
    grid: str | None = None


def slots(asked: Options) -> int:
    """How many workers a search has."""
    return 1 if asked.worker == "in_process" else asked.workers or os.cpu_count() or 1


@contextlib.contextmanager
def crew_of(
    task: Task | str, asked: Options, root: Path, progress: Progress
) -> Iterator[list[Worker]]:
    """The workers, ended with the context.

    Args:
        task: a Task, or its reference.
        asked: kind and number of workers, the target and the seed.
        root: the store's folder.
        progress: told what each one runs: (slot, what, share done).
    """
    held = task if isinstance(task, Task) and task.reference is None else None
    reference = task.reference if isinstance(task, Task) else task
    job = Job(reference, asked.target, root, asked.seed, held)
    kind = catalog.WORKERS[asked.worker]
    crew = [
        kind(job, functools.partial(progress, slot)) for slot in range(slots(asked))
    ]
    try:
        yield crew
    finally:
        for worker in crew:
            worker.close()


def settings_of(
    asked: Options, metrics: Collection[str], source: str = ""
) -> Mapping[str, Mapping[str, Any]]:
    """What meters are told beyond the protocol, by their name; those asked for by it.

    Args:
        asked: whether an estimate of energy is welcome.
        metrics: that limits and objectives name.
        source: of the energy that the study has figures of already, if any.

    Raises:
        UnavailableError: energy is wanted and can't be had here, or not by that source.

    Example:
        >>> settings_of(Options(), {"size"})
        {}
    """
    told: dict[str, Mapping[str, Any]] = {}
    if not {"latency_p90", "latency_p99"}.isdisjoint(metrics):
        told["latency"] = {"tail": True}
    if "energy" in metrics or asked.estimate_energy:
        device = asked.target.device
        found = _energy.gauge(asked.estimate_energy, device, source)
        told["energy"] = {"source": found.source}
    return told


def epochs_of(asked: Options, epoch_s: float, workers: int) -> int:
    """Epochs of a training, so that the search affords a useful number of them.

    Somewhat less than half of a search goes into training; a pruned student with its
    teacher takes about half of what an epoch of the baseline does.
    """
    if asked.seconds is None:
        return 5
    one = 0.48 * asked.seconds * workers / TRAININGS
    return int(min(30, max(1, one / max(0.55 * epoch_s, 1e-3))))
