"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from paretune.core.errors import BudgetError, StoreError, TaskError
from paretune.core.target import Target

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|sec|m|min|h)$")
_SECONDS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK", help="A built-in task, or FILE.py[:NAME].")
]
StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study.")]
StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="Folder of studies [default: the user's own]."),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Data folder for the task; sets PARETUNE_DATA."),
]
RuntimeOption = Annotated[str, typer.Option("--runtime", help="What will serve it.")]
ThreadsOption = Annotated[int, typer.Option("--threads", help="Threads of a session.")]
BatchOption = Annotated[int, typer.Option("--batch", help="Samples in one call.")]
EstimateOption = Annotated[
    bool,
    typer.Option(
        "--estimate-energy",
        help="Energy by time and the processor's watts where nothing counts joules.",
    ),
]
GridOption = Annotated[
    str | None,
    typer.Option(
        "--grid",
        help="For carbon: a country, or gCO2e per kWh [default: the world's average].",
    ),
]
ScenarioOption = Annotated[
    str,
    typer.Option(
        "--scenario",
        help="How requests come: single_stream, one after the other; offline, all at "
        "once.",
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option("--budget", help="Time for the whole study: 90s, 10m, 1h."),
]
NameOption = Annotated[
    str | None,
    typer.Option("--study", help="Its name; one that exists is resumed."),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        help="How far each trial trains: full_length, successive_halving or "
        "hyperband, which halt most at a share of it [default: full_length].",
    ),
]
WarmOption = Annotated[
    list[str] | None,
    typer.Option(
        "--warm-start",
        metavar="STUDY",
        help="Try first what was best in this earlier study, of any task; may be "
        "repeated.",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Worker processes [default: cores]."),
]
TimeoutOption = Annotated[
    str,
    typer.Option("--timeout", help="Time for one operation of a worker: 30m, 2h."),
]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, help="Seeds everything random.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def seconds(text: str | None) -> float | None:
    """Seconds in a duration.

    Raises:
        BudgetError: it is no duration.

    Example:
        >>> seconds("10m")
        600.0
    """
    if text is None:
        return None
    found = _DURATION.match(text.strip())
    if not found or float(found[1]) == 0:
        raise BudgetError(
            "budget", f"{text!r} is no duration; write 90s, 10m or 1.5h (more than 0)."
        )
    return float(found[1]) * _SECONDS[found[2]]


def use_data(folder: Path | None) -> None:
    """Makes the data folder known to the task, here and in worker processes.

    Raises:
        TaskError: there is no such folder.
    """
    if folder is None:
        return
    if not folder.is_dir():
        raise TaskError("data-not-found", f"there is no data folder {folder}.")
    os.environ["PARETUNE_DATA"] = str(folder.resolve())


def axes(objectives: str | None, scenario: str) -> tuple[str, ...]:
    """Names of the frontier's axes besides quality.

    Example:
        >>> axes(None, "offline"), axes("size, macs", "offline")
        (('size', 'throughput'), ('size', 'macs'))
    """
    if objectives is None:
        return ("size", "throughput" if scenario == "offline" else "latency_p50")
    return tuple(a.strip() for a in objectives.split(",") if a.strip())


def target(
    runtime: str, threads: int, batch: int, scenario: str = "single_stream"
) -> Target:
    """The target that these options name.

    Raises:
        MeasurementError: a number below 1, or a scenario that nobody knows.
    """
    return Target(runtime=runtime, threads=threads, batch=batch, scenario=scenario)


def check_output(path: Path | None) -> None:
    """Nothing if a file can be put there, as far as can be told before any work.

    Raises:
        StoreError: its folder isn't there.
    """
    if path is not None and not path.resolve().parent.is_dir():
        raise StoreError(
            "output",
            f"can't write {path}: there is no folder {path.parent}; make it, or name "
            "another place.",
        )
