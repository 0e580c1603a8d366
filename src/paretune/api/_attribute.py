"""What each step of a chosen recipe contributes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paretune import catalog
from paretune.api._reopen import Reopened, reopened
from paretune.api._why import explained
from paretune.core.errors import StoreError
from paretune.core.measurement import Measurement
from paretune.core.study import Study
from paretune.core.task import Task
from paretune.core.trial import Trial
from paretune.core.worker import WorkFailed
from paretune.engine.attribution import VERSION, LeftOut, changes, left_out, told
from paretune.options import Progress, unheard
from paretune.store.artifacts import Artifacts

FACT = "attribution"
ALWAYS = ("size", "latency_p50")
PASSING = ("crash", "timeout", "oom")  # failures that another attempt may not meet

Record = dict[str, Any]


def attribute(
    study: Study,
    which: str = "best",
    task: Task | str | None = None,
    store: Path | None = None,
    on_progress: Progress = unheard,
    quick: bool = False,
) -> Record:
    """What each step of a member's recipe contributes: the recipe without it, measured.

    The recipe is run with each step left out in turn. Prefixes that it shares with
    what was run before are not run again. Quality is that on the validation split. All
    files are timed beside the baseline, and the member's own among them. The study
    keeps what was found, so that reports show it; a call that was cut short goes on
    where it was.

    Args:
        study: with a frontier.
        which: a member, as `pick` takes it; a word never means the baseline.
        task: only for a task that has no reference.
        store: a folder; by default the user's own.
        on_progress: told what runs: (slot, what, share done).
        quick: time by the screening protocol, which sees large differences only.

    Returns:
        {"version", "trial", "artifact", "baseline", "protocol", "complete", "figures":
        the member's, "steps": [{"index", "technique", "recipe": without the step,
        "state": "ok", "refused" (the others can't follow one another) or "failed:" and
        why, "error", "artifact", "figures", "change"}]}; see `engine.attribution` for
        figures and changes.

    Raises:
        StoreError: there is no such member, or the task isn't what it was.
    """
    trial, base = explained(study, which), study.baseline
    if base is None or not trial.steps:
        raise StoreError(
            "pick",
            f"trial {trial.number} is the baseline, which has no step to leave out; "
            "name one of the others that are finished, or search longer.",
        )
    protocol = "screening" if quick else "full"
    kept = study.attributions.get(trial.number)
    if kept is not None and kept["baseline"] == base.artifact:
        retried = any(_passing(s["state"]) for s in kept["steps"])
        if not retried and kept["protocol"] in (protocol, "full"):
            return dict(kept)
    heading = [""]

    def progress(slot: int, what: str, share: float) -> None:
        on_progress(slot, f"{heading[0]}: {what}" if heading[0] else what, share)

    with reopened(study, task, store, progress, "attribute it") as again:
        bench = _Bench(study, trial, base, again)
        for part in reversed(left_out(catalog.recipe(trial.steps))):
            if bench.done(part):  # the last step first: it shares the most
                continue
            heading[0] = f"without {part.technique}"
            on_progress(0, heading[0], 0.0)
            bench.run(part)
        heading[0] = ""
        on_progress(0, "timing all in turns with the baseline", 0.0)
        return bench.finished(protocol)


class _Bench:
    """The variants of one recipe, each kept as soon as it is done."""

    def __init__(
        self, study: Study, trial: Trial, base: Trial, again: Reopened
    ) -> None:
        self.study, self.trial, self.base, self.again = study, trial, base, again
        self.metrics = tuple(
            dict.fromkeys(
                (*study.metrics, *ALWAYS, *(o.metric for o in study.objectives))
            )
        )
        facts = again.trials.facts(study.name).get(FACT, {})
        before: Mapping[str, Any] = facts.get(str(trial.number), {})
        same = (before.get("artifact"), before.get("baseline")) == (
            trial.artifact,
            base.artifact,
        )
        self.steps: dict[int, Record] = {
            s["index"]: s for s in (before["steps"] if same else ())
        }

    def done(self, part: LeftOut) -> bool:
        """Whether an earlier call has run it, and its file is still there."""
        record = self.steps.get(part.index)
        if record is None or _passing(record["state"]):
            return False
        if record["state"] != "ok":
            return True
        files = Artifacts(self.again.root)
        try:
            files.path(record["artifact"], record["format"])
        except StoreError:
            return False
        return True

    def run(self, part: LeftOut) -> None:
        """Realises and judges the recipe without the step."""
        record: Record = {
            "index": part.index,
            "technique": part.technique,
            "recipe": part.recipe.to_json(),
            "state": "refused" if part.refused else "ok",
            "error": part.refused,
            "artifact": None,
            "figures": {},
            "change": {},
        }
        if not part.refused:
            asks = {
                "steps": part.recipe.to_json(),
                "fingerprint": self.again.fingerprint,
                "judge": True,
            }
            try:
                record |= self._taken(self.again.worker.do("realise", asks))
            except WorkFailed as failed:
                record |= {"state": f"failed:{failed.word}", "error": failed.message}
        self.steps[part.index] = record
        self._keep("", {}, False)

    def finished(self, protocol: str) -> Record:
        """Times all files, and keeps the whole."""
        made = [s for s in self.steps.values() if s["state"] == "ok"]
        own = str(self.trial.artifact)
        artifacts = list(dict.fromkeys((own, *(str(s["artifact"]) for s in made))))
        floor = self.study.floor("latency_p50")
        noise = {"latency": {"noise": floor}} if math.isfinite(floor) else {}
        asks = {
            "artifacts": artifacts,
            "baseline": self.base.artifact,
            "meters": ["latency"],
            "protocol": protocol,
            "settings": noise,
        }
        taken = self.again.worker.do("measure", asks)["measurements"]
        timed = {
            sha256: {k: Measurement.from_json(m) for k, m in figures.items()}
            for sha256, figures in zip(artifacts, taken, strict=True)
        }
        floors = {k: self.study.floor(k) for k in self.metrics}
        for record in made:
            mine, its = timed[str(record["artifact"])], timed[own]
            own_file = record["artifact"] == own
            change = _only(changes(mine, its, floors), self.metrics)
            if own_file:  # a file that is the same to the byte takes the same time
                change = {k: {**c, "verdict": 0} for k, c in change.items()}
            record["figures"] |= told(mine, self.metrics)
            record["change"] |= change
        figures = {**self.trial.measurements, **timed[own]}
        return self._keep(protocol, told(figures, self.metrics), True)

    def _taken(self, answer: Mapping[str, Any]) -> Record:
        """What `realise` found, beside the whole recipe's figures."""
        found = {k: Measurement.from_json(m) for k, m in answer["measurements"].items()}
        whole = {
            k: m for k, m in self.trial.measurements.items() if m.kind != "launches"
        }
        return {
            "artifact": answer["artifact"],
            "format": answer["format"],
            "figures": told(found, self.metrics),
            "change": _only(changes(found, whole, {}), self.metrics),
        }

    def _keep(
        self, protocol: str, figures: Mapping[str, Any], complete: bool
    ) -> Record:
        record: Record = {
            "version": VERSION,
            "trial": self.trial.number,
            "artifact": self.trial.artifact,
            "baseline": self.base.artifact,
            "protocol": protocol,
            "complete": complete,
            "figures": figures,
            "steps": [self.steps[i] for i in sorted(self.steps)],
        }
        name, trials = self.study.name, self.again.trials
        others = trials.facts(name).get(FACT, {})
        trials.update_study(name, FACT, {**others, str(self.trial.number): record})
        return record


def _only(found: Mapping[str, Record], metrics: tuple[str, ...]) -> dict[str, Record]:
    return {k: found[k] for k in metrics if k in found}


def _passing(state: str) -> bool:
    return state.removeprefix("failed:").startswith(PASSING)
