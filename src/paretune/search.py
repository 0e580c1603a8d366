"""The loop: propose, run, record; then settle the frontier.

Each slot is a thread with a worker of its own. All that a slot finishes is in the store
before the slot goes on, so that a kill costs at most the trials under way.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field, replace
from functools import cached_property

from paretune import catalog
from paretune.core.errors import (
    MeasurementError,
    RecipeError,
    StoreError,
    TaskError,
    UnavailableError,
)
from paretune.core.limits import Limits
from paretune.core.recipe import Recipe
from paretune.core.strategy import Scheduler, Strategy
from paretune.core.study import Study
from paretune.core.trial import STOPPED, Trial
from paretune.core.worker import Worker, WorkFailed
from paretune.course import Course
from paretune.engine.queue import Queue
from paretune.experiment import Experiment
from paretune.settling import Event, Settling
from paretune.store.trials import Claim
from paretune.turns import Turns

BEAT_S = 8.0
WAIT_S = 0.5  # until it is looked again whether a trial can be promoted


@dataclass
class Search:
    """One live search of a study that is in the store.

    Attributes:
        course: the study's trials, and the right to add to them.
        strategy: who proposes.
        scheduler: who decides how far a trial trains; None: each to its end.
        workers: one a slot.
        experiment: how a trial is run.
        limits: when to end.
        seed: of the proposals.
        on_event: told what happens: "phase" and "warning" {"what"}, "start" {"number",
            "recipe"}, "trial" {"trial", "recipe", "best"}.
        queue: of proposals; it tells which goes next.
    """

    course: Course
    strategy: Strategy
    workers: Sequence[Worker]
    experiment: Experiment
    limits: Limits
    seed: int = 0
    on_event: Event = field(default=lambda kind, facts: None)
    scheduler: Scheduler | None = None
    queue: Queue = field(default_factory=Queue)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    def run(self) -> Study:
        """Searches until a limit, then measures the frontier in full.

        Raises:
            KeyboardInterrupt: after everything that was finished has been kept.
            ParetuneError: the baseline itself can't be exported or measured.
        """
        beat = threading.Thread(target=self._beat, daemon=True)
        beat.start()
        try:
            self._mend()
            self._baseline()
            ended, reopened = self.course.finished, self.course.reopened
            for trial in (*ended.values(), *reopened.values()):
                if trial.halted:
                    self.queue.hold(trial, catalog.recipe(trial.steps))
            self._explore()
            if not self._stop.is_set() and not self.experiment.quick:
                self._settling.run(self._stop.is_set)
        finally:
            self.stop()
            beat.join()
            self.queue.close()
            self.course.note("cost", self._costs())
            if self.experiment.forecasts is not None:
                self.course.note("forecasts", self.experiment.forecasts.facts())
        return self.course.study()

    def stop(self) -> None:
        """Ends all work at once; what was finished stays."""
        self._stop.set()
        for worker in self.workers:
            worker.close()

    def _beat(self) -> None:
        """Keeps the lease, and the cost of what was done, until the search ends."""
        while not self._stop.wait(BEAT_S):
            try:
                self.course.store.renew(self.course.lease)
                self.course.note("cost", self._costs())
            except StoreError as error:
                if error.code == "store-stale":  # the study is another search's now
                    self.on_event("warning", {"what": error.message})
                    self.stop()

    def _costs(self) -> dict[str, float]:
        """Of this search and those before it."""
        now, before = self.experiment.ledger.costs(), self.course.before.cost
        names = sorted({*before, *now})
        return {k: before.get(k, 0.0) + now.get(k, 0.0) for k in names}

    def _mend(self) -> None:
        """Makes artifacts anew that are gone or were tampered with."""
        for trial, recipe, what in self.course.spoilt():
            self.on_event("warning", {"what": f"trial {trial.number}: {what}"})
            if not self.experiment.again(self.workers[0], trial, recipe):
                self.course.lost.add(trial.number)
        if 0 in self.course.lost:
            raise StoreError(
                "artifact-missing",
                "the baseline's artifact is gone and comes out otherwise now; begin "
                "another study with --study.",
            )

    def _baseline(self) -> None:
        """Trial 0 and this host's noise; everything is compared with them."""
        course = self.course
        if 0 not in course.finished:
            self._tell("exporting and measuring the baseline")
            claim = course.resume(baseline=True) or course.claim(Recipe())
            try:
                trial = self.experiment.trial(self.workers[0], 0, Recipe())
            except WorkFailed as failed:  # left unfinished: the next search tries again
                raise MeasurementError(
                    "baseline-failed",
                    f"the baseline can't be exported and measured: {failed.message}",
                ) from failed
            course.finish(claim, trial)
            self.on_event("trial", {"trial": trial, "recipe": Recipe(), "best": ""})
        base = course.finished[0]
        self.experiment.baseline = base
        for trial in course.finished.values():
            self.experiment.remember(trial, catalog.recipe(trial.steps))
        self._settling.noise(base)
        self.experiment.budget.check(base.values)

    def _explore(self) -> None:
        with ThreadPoolExecutor(len(self.workers)) as pool:
            slots = [pool.submit(self._slot, worker) for worker in self.workers]
            try:
                wait_for(slots)
            except BaseException:
                self.stop()
                raise
        for slot in slots:
            slot.result()

    def _slot(self, worker: Worker) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    stays = self._turns.may_promote()  # before it ends while we look
                    turn = self._turns.next()
                    stays = stays or bool(self.queue.waiting)  # others compute for it
                if turn is None:
                    if not stays:
                        return
                    self._stop.wait(WAIT_S)
                    continue
                self._attempt(worker, *turn)
        except BaseException:
            self.stop()
            raise

    def _attempt(self, worker: Worker, claim: Claim, recipe: Recipe) -> None:
        """Runs a claimed trial to its end, again after a crash, and records it."""
        self.on_event("start", {"number": claim.number, "recipe": recipe})
        ledger, number = self.experiment.ledger, claim.number
        begin = ledger.wall_s
        trial: Trial | None = None
        while trial is None:
            try:
                trial = self._run(worker, claim, recipe)
                if trial.ok or trial.halted:
                    ledger.trial(ledger.wall_s - begin)
            except WorkFailed as failed:
                stopped = self._stop.is_set()
                if failed.word.startswith("crash") and not stopped:
                    again = self.course.again(claim, failed)
                    if again is None:
                        break
                    claim = again
                    continue
                state = STOPPED if stopped else f"failed:{failed.word}"
                trial = _failed(claim, recipe, state, failed.message)
                if stopped and claim.halted is not None:
                    trial = claim.halted  # as it was before it was taken up
            except (RecipeError, TaskError, UnavailableError) as error:
                # such as a metric that this model's outputs bring down
                trial = _failed(claim, recipe, "failed:error", error.message)
        if trial is not None:
            self.course.finish(claim, trial)
        ended, best = self.course.finished[number], self.course.best()
        with self._lock:
            self.queue.learn(ended, recipe)
            if self.strategy.adapts:
                self.queue.waiting.clear()
        self.on_event("trial", {"trial": ended, "recipe": recipe, "best": best})

    def _run(self, worker: Worker, claim: Claim, recipe: Recipe) -> Trial:
        """The trial at its next rung, or at its end."""
        number, scheduler = claim.number, self.scheduler
        if scheduler is None:
            return self.experiment.trial(worker, number, recipe)
        rungs = scheduler.rungs(number)
        return self.experiment.trial(
            worker, number, recipe, rungs, claim.halted, scheduler.over
        )

    @cached_property
    def _turns(self) -> Turns:
        return Turns(
            self.course,
            self.strategy,
            self.scheduler,
            self.queue,
            self.limits,
            self.experiment.ledger,
            len(self.workers),
            self.seed,
            lambda: self._costs()["wall_s"],
            self._tell,
        )

    @property
    def _settling(self) -> Settling:
        return Settling(self.course, self.experiment, self.workers[0], self.on_event)

    def _tell(self, what: str) -> None:
        self.on_event("phase", {"what": what})


def _failed(claim: Claim, recipe: Recipe, state: str, why: str) -> Trial:
    """The trial as failed, with what it had come to when it was halted before."""
    before = claim.halted or Trial(claim.number, tuple(recipe.to_json()), state)
    return replace(before, state=state, error=why)
