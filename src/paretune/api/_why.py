"""Why a trial is what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paretune.api._reopen import reopened
from paretune.api._study import pick
from paretune.core.errors import StoreError
from paretune.core.study import Study
from paretune.core.task import Task
from paretune.core.trial import Trial
from paretune.frontier import frontier
from paretune.options import Progress, unheard


def why(
    study: Study,
    which: str = "best",
    task: Task | str | None = None,
    store: Path | None = None,
    on_progress: Progress = unheard,
) -> dict[str, Any]:
    """Why a trial is or isn't faster, and is or isn't worse, than the baseline.

    Nothing is trained and the test split isn't read. The study keeps what was found,
    so that reports show it.

    Args:
        study: with a baseline.
        which: a member, as `pick` takes it; where that is the baseline, what comes
            nearest to being better.
        task: only for a task that has no reference.
        store: a folder; by default the user's own.
        on_progress: told what runs: (slot, what, share done).

    Returns:
        Parts of JSON values: "operators", "total", "steps", "layers", "flips" and
        "advice"; one that can't be given is {"unavailable": a sentence}.

    Raises:
        StoreError: there is no such member, or the task isn't what it was.
    """
    trial, base = explained(study, which), study.baseline
    if base is None or trial.number == 0:
        raise StoreError(
            "pick",
            f"trial {trial.number} is the baseline, which is like itself; "
            + (
                "name one of the others that are finished."
                if any(t.ok and t.number for t in study.trials)
                else f"study {study.name!r} has no other that came to a file; "
                "search longer, or loosen --require."
            ),
        )
    with reopened(study, task, store, on_progress, "explain it") as again:
        asks = {
            "member": trial.to_json(),
            "baseline": base.to_json(),
            "fingerprint": again.fingerprint,
        }
        found: dict[str, Any] = again.worker.do("explain", asks)["explanation"]
    kept = {**again.trials.facts(study.name).get("why", {}), str(trial.number): found}
    again.trials.update_study(study.name, "why", kept)
    return found


def explained(study: Study, which: str) -> Trial:
    """What is meant: a word never means the baseline, which is like itself."""
    trial = pick(study, which)
    others = [t for t in study.trials if t.ok and t.number]
    if trial.number or which.isdecimal() or not others:
        return trial
    found = frontier(study)
    members = [t for t in found.members if t.number]
    return found.knee(members or others) or (members or others)[0]
