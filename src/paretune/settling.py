"""The end of a search: what may be on the frontier is measured in full."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paretune.core.errors import StoreError
from paretune.core.study import NOISY, UNSTABLE
from paretune.core.trial import Trial
from paretune.core.worker import Worker, WorkFailed
from paretune.course import Course
from paretune.experiment import DRIFTED, Experiment
from paretune.frontier import frontier

POSSIBLE = 0.05  # P(on frontier) above which a trial is measured in full
ROUNDS = 3  # a full measurement can bring a new member to light

Event = Callable[[str, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Settling:
    """Measures by the full protocol, and keeps what came of it.

    Attributes:
        course: the study's trials.
        experiment: how they are measured.
        worker: that does it.
        on_event: told "phase" and "warning" {"what"}.
    """

    course: Course
    experiment: Experiment
    worker: Worker
    on_event: Event

    def run(self, stopped: Callable[[], bool]) -> None:
        """Measures all that may be on the frontier, until that holds.

        Args:
            stopped: whether to leave it at that.
        """
        for _ in range(ROUNDS):
            study = self.course.study()
            likely = frontier(study).likely(POSSIBLE)
            if study.baseline and study.baseline not in likely:
                likely.append(study.baseline)
            unsure = [t for t in likely if _unsure(t)]
            unsure = [t for t in unsure if t.number not in self.course.lost]
            drifted = any(DRIFTED in _flags(t) for t in unsure)
            if drifted and study.baseline and study.baseline not in unsure:
                unsure.append(study.baseline)  # what it was is no measure any more
            if not unsure or stopped():
                return
            what = f"measuring {len(unsure)} artifacts in full"
            self.on_event("phase", {"what": what})
            # One may bring the others down with it: then each by itself.
            if not self._in_full(unsure):
                for trial in unsure:
                    if not self._in_full([trial]):
                        self.course.lost.add(trial.number)

    def noise(self, base: Trial) -> None:
        """Notes how much this host differs from itself: the baseline was timed so."""
        timed = base.measurements["latency_p50"]
        if "screening" in timed.flags:
            return
        self.course.note("noise", timed.floor)
        if timed.floor > NOISY:
            how = "unstable host" if timed.floor > UNSTABLE else "noisy host"
            self.on_event(
                "warning",
                {
                    "what": f"[host-unstable] {how}: the same model differs from "
                    f"itself by {100 * timed.floor:.1f} %. Differences of time "
                    "below that will not be called; close what else runs here."
                },
            )

    def _in_full(self, trials: Sequence[Trial]) -> bool:
        """Whether these could be measured by the full protocol."""
        try:
            full = self.experiment.in_full(self.worker, trials)
        except (WorkFailed, StoreError) as failed:
            self.on_event("warning", {"what": failed.message})
            return False
        for trial, figures in zip(trials, full, strict=True):
            amended = self.course.amend(trial, figures)
            if trial.number == 0:
                self.experiment.baseline = amended
                self.noise(amended)
        return True


def _unsure(trial: Trial) -> bool:
    """Whether it is to be measured in full, again if the host was another then."""
    return not _flags(trial).isdisjoint(("screening", DRIFTED))


def _flags(trial: Trial) -> set[str]:
    return {flag for m in trial.measurements.values() for flag in m.flags}
