"""Files from anywhere: one by itself, or two side by side."""

from __future__ import annotations

import hashlib
from pathlib import Path

from paretune import catalog, studies
from paretune.api._study import load, pick
from paretune.core.errors import MeasurementError
from paretune.core.measurement import Measurement
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.target import Target
from paretune.core.task import Task
from paretune.core.trial import OK, Trial
from paretune.engine.comparison import RandomInputs, signature
from paretune.options import Options, Progress, crew_of, unheard
from paretune.store.trials import Trials


def measure(
    artifact: Path,
    task: Task | str,
    target: Target | None = None,
    store: Path | None = None,
    on_progress: Progress = unheard,
    estimate_energy: bool = False,
) -> dict[str, Measurement]:
    """One file on one target, by the full protocol.

    Energy is measured where something counts joules; elsewhere it can be estimated.
    """
    root = (store or studies.default_store()).resolve()
    asked = Options(target=target or Target(), workers=1)
    with crew_of(task, asked, root, on_progress) as (worker, *_):
        asks = {"path": str(artifact.resolve()), "estimate_energy": estimate_energy}
        told = worker.do("judge", asks)
        return {k: Measurement.from_json(m) for k, m in told["measurements"].items()}


def compare(
    a: Path | str,
    b: Path | str,
    task: Task | str | None = None,
    target: Target | None = None,
    against: str | None = None,
    store: Path | None = None,
    on_progress: Progress = unheard,
) -> Study:
    """Two artifacts side by side, measured in turns by the full protocol.

    Args:
        a: a file, or "STUDY:MEMBER"; see `pick` for what a member is called.
        b: likewise; it is held against `a`.
        task: for real inputs and for quality; by default that of a study that `a` or
            `b` names, else random inputs that fit the file.
        target: where `a` is served.
        against: the runtime that serves `b`, where it is another.
        store: a folder; by default the user's own.
        on_progress: told what runs: (slot, what, share done).

    Returns:
        A study of two trials, 0 for `a` and 1 for `b`; `report.comparison` puts it
        into words.

    Raises:
        MeasurementError: there is no such file ("model-not-found").
        StoreError: there is no such study or member.
    """
    root = (store or studies.default_store()).resolve()
    (first, task_a), (second, task_b) = _found(a, root), _found(b, root)
    target = target or Target()
    runtimes = [target.runtime, against or target.runtime]
    for runtime in runtimes:
        catalog.usable_runtime(runtime)
    judged = task or task_a or task_b or RandomInputs(signature(first))
    asked = Options(target=target, workers=1)
    with crew_of(judged, asked, root, on_progress) as (worker, *_):
        told = worker.do("describe", {})
        asks = {"paths": [str(first), str(second)], "runtimes": runtimes}
        found = worker.do("compare", asks)
    trials = tuple(
        Trial(
            number,
            (),
            OK,
            {k: Measurement.from_json(m) for k, m in figures.items()},
            artifact=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for number, (figures, path) in enumerate(
            zip(found["measurements"], (first, second), strict=True)
        )
    )
    metrics = told["metrics"]
    axes = studies.objectives(studies.OBJECTIVES, metrics) if metrics else []
    return Study(
        f"{a} and {b}",
        told["name"],
        metrics,
        target,
        "",
        tuple(Objective(*axis) for axis in axes),  # type: ignore[arg-type]
        trials=trials,
        noise=found["noise"],
    )


def _found(name: Path | str, root: Path) -> tuple[Path, str | None]:
    """(the file, the reference of the task that it is of, if that is known)."""
    if (path := Path(name)).is_file():
        return path.resolve(), None
    studied, colon, member = str(name).rpartition(":")
    if not colon:
        raise MeasurementError(
            "model-not-found",
            f"there is no file {name}; give a model file, or STUDY:MEMBER.",
        )
    study = load(studied, root)
    trial = pick(study, member)
    path_of = study.path(trial)
    assert path_of is not None
    reference = Trials.open(root, create=False).snapshot(studied)["spec"]["reference"]
    return path_of, reference
