"""The loop: propose, run, record; then settle the frontier.

Each slot is a thread with a worker of its own. All that a slot finishes is in the store
before the slot goes on, so that a kill costs at most the trials under way.

Of the proposals that wait, a slot takes the one whose next step unlocks the most
(`engine.agenda`). They are claimed only when they start. A long piece of a fixed list
waits, so that what its recipes share is known from the beginning. A strategy that
adapts is asked for one more, or for a few where what other slots compute is in the
way, and anew after each trial: proposals are functions of the history, and those made
before may be worse than what it would propose now.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field, replace

import numpy as np

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
from paretune.settling import POSSIBLE, Event, Settling
from paretune.store.trials import Claim

BEAT_S = 8.0
AHEAD = 2  # proposals a worker, of a strategy that adapts
LISTED = 256  # proposals of one that doesn't
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
    _late: bool = field(default=False, repr=False)
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
                    stays = self._may_promote()  # before it ends while we look
                    turn = self._next()
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

    def _next(self) -> tuple[Claim, Recipe] | None:
        """The next trial and the right to run it.

        Returns:
            None if there is none now: it is time to end if the queue is empty, else
            to wait until another slot has moved on.
        """
        course, queue = self.course, self.queue
        if promoted := self._promoted():
            return promoted
        if self._full() and not queue.waiting:
            return None
        if claim := course.resume():
            del queue.waiting[-1:]  # it takes the place of one within the limit
            recipe = catalog.recipe(claim.steps)
        elif self._time_for_another():
            chosen = self._chosen()
            if chosen is None:
                return None
            recipe, claim = chosen, course.claim(chosen)
        else:
            queue.waiting.clear()
            if not self._late:  # once, whichever slot comes to it first
                self._late = True
                self._tell(
                    "another trial and the full measurement no longer fit into the "
                    "time; give more with --budget"
                )
            return None
        course.pending[claim.number] = recipe
        queue.protect(course.pending.values())
        return claim, recipe

    def _full(self) -> bool:
        """Whether the limit leaves no room for another proposal."""
        taken = self.course.tried + len(self.course.pending) + len(self.queue.waiting)
        return self.limits.trials is not None and taken >= self.limits.trials

    def _chosen(self) -> Recipe | None:
        """The proposal that goes next, no longer in the queue.

        Of a strategy that adapts more are asked for only where what others compute
        is in the way: a proposal costs time, and is dropped when a trial ends.
        """
        pending = self.course.pending.values()
        if not self.strategy.adapts:
            self._refill(LISTED)
            return self.queue.take(pending)
        self._refill(1)
        chosen = self.queue.take(pending)
        if chosen is None and self.queue.waiting:
            self._refill(AHEAD * len(self.workers))
            chosen = self.queue.take(pending)
        return chosen

    def _refill(self, ahead: int) -> None:
        """Asks for proposals until there are so many, or none is left."""
        course, waiting = self.course, self.queue.waiting
        while len(waiting) < ahead and not self._full():
            under_way = len(course.pending) + len(waiting)
            rng = np.random.default_rng([self.seed, course.tried, under_way])
            proposed = self.strategy.next(course.history(waiting), rng)
            if proposed is None:
                return
            waiting.append(proposed)

    def _may_promote(self) -> bool:
        """Whether a trial under way may still come to be halted, and then go on."""
        if self.scheduler is None or self._late:
            return False
        return any(
            self.scheduler.rungs(n)[0] < 1 for n in tuple(self.course.pending) if n
        )

    def _promoted(self) -> tuple[Claim, Recipe] | None:
        """A halted trial that goes on to its next rung, if one deserves it."""
        if self.scheduler is None:
            return None
        number = self.scheduler.promote(self.course.history())
        if number is None:
            return None
        ahead = _to_next(self.course.finished[number], self.scheduler.rungs(number))
        if not self._time_for_another(ahead):
            return None
        claim = self.course.reopen(number)
        recipe = catalog.recipe(claim.steps)
        self.course.pending[number] = recipe
        self.queue.protect(self.course.pending.values())
        return claim, recipe

    def _time_for_another(self, least_s: float = 0.0) -> bool:
        """Whether a usual trial, and settling after it, still fit into the time.

        Args:
            least_s: what is known of how long it will take.
        """
        if self.limits.seconds is None:
            return True
        ledger = self.experiment.ledger
        spent = self._costs()["wall_s"] + max(ledger.usual_trial_s, least_s)
        spent += ledger.arm_s * (len(self.course.pending) + 2)  # this, and the baseline
        left = self.limits.seconds - spent
        if ledger.arm_s * self.course.contenders < left:
            return True
        return ledger.arm_s * len(self.course.close().likely(POSSIBLE)) < left

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

    @property
    def _settling(self) -> Settling:
        return Settling(self.course, self.experiment, self.workers[0], self.on_event)

    def _tell(self, what: str) -> None:
        self.on_event("phase", {"what": what})


def _to_next(trial: Trial, rungs: Sequence[float]) -> float:
    """Seconds that a halted trial will train to its next rung, at its own pace."""
    reached = trial.rungs[-1]["share"]
    following = next((r for r in rungs if r > reached), 1.0)
    so_far = sum(r.get("seconds", 0.0) for r in trial.rungs)
    return float(so_far * (following - reached) / reached)


def _failed(claim: Claim, recipe: Recipe, state: str, why: str) -> Trial:
    """The trial as failed, with what it had come to when it was halted before."""
    before = claim.halted or Trial(claim.number, tuple(recipe.to_json()), state)
    return replace(before, state=state, error=why)
