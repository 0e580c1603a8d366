"""What labels are worth: quality against their number, by ways of training."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune import studies
from paretune.api._labelled import Course, Event
from paretune.api._study import writing
from paretune.core.errors import BudgetError
from paretune.core.recipe import canonical
from paretune.core.task import Task
from paretune.engine.labels.outcome import STUDY, outcome
from paretune.engine.labels.plan import cells, steps_of, versions
from paretune.engine.path import libraries
from paretune.options import Options, Progress, crew_of, slots, unheard
from paretune.report import labels as renderer
from paretune.store.journal import Journal

SHARES = (0.01, 0.05, 0.1, 0.25, 1.0)
SEEDS, SECONDS = 3, 600.0


def labels(
    task: Task | str,
    shares: Sequence[float] = SHARES,
    seeds: int = SEEDS,
    epochs: int | None = None,
    seconds: float = SECONDS,
    quality: float | None = None,
    teacher: str | None = None,
    store: Path | None = None,
    workers: int | None = None,
    worker: str = "isolated",
    on_event: Event = unheard,
    on_progress: Progress = unheard,
) -> dict[str, Any]:
    """Quality against the number of labels, on the test split.

    Each method is trained anew with each share of the labels, as often as there are
    seeds; each training has the same number of steps. Models are judged as they are, in
    PyTorch: validation data chooses teachers, and the test split is read once all are
    trained. What is finished is kept: the same call goes on where it stopped.

    Args:
        task: a Task, a built-in name, or "path/to/task.py[:name]".
        shares: of the labels of "train", above 0 to 1.
        seeds: 1 or more, better 3 or more: choices of labels, and first weights.
        epochs: passes over the whole split that each training is as long as; by default
            what `seconds` allow.
        seconds: wall time of everything, roughly.
        quality: of which the labels that it needs are told.
        teacher: for distillation, "baseline" or one in `task.teachers`, which may have
            seen all labels; by default the best that learned from the same ones.
        store: a folder; by default the user's own.
        workers: how many; by default one a core.
        worker: "isolated", or "in_process" for debugging.
        on_event: told what happens: "phase", "warning", "cell".
        on_progress: told what runs: (slot, what, share done).

    Returns:
        JSON values; see `engine.labels.outcome`.

    Raises:
        BudgetError: a share, seed or number of epochs makes no sense.
        TaskError: the task can't be used, or its training split can't be divided. A
            training that fails for another reason is told in the result.
    """
    chosen = _checked(shares, seeds, epochs, seconds, quality)
    asked = Options(workers=workers, worker=worker)
    root = (store or studies.default_store()).resolve()
    with crew_of(task, asked, root, on_progress) as crew:
        on_event("phase", {"what": "checking model, data, loss and metric"})
        told = {**crew[0].do("describe", {})}
        told |= crew[0].do("labels", {"what": "survey", "teacher": teacher})
        found = crew[0].do("preflight", {})
        for warning in found["warnings"]:
            on_event("warning", {"what": warning})
        asks = {
            "fingerprint": found["fingerprint"],
            "length": f"{seconds:g} s" if epochs is None else f"{epochs} epochs",
            "teacher": teacher,
            "libraries": libraries(),
            "techniques": versions(),
        }
        folder = root / "labels" / f"{told['name']}-{_digest(asks)[:10]}"
        with Journal.open(folder / "cells.jsonl") as journal:
            known = {r["key"]: r for r in journal.records()}
            if STUDY not in known:
                epoch = math.ceil(told["count"] / told["batch"])
                each = found["epoch_s"] / epoch
                crew_size = slots(asked)
                steps = (
                    epochs * epoch
                    if epochs is not None
                    else steps_of(len(chosen), seeds, seconds, crew_size, each, epoch)
                )
                del told["cost"]
                known[STUDY] = {"key": STUDY, **told, **asks, "steps": steps}
                journal.append(known[STUDY])
            course = Course(crew, journal, folder, known, on_event)
            course.through(cells(chosen, seeds))
            course.judge(cells(chosen, seeds))
    return outcome(known, chosen, seeds, quality)


def write_labels(found: Mapping[str, Any], path: Path | str) -> Path:
    """What `labels` found as one self-contained HTML page at `path`."""
    with writing(path):
        Path(path).write_text(renderer.page(found), encoding="utf-8")
    return Path(path)


def _checked(
    shares: Sequence[float],
    seeds: int,
    epochs: int | None,
    seconds: float,
    quality: float | None,
) -> tuple[float, ...]:
    """The shares, each once, the smallest first."""
    chosen = tuple(sorted(set(map(float, shares))))
    if not chosen or not all(0 < s <= 1 for s in chosen):
        told = ", ".join(f"{100 * s:g} %" for s in chosen) or "none"
        raise BudgetError(
            "labels-shares",
            f"the shares of labels are {told}; give some above 0 and up to 100 %.",
        )
    for what, number in (("seeds", seeds), ("epochs", epochs)):
        if number is not None and number < 1:
            raise BudgetError(
                f"labels-{what}", f"{what} is {number}; it must be 1 or more."
            )
    if not (seconds > 0 and math.isfinite(seconds)):
        raise BudgetError(
            "budget", f"the time is {seconds:g} s; it must be more than 0."
        )
    if quality is not None and not math.isfinite(quality):
        raise BudgetError("labels-quality", f"quality is {quality}; give a number.")
    return chosen


def _digest(asks: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(asks).encode()).hexdigest()
