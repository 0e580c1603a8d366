"""The loop: propose, run, record; then settle the frontier.

Each slot is a thread with a worker of its own. All that a slot finishes is in the store
before the slot goes on, so that a kill costs at most the trials under way.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from paretune import catalog
from paretune.core.budget import FLOORS, FOOTPRINT
from paretune.core.errors import (
    BudgetError,
    MeasurementError,
    RecipeError,
    StoreError,
    TaskError,
    UnavailableError,
)
from paretune.core.recipe import Recipe
from paretune.core.strategy import History, Strategy
from paretune.core.study import Study
from paretune.core.trial import STOPPED, Trial
from paretune.core.worker import Worker, WorkFailed
from paretune.experiment import Experiment
from paretune.frontier import Frontier, frontier
from paretune.measurement.latency import noise
from paretune.report.verdict import verdict
from paretune.store.artifacts import Artifacts
from paretune.store.trials import Claim, Lease, Trials

POSSIBLE = 0.05  # P(on frontier) above which a trial is measured in full
ROUNDS = 3  # of settling: a full measurement can bring a new member to light
BEAT_S = 8.0

Event = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Limits:
    """When a search ends: whichever comes first.

    Attributes:
        seconds: of wall time over the whole study, earlier searches included.
        trials: finished ones, the baseline not counted.
    """

    seconds: float | None = None
    trials: int | None = None


@dataclass
class Search:
    """One live search of a study that is in the store.

    Attributes:
        store: where all is kept.
        artifacts: where the files are.
        lease: that this search holds on the study.
        strategy: who proposes.
        workers: one a slot.
        experiment: how a trial is run.
        study: gives the study as the store has it.
        limits: when to end.
        seed: of the proposals.
        on_event: told what happens: "phase" {"what"}, "start" {"number", "recipe"},
            "trial" {"trial", "recipe", "best"}.
    """

    store: Trials
    artifacts: Artifacts
    lease: Lease
    strategy: Strategy
    workers: Sequence[Worker]
    experiment: Experiment
    study: Callable[[], Study]
    limits: Limits
    seed: int = 0
    on_event: Event = field(default=lambda kind, facts: None)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)
    _finished: dict[int, Trial] = field(default_factory=dict, repr=False)
    _pending: dict[int, Recipe] = field(default_factory=dict, repr=False)
    _retries: list[Claim] = field(default_factory=list, repr=False)
    _lost: set[int] = field(default_factory=set, repr=False)
    _before: Study = field(init=False, repr=False)

    def run(self) -> Study:
        """Searches until a limit, then measures the frontier in full.

        Raises:
            KeyboardInterrupt: after everything that was finished has been kept.
            ParetuneError: the baseline itself can't be exported or measured.
        """
        self._before = self.study()
        self._finished = {t.number: t for t in self._before.trials}
        self._retries = self._taken_over()
        beat = threading.Thread(target=self._beat, daemon=True)
        beat.start()
        try:
            self._mend()
            self._baseline()
            self._explore()
            self._settle()
        finally:
            self.stop()
            beat.join()
            self.store.update_study(self._before.name, "cost", self._costs())
        return self.study()

    def _taken_over(self) -> list[Claim]:
        """The trials that an earlier search left unfinished, to be run again."""
        name = self._before.name
        left = self.store.abandoned(name)
        again = (
            self.store.claim_again(name, c.number, self.lease, fault=False)
            for c in left
        )
        return [claim for claim in again if claim is not None]

    def stop(self) -> None:
        """Ends all work at once; what was finished stays."""
        self._stop.set()
        for worker in self.workers:
            worker.close()

    def _beat(self) -> None:
        """Keeps the lease, and the cost of what was done, until the search ends."""
        while not self._stop.wait(BEAT_S):
            try:
                self.store.renew(self.lease)
                self.store.update_study(self._before.name, "cost", self._costs())
            except StoreError as error:
                if error.code == "store-stale":  # the study is another search's now
                    self.on_event("warning", {"what": error.message})
                    self.stop()

    def _mend(self) -> None:
        """Makes anew the artifacts of finished trials that are gone or tampered."""
        for trial in self._finished.values():
            if not trial.ok:
                continue
            try:
                self.artifacts.path(str(trial.artifact), trial.format)
            except StoreError as error:
                what = f"trial {trial.number}: {error.message}"
                self.on_event("warning", {"what": what})
                recipe = catalog.recipe(trial.steps)
                if not self.experiment.again(self.workers[0], trial, recipe):
                    self._lost.add(trial.number)

    def _costs(self) -> dict[str, float]:
        """Of this search and those before it."""
        now = self.experiment.ledger.costs()
        before = self._before.cost
        return {
            k: before.get(k, 0.0) + now.get(k, 0.0) for k in sorted({*before, *now})
        }

    def _baseline(self) -> None:
        """Trial 0 and this host's noise; everything is compared with them."""
        name = self._before.name
        if 0 not in self._finished:
            self._tell("exporting and measuring the baseline")
            claims = [c for c in self._retries if c.number == 0]
            claim = claims[0] if claims else self.store.claim(name, [], self.lease)
            self._retries = [c for c in self._retries if c.number]
            try:
                base = self.experiment.trial(self.workers[0], 0, Recipe())
            except WorkFailed as failed:  # left unfinished: the next search tries again
                raise MeasurementError(
                    "baseline-failed",
                    f"the baseline can't be exported and measured: {failed.message}",
                ) from failed
            self.store.finish(claim, base)
            self._finished[0] = base
            self.on_event("trial", {"trial": base, "recipe": Recipe(), "best": ""})
        base = self._finished[0]
        if 0 in self._lost:
            raise StoreError(
                "artifact-missing",
                "the baseline's artifact is gone and comes out otherwise now; begin "
                "another study with --study.",
            )
        self.experiment.baseline = base
        for trial in self._finished.values():
            self.experiment.remember(trial, catalog.recipe(trial.steps))
        if not self.experiment.quick:  # the baseline was timed against itself
            self.store.update_study(
                name, "noise", noise(base.measurements["latency_p50"])
            )
        self._possible(base)

    def _note_noise(self, base: Trial) -> None:
        """How much this host differs from itself: the baseline was timed so."""
        timed = base.measurements["latency_p50"]
        if "screening" not in timed.flags:
            self.store.update_study(self._before.name, "noise", noise(timed))

    def _possible(self, base: Trial) -> None:
        """Refuses a limit that not even an empty model could keep."""
        for c in self.experiment.budget.constraints:
            limit = c.limit(base.values) if c.metric in base.values else 1.0
            worst = c.operator == "<=" and limit < FLOORS.get(c.metric, -math.inf)
            unit = c.metric not in FOOTPRINT and c.operator == ">=" and limit > 1
            if worst or (unit and 0 <= base.values[c.metric] <= 1):
                raise BudgetError(
                    "constraints",
                    f"{c.text!r} asks for {c.metric} {c.operator} {limit:.4g}, which "
                    "not even an empty or perfect model could reach; loosen it.",
                )

    def _explore(self) -> None:
        with ThreadPoolExecutor(len(self.workers)) as pool:
            slots = [pool.submit(self._slot, worker) for worker in self.workers]
            try:
                wait_for(slots)
            except KeyboardInterrupt:
                self.stop()
                raise
        for slot in slots:
            slot.result()

    def _slot(self, worker: Worker) -> None:
        while not self._stop.is_set():
            try:
                with self._lock:
                    turn = self._next()
                if turn is None:
                    return
                self._attempt(worker, *turn)
            except BaseException:
                self.stop()
                raise

    def _next(self) -> tuple[Claim, Recipe] | None:
        """The next trial and the right to run it; None when it is time to end."""
        done = sum(t.number > 0 and t.state != STOPPED for t in self._finished.values())
        limit = self.limits.trials
        if limit is not None and done + len(self._pending) >= limit:
            return None
        if self._retries:
            claim = self._retries.pop()
            recipe = catalog.recipe(claim.steps)
        elif self._time_for_another():
            rng = np.random.default_rng([self.seed, done, len(self._pending)])
            proposed = self.strategy.next(self._history(), rng)
            if proposed is None:
                return None
            recipe = proposed
            steps = recipe.to_json()
            claim = self.store.claim(self._before.name, steps, self.lease)
        else:
            return None
        self._pending[claim.number] = recipe
        return claim, recipe

    def _time_for_another(self) -> bool:
        """Whether a usual trial, and settling after it, still fit into the time."""
        if self.limits.seconds is None:
            return True
        ledger = self.experiment.ledger
        to_settle = len(_likely(frontier(self.study()))) + len(self._pending) + 1
        settling = ledger.arm_s * (to_settle + 1)  # the baseline runs along
        spent = self._costs()["wall_s"] + ledger.usual_trial_s + settling
        return spent < self.limits.seconds

    def _history(self) -> History:
        ended = (t for t in self._finished.values() if t.state != STOPPED)
        trials = tuple(sorted(ended, key=lambda t: t.number))
        pending = tuple(tuple(r.to_json()) for r in self._pending.values())
        before = self._before
        return History(before.objectives, trials, pending, before.budget)

    def _attempt(self, worker: Worker, claim: Claim, recipe: Recipe) -> None:
        """Runs a claimed trial to its end, again after a crash, and records it."""
        self.on_event("start", {"number": claim.number, "recipe": recipe})
        begin = self.experiment.ledger.wall_s
        trial: Trial | None = None
        while trial is None:
            try:
                trial = self.experiment.trial(worker, claim.number, recipe)
            except WorkFailed as failed:
                stopped = self._stop.is_set()
                if failed.word.startswith("crash") and not stopped:
                    name = self._before.name
                    again = self.store.claim_again(
                        name,
                        claim.number,
                        self.lease,
                        state=f"failed:{failed.word}",
                        error=failed.message,
                    )
                    if again is None:  # it has been finished as failed
                        self._end(claim.number, recipe)
                        return
                    claim = again
                    continue
                state = STOPPED if stopped else f"failed:{failed.word}"
                trial = _failed(claim, recipe, state, failed.message)
            except (RecipeError, TaskError, UnavailableError) as error:
                # such as a metric that this model's outputs bring down
                trial = _failed(claim, recipe, "failed:error", error.message)
        with self._lock:
            if trial.ok and recipe.steps:
                ledger = self.experiment.ledger
                ledger.trial(ledger.wall_s - begin)
            self.store.finish(claim, trial)
            self._finished[trial.number] = trial
        self._end(trial.number, recipe)

    def _end(self, number: int, recipe: Recipe) -> None:
        """Takes a trial that the store has finished into account."""
        with self._lock:
            if number not in self._finished:
                kept = self.store.trials(self._before.name)
                self._finished |= {t.number: t for t in kept}
            self._pending.pop(number, None)
        trial = self._finished[number]
        best = verdict(self.study())
        self.on_event("trial", {"trial": trial, "recipe": recipe, "best": best})

    def _settle(self) -> None:
        """The full protocol for all that may be on the frontier, until that holds."""
        lost = self._lost
        for _ in range(0 if self.experiment.quick else ROUNDS):
            study = self.study()
            likely = _likely(frontier(study))
            if study.baseline and study.baseline not in likely:
                likely.append(study.baseline)
            unsure = [t for t in likely if _screened(t) and t.number not in lost]
            if not unsure or self._stop.is_set():
                return
            self._tell(f"measuring {len(unsure)} artifacts in full")
            try:
                self._in_full(unsure)
            except (
                WorkFailed,
                StoreError,
            ):  # one of them brings the others down: each by itself
                for trial in unsure:
                    try:
                        self._in_full([trial])
                    except (WorkFailed, StoreError) as failed:
                        lost.add(trial.number)
                        what = f"trial {trial.number} stays screened: {failed.message}"
                        self.on_event("warning", {"what": what})

    def _in_full(self, trials: Sequence[Trial]) -> None:
        full = self.experiment.in_full(self.workers[0], trials)
        for trial, figures in zip(trials, full, strict=True):
            self.store.amend(self._before.name, trial.number, figures)
            merged = {**trial.measurements, **figures}
            self._finished[trial.number] = replace(trial, measurements=merged)
            if trial.number == 0:
                self._note_noise(self._finished[0])

    def _tell(self, what: str) -> None:
        self.on_event("phase", {"what": what})


def _likely(found: Frontier) -> list[Trial]:
    """The members, and all others that might be."""
    others = (t for t in found.dominated if found.probability[t.number] > POSSIBLE)
    return [*found.members, *others]


def _screened(trial: Trial) -> bool:
    return any("screening" in m.flags for m in trial.measurements.values())


def _failed(claim: Claim, recipe: Recipe, state: str, why: str) -> Trial:
    return Trial(claim.number, tuple(recipe.to_json()), state, error=why)
