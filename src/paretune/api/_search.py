"""Searches, and single recipes."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from paretune import catalog, studies
from paretune.api import _asked, _warm
from paretune.api._plan import costs
from paretune.core.budget import FOOTPRINT, Budget
from paretune.core.errors import RecipeError
from paretune.core.limits import Limits
from paretune.core.recipe import Recipe, canonical
from paretune.core.study import Study
from paretune.core.target import Target
from paretune.core.task import Task
from paretune.core.trial import Trial
from paretune.course import Course
from paretune.engine.forecasts import Forecasts
from paretune.engine.path import keys_of, pause_of
from paretune.engine.queue import Queue
from paretune.experiment import Experiment
from paretune.ledger import Ledger
from paretune.measurement import _carbon, _energy
from paretune.options import (
    Options,
    Progress,
    crew_of,
    epochs_of,
    settings_of,
    slots,
    unheard,
)
from paretune.search import Search
from paretune.settling import Event
from paretune.store.artifacts import Artifacts
from paretune.store.cache import Cache
from paretune.store.latencies import Latencies
from paretune.store.trials import Trials


def optimize(
    task: Task | str,
    *,
    on_event: Event = unheard,
    on_progress: Progress = unheard,
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
    to = catalog.usable_runtime(asked.target.runtime).format
    strategy_type = catalog.STRATEGIES[asked.strategy]
    extra = _asked.extra(asked, strategy_type)
    _asked.strategy(asked, 1, extra)
    _asked.pace(asked, {})
    root = (asked.store or studies.default_store()).resolve()
    store = Trials.open(root)
    before_it = _warm.earlier(asked.warm_start, store, root)
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
            **extra,
            **_asked.listed(asked),
            **({"warm_start": list(asked.warm_start)} if asked.warm_start else {}),
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
            told_it = {**extra, **_asked.found_out(strategy_type, found)}
            strategy = _asked.strategy(asked, epochs, told_it)
            kept = facts.get("warm_start", {})
            warm = _warm.taken(before_it, store, epochs, kept, strategy)
            if warm:
                store.update_study(name, "warm_start", warm)
            strategy = _warm.started(strategy, warm)
            pace = _asked.pace(asked, facts.get("scheduler", {}))
            store.update_study(name, "scheduler", pace)
            experiment = Experiment(
                found["fingerprint"],
                budget,
                tuple({*(m for m, _ in axes if m in FOOTPRINT), *settings}),
                ledger,
                asked.timeout_s,
                asked.quick,
                found["environment"]["digest"],
                settings,
                forecasts=Forecasts(
                    Latencies(root),
                    found["environment"]["digest"],
                    found["fingerprint"],
                ),
                predict=asked.predict,
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
                strategy,
                crew,
                experiment,
                limits,
                asked.seed,
                on_event,
                catalog.SCHEDULERS[pace["name"]](epochs, asked.curves, pace["over"]),  # type: ignore[arg-type]
                Queue(
                    costs(store, found["fingerprint"], found["epoch_s"]),
                    Cache(root),
                    lambda r: keys_of(r, to, found["fingerprint"], asked.seed),
                    lambda r, share: pause_of(
                        r, share, found["fingerprint"], asked.seed
                    ),
                ),
            )
            study = search.run()
            store.update_study(name, "ended", asdict(limits))
            return study
        finally:
            store.release(lease)


def apply(
    recipe: Recipe,
    task: Task | str,
    target: Target | None = None,
    store: Path | None = None,
    on_progress: Progress = unheard,
    on_event: Event = unheard,
) -> tuple[Trial, Path]:
    """One recipe on a task's model: its figures beside the baseline's, and its file.

    Args:
        recipe: every parameter has a value.
        task: a Task, a built-in name, or "path/to/task.py[:name]".
        target: where it will run.
        store: a folder; by default the user's own.
        on_progress: told what runs: (slot, what, share done).
        on_event: told what happens: "phase"; "baseline", with its trial.

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
        on_event("phase", {"what": "checking model, data, loss and metric"})
        found = worker.do("preflight", {})
        experiment = Experiment(found["fingerprint"], Budget(), (), Ledger(1))
        on_event("phase", {"what": "the task's own model: exporting, measuring"})
        experiment.baseline = experiment.trial(worker, 0, Recipe())
        on_event("baseline", {"trial": experiment.baseline})
        on_event("phase", {"what": f"the recipe: {recipe}"})
        trial = experiment.trial(worker, 1, recipe)
        on_event("phase", {"what": "measuring both in turns, up to 24 launches each"})
        (full,) = experiment.in_full(worker, [trial])
    trial = replace(trial, measurements={**trial.measurements, **full})
    return trial, root / "artifacts" / str(trial.artifact) / f"model.{trial.format}"


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
