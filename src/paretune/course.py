"""What a live search has done and has under way, on top of its store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from paretune import catalog
from paretune.core.errors import StoreError
from paretune.core.measurement import Measurement
from paretune.core.recipe import Recipe
from paretune.core.strategy import History
from paretune.core.study import Study
from paretune.core.trial import STOPPED, Trial
from paretune.core.worker import WorkFailed
from paretune.store.artifacts import Artifacts
from paretune.store.trials import Claim, Lease, Trials


@dataclass
class Course:
    """The trials of a study, as one search sees and makes them; safe from any thread.

    Attributes:
        store: where all is kept.
        artifacts: where the files are.
        lease: that the search holds on the study.
        study: gives the study as the store has it.
        before: the study as it was when this search began.
        finished: by number.
        pending: recipes under way, by number.
        lost: numbers of finished trials whose artifact can't be had again.
    """

    store: Trials
    artifacts: Artifacts
    lease: Lease
    study: Callable[[], Study]
    before: Study = field(init=False, repr=False)
    finished: dict[int, Trial] = field(init=False, repr=False)
    pending: dict[int, Recipe] = field(default_factory=dict, repr=False)
    lost: set[int] = field(default_factory=set, repr=False)
    _left: list[Claim] = field(default_factory=list, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        self.before = self.study()
        self.finished = {t.number: t for t in self.before.trials}
        name = self.before.name
        for claim in self.store.abandoned(name):
            again = self.store.claim_again(name, claim.number, self.lease, fault=False)
            if again is not None:
                self._left.append(again)

    @property
    def tried(self) -> int:
        """Trials that have ended, the baseline and stopped ones not counted."""
        ended = self.finished.values()
        return sum(t.number > 0 and t.state != STOPPED for t in ended)

    def history(self) -> History:
        """What strategies and samplers are told. A stopped trial tells nothing."""
        with self._lock:
            ended = (t for t in self.finished.values() if t.state != STOPPED)
            trials = tuple(sorted(ended, key=lambda t: t.number))
            pending = tuple(tuple(r.to_json()) for r in self.pending.values())
        return History(self.before.objectives, trials, pending, self.before.budget)

    def resume(self, baseline: bool = False) -> Claim | None:
        """The right to run again a trial that an earlier search left unfinished."""
        with self._lock:
            for claim in self._left:
                if (claim.number == 0) == baseline:
                    self._left.remove(claim)
                    return claim
        return None

    def claim(self, recipe: Recipe) -> Claim:
        """The right to run a new trial."""
        steps = recipe.to_json()
        return self.store.claim(self.before.name, steps, self.lease)

    def again(self, claim: Claim, failed: WorkFailed) -> Claim | None:
        """The right to run a trial again that brought its worker down.

        Returns:
            None if it did so too often: it has been finished as failed.
        """
        name, state = self.before.name, f"failed:{failed.word}"
        next_claim = self.store.claim_again(
            name, claim.number, self.lease, state=state, error=failed.message
        )
        if next_claim is None:
            with self._lock:
                self.finished |= {t.number: t for t in self.store.trials(name)}
                self.pending.pop(claim.number, None)
        return next_claim

    def finish(self, claim: Claim, trial: Trial) -> None:
        """Keeps a finished trial."""
        with self._lock:
            self.store.finish(claim, trial)
            self.finished[trial.number] = trial
            self.pending.pop(trial.number, None)

    def amend(self, trial: Trial, figures: Mapping[str, Measurement]) -> Trial:
        """Keeps better figures of a finished trial; the trial with them."""
        self.store.amend(self.before.name, trial.number, figures)
        amended = replace(trial, measurements={**trial.measurements, **figures})
        self.finished[trial.number] = amended
        return amended

    def note(self, key: str, value: Any) -> None:
        """Keeps a fact about the study."""
        self.store.update_study(self.before.name, key, value)

    def spoilt(self) -> list[tuple[Trial, Recipe, str]]:
        """Finished trials whose artifact is gone or tampered with, and the fault."""
        found = []
        for trial in self.finished.values():
            try:
                if trial.ok:
                    self.artifacts.path(str(trial.artifact), trial.format)
            except StoreError as error:
                found.append((trial, catalog.recipe(trial.steps), error.message))
        return found
