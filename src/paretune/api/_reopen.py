"""The task that a study in the store was searched with, once more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paretune import studies
from paretune.core.errors import StoreError
from paretune.core.study import Study
from paretune.core.task import Task
from paretune.core.worker import Worker
from paretune.options import Options, Progress, crew_of
from paretune.store.trials import Trials


@dataclass(frozen=True)
class Reopened:
    """A study whose task is at hand again.

    Attributes:
        worker: that has the task.
        trials: the store.
        root: the store's folder.
        fingerprint: of the task.
    """

    worker: Worker
    trials: Trials
    root: Path
    fingerprint: str


@contextmanager
def reopened(
    study: Study,
    task: Task | str | None,
    store: Path | None,
    progress: Progress,
    what: str,
) -> Iterator[Reopened]:
    """A worker with the task that the study was searched with.

    Args:
        study: in the store.
        task: only for a task that has no reference.
        store: a folder; by default the user's own.
        progress: told what runs: (slot, what, share done).
        what: is to be done, "certify it", for the message.

    Raises:
        StoreError: the task can't be found again, or isn't what it was.
    """
    root = (store or studies.default_store()).resolve()
    trials = Trials.open(root, create=False)
    spec = trials.snapshot(study.name)["spec"]
    reference = task or spec["reference"]
    if reference is None:
        raise StoreError(
            "task-needed",
            f"study {study.name!r} is of a task that lived in another process; "
            f"{what} from Python with task=.",
        )
    asked = Options(target=study.target, workers=1, seed=spec["seed"])
    with crew_of(reference, asked, root, progress) as (worker, *_):
        if worker.do("preflight", {})["fingerprint"] != spec["fingerprint"]:
            raise StoreError(
                "resume-mismatch",
                f"the task's model, data or code is not what study {study.name!r} was "
                "searched with; restore it (and --data), or begin another study.",
            )
        yield Reopened(worker, trials, root, spec["fingerprint"])
