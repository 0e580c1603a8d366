"""What a live search has done and has under way, on top of its store."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from paretune import catalog
from paretune.core.errors import StoreError
from paretune.core.measurement import Measurement
from paretune.core.recipe import Recipe
from paretune.core.strategy import History, told
from paretune.core.study import Study
from paretune.core.trial import STOPPED, Trial
from paretune.core.worker import WorkFailed
from paretune.frontier import Frontier, Live
from paretune.report.verdict import closest, verdict
from paretune.store.artifacts import Artifacts
from paretune.store.trials import Claim, Lease, Trials

LATE = 100  # trials that are looked at twice


@dataclass
class Course:
    """The trials of a study, as one search sees and makes them; safe from any thread.

    It is kept up to date trial by trial, so that a trial costs the same however many
    there were before.

    Attributes:
        store: where all is kept.
        artifacts: where the files are.
        lease: that the search holds on the study.
        study: gives the study as the store has it.
        before: the study as it was when this search began.
        finished: by number.
        pending: recipes under way, by number.
        reopened: those of them that were halted before, as they were then.
        lost: numbers of finished trials whose artifact can't be had again.
    """

    store: Trials
    artifacts: Artifacts
    lease: Lease
    study: Callable[[], Study]
    before: Study = field(init=False, repr=False)
    finished: dict[int, Trial] = field(init=False, repr=False)
    pending: dict[int, Recipe] = field(default_factory=dict, repr=False)
    reopened: dict[int, Trial] = field(default_factory=dict, repr=False)
    lost: set[int] = field(default_factory=set, repr=False)
    _left: list[Claim] = field(default_factory=list, repr=False)
    _told: list[Trial] = field(default_factory=list, repr=False)  # by number
    _steps: set[str] = field(default_factory=set, repr=False)
    _tried: int = field(default=0, repr=False)
    _live: Live | None = field(default=None, repr=False)  # None: it is to be made anew
    _nearest: Trial | None = field(default=None, repr=False)
    _noise: float = field(default=0.0, repr=False)
    _found: Frontier | None = field(default=None, repr=False)
    _said: str | None = field(default=None, repr=False)  # of what has come of it
    _of: tuple[int, bool] = field(default=(-1, False), repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        self.before = self.study()
        self.finished, self._noise = {}, self.before.noise
        for trial in self.before.trials:
            self._keep(trial)
        name = self.before.name
        for claim in self.store.abandoned(name):
            again = self.store.claim_again(name, claim.number, self.lease, fault=False)
            if again is not None:
                self._left.append(again)
                if again.halted is not None:
                    self.reopened[again.number] = again.halted

    @property
    def tried(self) -> int:
        """Trials that have ended, the baseline and stopped ones not counted."""
        return self._tried

    def history(self, queued: Iterable[Recipe] = ()) -> History:
        """What strategies and samplers are told. A stopped trial tells nothing.

        Args:
            queued: recipes that are to be run, besides those under way.
        """
        with self._lock:
            trials = tuple(self._told)
            pending = tuple(
                tuple(r.to_json()) for r in (*self.pending.values(), *queued)
            )
        study = self.before
        return History(
            study.objectives,
            trials,
            pending,
            study.budget,
            tuple(self.reopened.values()),
            self._steps,
        )

    def frontier(self) -> Frontier:
        """So far, as `frontier.Live` has it; its study holds no other trials.

        But for the baseline and, while nothing meets the budget, the nearest to it.
        """
        with self._lock:
            live = self._judged()
            if self._found is None:
                others = () if self._nearest is None else (self._nearest,)
                self._found = live.frontier(*others)
            return self._found

    def best(self) -> str:
        """What has come of it so far, in a sentence."""
        with self._lock:
            live = self._judged()
            if self.before.certified:  # other figures than those that `live` knows
                return verdict(self.frontier().study, self.frontier())
            fit = live.best
            fits, chosen = fit is not None, fit or self._nearest
            of = (-1 if chosen is None else chosen.number), fits
            if self._said is None or self._of != of:
                study = live.of(*(() if chosen is None else (chosen,)))
                found = Frontier(study, () if fit is None else (fit,), ())
                self._of, self._said = of, verdict(study, found)
            return self._said

    @property
    def contenders(self) -> int:
        """At most how many trials `close` has, without making it."""
        with self._lock:
            return len(self._judged().members) + LATE + 1

    def close(self) -> Frontier:
        """The frontier so far beside the last `LATE` trials: what may yet be on it."""
        with self._lock:
            late = [t for t in self._told[-LATE:] if t.ok]
            return self._judged().frontier(*late)

    def _keep(self, trial: Trial) -> None:
        """Takes a trial that has ended into what is known; again if it is another."""
        was = self.finished.get(trial.number)
        self.finished[trial.number] = trial
        if was is not None and was.state != STOPPED:
            del self._told[bisect.bisect_left(self._told, was.number, key=_number)]
            self._tried -= was.number > 0
        if trial.state != STOPPED:
            bisect.insort(self._told, trial, key=_number)
            self._steps.add(told(trial.steps))
            self._tried += trial.number > 0
        if was is not None and was.ok:
            self._live = None  # a figure that the frontier rests on has changed
        elif self._live is not None:
            self._judge(self._live, trial)

    def _forget(self, number: int) -> Trial:
        """Takes a halted trial out of those that have ended."""
        trial = self.finished.pop(number)
        del self._told[bisect.bisect_left(self._told, number, key=_number)]
        self._tried -= 1
        return trial

    def _judged(self) -> Live:
        """The frontier with all that has ended."""
        if self._live is None:
            live = Live(replace(self.before, noise=self._noise))
            self._nearest = self._found = self._said = None
            for trial in self._told:
                self._judge(live, trial)
            self._live = live
        return self._live

    def _judge(self, live: Live, trial: Trial) -> None:
        was = self._nearest
        changed = live.add(trial)
        if live.fits or not self.before.budget.constraints:
            self._nearest = None
        else:
            others = (self._nearest, trial) if self._nearest else (trial,)
            self._nearest, _ = closest(live.of(*others))
        if changed or self._nearest is not was:
            self._found = None

    def resume(self, baseline: bool = False) -> Claim | None:
        """The right to run again a trial that an earlier search left unfinished."""
        with self._lock:
            for claim in self._left:
                if (claim.number == 0) == baseline:
                    self._left.remove(claim)
                    return claim
        return None

    def reopen(self, number: int) -> Claim:
        """The right to train a halted trial on."""
        with self._lock:
            claim = self.store.reopen(self.before.name, number, self.lease)
            self.reopened[number] = self._forget(number)
        return claim

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
                self.reopened.pop(claim.number, None)
                self._keep(self.store.trial(name, claim.number))
                self.pending.pop(claim.number, None)
        return next_claim

    def finish(self, claim: Claim, trial: Trial) -> None:
        """Keeps a finished trial."""
        with self._lock:
            self.store.finish(claim, trial)
            self.reopened.pop(trial.number, None)
            self._keep(trial)
            self.pending.pop(trial.number, None)

    def amend(self, trial: Trial, figures: Mapping[str, Measurement]) -> Trial:
        """Keeps better figures of a finished trial; the trial with them."""
        self.store.amend(self.before.name, trial.number, figures)
        amended = replace(trial, measurements={**trial.measurements, **figures})
        with self._lock:
            self._keep(amended)
        return amended

    def note(self, key: str, value: Any) -> None:
        """Keeps a fact about the study."""
        self.store.update_study(self.before.name, key, value)
        if key == "noise":
            with self._lock:
                self._noise, self._live = float(value), None

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


def _number(trial: Trial) -> int:
    return trial.number
