"""Which trial goes next: one left unfinished, a halted one, or a proposal.

Of the proposals that wait, a slot takes the one whose next step unlocks the most
(`engine.agenda`). They are claimed only when they start. A long piece of a fixed list
waits, so that what its recipes share is known from the beginning. A strategy that
adapts is asked for one more, or for a few where what other slots compute is in the
way, and anew after each trial: proposals are functions of the history, and those made
before may be worse than what it would propose now.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from paretune import catalog
from paretune.core.limits import Limits
from paretune.core.recipe import Recipe
from paretune.core.strategy import Scheduler, Strategy
from paretune.core.trial import Trial
from paretune.course import Course
from paretune.engine.queue import Queue
from paretune.ledger import Ledger
from paretune.settling import POSSIBLE
from paretune.store.trials import Claim

AHEAD = 2  # proposals a slot, of a strategy that adapts
LISTED = 256  # proposals of one that doesn't


@dataclass
class Turns:
    """What the slots of a search do next. Not safe from several threads.

    Attributes:
        course: the study's trials.
        strategy: who proposes.
        scheduler: who decides how far a trial trains; None: each to its end.
        queue: of proposals.
        limits: when to end.
        ledger: tells what a usual trial takes.
        slots: how many there are.
        seed: of the proposals.
        spent_s: gives the wall time of this search and those before it.
        tell: told, in a sentence, why nothing more is begun.
    """

    course: Course
    strategy: Strategy
    scheduler: Scheduler | None
    queue: Queue
    limits: Limits
    ledger: Ledger
    slots: int
    seed: int
    spent_s: Callable[[], float]
    tell: Callable[[str], None]
    _late: bool = field(default=False, repr=False)

    def next(self) -> tuple[Claim, Recipe] | None:
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
                self.tell(
                    "another trial and the full measurement no longer fit into the "
                    "time; give more with --budget"
                )
            return None
        course.pending[claim.number] = recipe
        queue.protect(course.pending.values())
        return claim, recipe

    def may_promote(self) -> bool:
        """Whether a trial under way may still come to be halted, and then go on."""
        if self.scheduler is None or self._late:
            return False
        return any(
            self.scheduler.rungs(n)[0] < 1 for n in tuple(self.course.pending) if n
        )

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
            self._refill(AHEAD * self.slots)
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
        ledger = self.ledger
        spent = self.spent_s() + max(ledger.usual_trial_s, least_s)
        spent += ledger.arm_s * (len(self.course.pending) + 2)  # this, and the baseline
        left = self.limits.seconds - spent
        if ledger.arm_s * self.course.contenders < left:
            return True
        return ledger.arm_s * len(self.course.close().likely(POSSIBLE)) < left


def _to_next(trial: Trial, rungs: Sequence[float]) -> float:
    """Seconds that a halted trial will train to its next rung, at its own pace."""
    reached = trial.rungs[-1]["share"]
    following = next((r for r in rungs if r > reached), 1.0)
    so_far = sum(r.get("seconds", 0.0) for r in trial.rungs)
    return float(so_far * (following - reached) / reached)
