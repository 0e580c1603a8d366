"""All that is known of one search: what reports and frontiers are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paretune.core.budget import Budget
from paretune.core.measurement import Measurement
from paretune.core.strategy import History, Objective
from paretune.core.target import Target
from paretune.core.trial import Trial

NOISY, UNSTABLE = 0.02, 0.05  # what a model may differ from itself by


@dataclass(frozen=True, repr=False)
class Study:
    """A snapshot of a study in its store.

    Attributes:
        name: of the study.
        task: of the task.
        metrics: the task's quality metrics with their better direction, best first.
        target: where the artifacts were measured.
        strategy: who proposed the recipes.
        objectives: the axes of the frontier.
        budget: what the device allows.
        trials: finished ones, by number; trial 0 is the baseline.
        certified: by trial number, quality on the test split; empty before it is read.
        certifications: how often the test split has been read.
        cost: seconds by what they went to: "wall_s", "train_s", "measure_s", ...
        noise: the share by which the baseline differs from itself on this host; a
            latency difference below it is never called.
        environment: what the measurements were taken on.
        artifacts: the folder of the store's artifacts.
        explanations: by trial number, why it is as it is; see `paretune why`.
        attributions: by trial number, what each step of its recipe contributes; see
            `paretune attribute`.
        warm_start: {"studies": names, "recipes": [steps, ...]}, what it began with from
            earlier studies; empty where it began with nothing.
        forecasts: how good the latency model was: structures measured on this host and
            of this task ("points"), how many of them it foretold, how many of these
            "held" (lay in the interval), and the median relative "error".
    """

    name: str
    task: str
    metrics: Mapping[str, str]
    target: Target
    strategy: str
    objectives: tuple[Objective, ...]
    budget: Budget = field(default_factory=Budget)
    trials: tuple[Trial, ...] = ()
    certified: Mapping[int, Mapping[str, Measurement]] = field(default_factory=dict)
    certifications: int = 0
    cost: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.0
    environment: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Path = Path()
    explanations: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    attributions: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    warm_start: Mapping[str, Any] = field(default_factory=dict)
    forecasts: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        ok = sum(t.ok for t in self.trials)
        return f"<Study {self.name!r} of {self.task!r}: {ok} trials measured>"

    @property
    def baseline(self) -> Trial | None:
        """Trial 0: the model as it came, exported; None before it is done."""
        return next((t for t in self.trials if t.number == 0 and t.ok), None)

    def floor(self, metric: str) -> float:
        """The share that a difference of this metric must exceed to be called.

        From the baseline's A/A, which its full measurement is; `noise` before that.
        """
        base = self.baseline
        m = base.measurements.get(metric) if base else None
        known = m is not None and len(m.ratios) > 1 and "screening" not in m.flags
        return m.floor if m is not None and known else self.noise

    @property
    def unstable(self) -> bool:
        """Whether this host differs from itself too much to compare times on it."""
        return self.noise > UNSTABLE

    @property
    def history(self) -> History:
        return History(self.objectives, self.trials, (), self.budget)

    def path(self, trial: Trial) -> Path | None:
        """Where the trial's artifact is; None if it has none."""
        if trial.artifact is None:
            return None
        return self.artifacts / trial.artifact / f"model.{trial.format}"

    def meets(self, trial: Trial) -> bool:
        """Whether the trial's figures meet the budget."""
        base = self.baseline
        return bool(base and trial.ok and self.budget.meets(trial.values, base.values))
