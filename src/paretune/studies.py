"""Studies in a store: where they are, and a snapshot of one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from paretune.core.budget import FOOTPRINT, Budget
from paretune.core.errors import BudgetError, nearest
from paretune.core.strategy import Objective
from paretune.core.study import Study
from paretune.core.target import Target
from paretune.core.trial import Trial
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
    kept = store.snapshot(name)
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
        environment=facts.get("environment", {}),
        artifacts=root / "artifacts",
        explanations=_explanations(facts, kept["trials"]),
    )


def _explanations(
    facts: Mapping[str, Any], trials: Iterable[Trial]
) -> dict[int, Mapping[str, Any]]:
    """What `paretune why` found out, of trials that still have the same file."""
    kept: Mapping[str, Mapping[str, Any]] = facts.get("why", {})
    found = {t.number: kept.get(str(t.number)) for t in trials}
    files = {t.number: t.artifact for t in trials}
    return {
        number: told
        for number, told in found.items()
        if told is not None and told.get("artifact") == files[number]
    }
