"""Studies in a store: where they are, and a snapshot of one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from paretune.core.budget import FOOTPRINT, Budget
from paretune.core.errors import BudgetError, nearest
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.target import Target
from paretune.core.trial import Trial
from paretune.frontier import Frontier, frontier, of_members, selected
from paretune.store.trials import Trials

OBJECTIVES = ("size", "latency_p50")  # with the quality metric: the usual frontier


def default_store() -> Path:
    """Where studies are kept unless the user says otherwise."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "paretune"


def objectives(names: tuple[str, ...], metrics: Mapping[str, str]) -> list[list[str]]:
    """[[metric, better], ...] of these axes, the task's first quality metric ahead.

    Raises:
        BudgetError: an axis is no metric.
    """
    first = next(iter(metrics))
    found = [[first, metrics[first]]]
    for name in names:
        known = {**metrics, **{k: better for k, (_, better, _) in FOOTPRINT.items()}}
        if name not in known:
            raise BudgetError(
                "objective", f"no metric is called {name!r}; {nearest(name, known)}"
            )
        if name != first:
            found.append([name, known[name]])
    return found


def load_study(name: str, store: Trials, root: Path) -> Study:
    """The study as the store has it now.

    Raises:
        StoreError: there is none of that name; names the nearest.
    """
    return _study(name, root, store.snapshot(name))


def load_frontier(name: str, store: Trials, root: Path) -> Frontier:
    """The frontier of a study, with the members that `frontier(load_study())` has.

    From the figures that the store keeps as numbers where they tell it, so that a
    million trials take seconds; else from all trials. What is dominated isn't kept:
    the frontier's study holds the members and the baseline alone, and what is told of
    all trials, such as the hypervolume, is told of these.

    Raises:
        StoreError: there is none of that name; names the nearest.
    """
    with store.view(name) as view:
        records = view.records
        if records.size and records["number"][0] == 0:  # else there is no baseline
            study = _study(name, root, view.snapshot([0]))
            found = selected(study, view.metrics, records, view.right, view.trials)
            if found is not None:
                kept = view.snapshot(sorted({0, *found}))
                return of_members(_study(name, root, kept), found)
    whole = frontier(load_study(name, store, root))
    numbers = {t.number for t in whole.members}
    trials = tuple(t for t in whole.study.trials if t.number in {0, *numbers})
    return of_members(replace(whole.study, trials=trials), numbers)


def _study(name: str, root: Path, kept: Mapping[str, Any]) -> Study:
    """From a snapshot of it."""
    spec: Mapping[str, Any] = kept["spec"]
    facts: Mapping[str, Any] = kept["facts"]
    return Study(
        name=name,
        task=spec["task"],
        metrics=spec["metrics"],
        target=Target.from_json(spec["target"]),
        strategy=spec["strategy"],
        objectives=tuple(Objective(m, b) for m, b in spec["objectives"]),
        budget=Budget.parse(spec["require"], spec["metrics"]),
        trials=kept["trials"],
        certified=kept["certified"],
        certifications=kept["certifications"],
        cost=facts.get("cost", {}),
        noise=facts.get("noise", 0.0),
        forecasts=facts.get("forecasts", {}),
        environment=facts.get("environment", {}),
        artifacts=root / "artifacts",
        explanations=_kept(facts.get("why", {}), kept["trials"]),
        attributions={
            number: told
            for number, told in _kept(
                facts.get("attribution", {}), kept["trials"]
            ).items()
            if told["complete"]
        },
        warm_start=facts.get("warm_start", {}),
    )


def _kept(
    kept: Mapping[str, Mapping[str, Any]], trials: Iterable[Trial]
) -> dict[int, Mapping[str, Any]]:
    """What was found out of trials that still have the same file."""
    found = {t.number: kept.get(str(t.number)) for t in trials}
    files = {t.number: t.artifact for t in trials}
    return {
        number: told
        for number, told in found.items()
        if told is not None and told.get("artifact") == files[number]
    }
