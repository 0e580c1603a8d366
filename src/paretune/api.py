"""Every command as one call: what `paretune` does, from Python."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from paretune import catalog, studies
from paretune.core.budget import FOOTPRINT, Budget
from paretune.core.errors import MeasurementError, RecipeError, StoreError, nearest
from paretune.core.measurement import Measurement
from paretune.core.recipe import Recipe, canonical
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.target import Target
from paretune.core.task import Task
from paretune.core.trial import OK, Trial
from paretune.course import Course
from paretune.engine.comparison import RandomInputs, signature
from paretune.experiment import Experiment
from paretune.frontier import frontier
from paretune.ledger import Ledger
from paretune.measurement import _carbon, _energy
from paretune.options import (
    Options,
    Progress,
    crew_of,
    epochs_of,
    settings_of,
    slots,
)
from paretune.report import bundle as bundles
from paretune.report import page, verdict
from paretune.search import Event, Limits, Search
from paretune.store.artifacts import Artifacts
from paretune.store.trials import Trials


def _quiet(*_: object) -> None: ...


def optimize(
    task: Task | str,
    *,
    on_event: Event = _quiet,
    on_progress: Progress = _quiet,
    **options: Any,
) -> Study:
    """Searches for smaller and faster versions of a task's model.

    A study that is in the store already is resumed.

    Args:
        task: a Task, a built-in name, or "path/to/task.py[:name]".
        on_event: told what happens; see `Search`.
        on_progress: told what each slot runs: (slot, what, share done).
        options: fields of `Options`.

    Returns:
        The study with its frontier measured in full, on validation data.

    Raises:
        TaskError, BudgetError, UnavailableError, StoreError: found before any training.
    """
    asked = Options(**options)
    catalog.usable_runtime(asked.target.runtime)
    strategy_type = catalog.STRATEGIES[asked.strategy]
    sampler = catalog.SAMPLERS[asked.sampler]()
    root = (asked.store or studies.default_store()).resolve()
    store = Trials.open(root)
    grid = _carbon.grid(asked.grid)
    gauge = _energy.gauge(estimate=True, device=asked.target.device)
    ledger = Ledger(slots(asked), gauge)
    with crew_of(task, asked, root, on_progress) as crew:
        on_event("phase", {"what": "loading the task"})
        told = crew[0].do("describe", {})
        budget = Budget.parse(asked.require, told["metrics"])
        axes = studies.objectives(asked.objectives, told["metrics"])
        wanted = {*budget.metrics, *(m for m, _ in axes)}
        settings_of(asked, wanted)  # what can't be had is said before anything is done
        on_event("phase", {"what": "checking model, data, loss and metric"})
        found = crew[0].do("preflight", {})
        for warning in found["warnings"]:
            on_event("warning", {"what": warning})
        spec = {
            "task": told["name"],
            "reference": told["reference"],
            "fingerprint": found["fingerprint"],
            "metrics": told["metrics"],
            "target": asked.target.to_json(),
            "strategy": asked.strategy,
            "require": asked.require,
            "objectives": axes,
            "seed": asked.seed,
        }
        name = asked.study or f"{told['name']}-{_digest(spec)[:6]}"
        store.create_study(name, spec)
        lease = store.acquire(name, f"{os.getpid()}", os.getpid(), socket.gethostname())
        try:
            facts = store.facts(name)
            before = facts.get("environment", {})
            _same_host(before, found["environment"], on_event)
            origin = {"energy": gauge.to_json(), "grid": grid.to_json()}
            if asked.grid is None and "grid" in before:
                origin["grid"] = before["grid"]
            environment = {**found["environment"], **origin}
            store.update_study(name, "environment", environment)
            settings = settings_of(asked, wanted, facts.get("energy", ""))
            if "energy" in settings:  # tiers never share an axis
                store.update_study(name, "energy", settings["energy"]["source"])
            epochs = asked.epochs or facts.get("epochs")
            epochs = epochs or epochs_of(asked, found["epoch_s"], len(crew))
            store.update_study(name, "epochs", epochs)  # a resumed study keeps them
            experiment = Experiment(
                found["fingerprint"],
                budget,
                tuple({*(m for m, _ in axes if m in FOOTPRINT), *settings}),
                ledger,
                asked.timeout_s,
                asked.quick,
                found["environment"]["digest"],
                settings,
            )
            on_event("study", {"name": name, "epochs": epochs, **found})
            course = Course(
                store,
                Artifacts(root),
                lease,
                functools.partial(studies.load_study, name, store, root),
            )
            limits = Limits(asked.seconds, asked.trials, asked.quick)
            ended = facts.get("ended")
            if ended and not limits.beyond(Limits(**ended)) and not course.spoilt():
                what = "this search has ended; for more, raise --budget or --trials"
                on_event("phase", {"what": what})
                return course.study()
            search = Search(
                course,
                strategy_type(sampler=sampler, epochs=epochs),  # type: ignore[call-arg]
                crew,
                experiment,
                limits,
                asked.seed,
                on_event,
            )
            study = search.run()
            store.update_study(name, "ended", asdict(limits))
            return study
        finally:
            store.release(lease)


def load(study: str, store: Path | None = None) -> Study:
    """A study as its store has it now.

    Raises:
        StoreError: there is none of that name; names the nearest.
    """
    root = (store or studies.default_store()).resolve()
    return studies.load_study(study, Trials.open(root, create=False), root)


def certify(
    study: Study,
    task: Task | str | None = None,
    store: Path | None = None,
    on_progress: Progress = _quiet,
) -> Study:
    """Reads the test split for the frontier's members and the baseline; counted.

    Args:
        study: with a frontier.
        task: only for a task that has no reference.
    """
    root = (store or studies.default_store()).resolve()
    trials = Trials.open(root, create=False)
    spec = trials.snapshot(study.name)["spec"]
    reference = task or spec["reference"]
    if reference is None:
        raise StoreError(
            "task-needed",
            f"study {study.name!r} is of a task that lived in another process; "
            "certify it from Python with task=.",
        )
    asked = Options(target=study.target, workers=1)
    chosen = {t.number: t for t in frontier(study).members}
    if study.baseline:
        chosen[0] = study.baseline
    with crew_of(reference, asked, root, on_progress) as (worker, *_):
        if worker.do("preflight", {})["fingerprint"] != spec["fingerprint"]:
            raise StoreError(
                "resume-mismatch",
                f"the task's model, data or code is not what study {study.name!r} was "
                "searched with; restore it (and --data), or begin another study.",
            )
        reading = trials.read_test(study.name)  # counted even if it is cut short
        artifacts = [t.artifact for t in chosen.values()]
        told = worker.do("certify", {"artifacts": artifacts})
    taken = {
        number: {k: Measurement.from_json(m) for k, m in figures.items()}
        for number, figures in zip(chosen, told["measurements"], strict=True)
    }
    trials.certify(study.name, taken, reading)
    return studies.load_study(study.name, trials, root)


def pick(study: Study, which: str = "best") -> Trial:
    """A member of the frontier.

    Args:
        which: "best" (the one that the reports name; the nearest to the budget if none
            meets it), "smallest", "fastest", "quality", "knee", or a trial's number.

    Raises:
        StoreError: there is no such member.
    """
    found = frontier(study)
    if not found.members:
        raise StoreError(
            "frontier-empty", f"study {study.name!r} has no frontier yet; run it first."
        )
    if which.isdecimal():
        for trial in study.trials:
            if trial.number == int(which) and trial.ok:
                return trial
        known = ", ".join(str(t.number) for t in found.members)
        raise StoreError(
            "pick", f"no finished trial {which}; the frontier has {known}."
        )
    members = found.within() or found.members
    first = study.objectives[0]
    sign = -1 if first.better == "higher" else 1
    ways: dict[str, Callable[[], Trial | None]] = {
        "best": lambda: verdict.pick(study, found) or verdict.closest(study)[0],
        "knee": lambda: found.knee(members),
        "smallest": lambda: min(members, key=lambda t: t.values["size"]),
        "fastest": lambda: min(members, key=lambda t: t.values["latency_p50"]),
        "quality": lambda: min(members, key=lambda t: sign * t.values[first.metric]),
    }
    if which not in ways:
        raise StoreError("pick", f"{which!r} picks nothing; {nearest(which, ways)}")
    return ways[which]() or members[0]


def why(
    study: Study,
    which: str = "best",
    task: Task | str | None = None,
    store: Path | None = None,
    on_progress: Progress = _quiet,
) -> dict[str, Any]:
    """Why a trial is or isn't faster, and is or isn't worse, than the baseline.

    Nothing is trained and the test split isn't read. The study keeps what was found,
    so that reports show it.

    Args:
        study: with a baseline.
        which: a member, as `pick` takes it.
        task: only for a task that has no reference.
        store: a folder; by default the user's own.
        on_progress: told what runs: (slot, what, share done).

    Returns:
        Parts of JSON values: "operators", "total", "steps", "layers", "flips" and
        "advice"; one that can't be given is {"unavailable": a sentence}.

    Raises:
        StoreError: there is no such member, or the task isn't what it was.
    """
    trial, base = pick(study, which), study.baseline
    if base is None or trial.number == 0:
        raise StoreError(
            "pick",
            f"trial {trial.number} can't be held against the baseline; name one of "
            "the others that are finished.",
        )
    root = (store or studies.default_store()).resolve()
    trials = Trials.open(root, create=False)
    spec = trials.snapshot(study.name)["spec"]
    reference = task or spec["reference"]
    if reference is None:
        raise StoreError(
            "task-needed",
            f"study {study.name!r} is of a task that lived in another process; "
            "explain it from Python with task=.",
        )
    asked = Options(target=study.target, workers=1, seed=spec["seed"])
    with crew_of(reference, asked, root, on_progress) as (worker, *_):
        if worker.do("preflight", {})["fingerprint"] != spec["fingerprint"]:
            raise StoreError(
                "resume-mismatch",
                f"the task's model, data or code is not what study {study.name!r} was "
                "searched with; restore it (and --data), or begin another study.",
            )
        asks = {
            "member": trial.to_json(),
            "baseline": base.to_json(),
            "fingerprint": spec["fingerprint"],
        }
        found: dict[str, Any] = worker.do("explain", asks)["explanation"]
    kept = {**trials.facts(study.name).get("why", {}), str(trial.number): found}
    trials.update_study(study.name, "why", kept)
    return found


def export(study: Study, folder: Path | str, which: str = "best") -> list[Path]:
    """A deploy bundle of a member in `folder`; the files that it has."""
    return bundles.bundle(study, pick(study, which), Path(folder))


def write_report(study: Study, path: Path | str) -> Path:
    """One self-contained HTML page at `path`."""
    text = io.StringIO()
    page.page(study, text)
    with writing(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text.getvalue(), encoding="utf-8")
    return Path(path)


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turns an error of the file system into a sentence.

    Raises:
        StoreError: `path` can't be written to.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            "output", f"can't write {path}: {error.strerror}; name another place."
        ) from error


def apply(
    recipe: Recipe,
    task: Task | str,
    target: Target | None = None,
    store: Path | None = None,
    on_progress: Progress = _quiet,
) -> tuple[Trial, Path]:
    """One recipe on a task's model: its figures beside the baseline's, and its file.

    Raises:
        RecipeError: its steps can't follow one another, or a parameter is still free.
        WorkFailed: a step failed.
    """
    recipe.check()
    if recipe.space:
        free = ", ".join(recipe.space)
        raise RecipeError("recipe-free", f"{free}: give each a value, not a domain.")
    root = (store or studies.default_store()).resolve()
    asked = Options(target=target or Target(), workers=1)
    with crew_of(task, asked, root, on_progress) as (worker, *_):
        found = worker.do("preflight", {})
        experiment = Experiment(found["fingerprint"], Budget(), (), Ledger(1))
        experiment.baseline = experiment.trial(worker, 0, Recipe())
        trial = experiment.trial(worker, 1, recipe)
        (full,) = experiment.in_full(worker, [trial])
    trial = replace(trial, measurements={**trial.measurements, **full})
    return trial, root / "artifacts" / str(trial.artifact) / f"model.{trial.format}"


def measure(
    artifact: Path,
    task: Task | str,
    target: Target | None = None,
    store: Path | None = None,
    on_progress: Progress = _quiet,
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
    on_progress: Progress = _quiet,
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
        )
        for number, figures in enumerate(found["measurements"])
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


def _same_host(before: Any, now: Mapping[str, Any], on_event: Event) -> None:
    """Warns where a study goes on in another environment than it began in."""
    if before and before.get("digest") != now["digest"]:
        what = (
            "this host, runtime or version is not what the study began on: its latency "
            "figures are not comparable with new ones; better begin another --study."
        )
        on_event("warning", {"what": what})


def _digest(spec: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(spec).encode()).hexdigest()
