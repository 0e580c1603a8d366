"""Forecasts of latency: what a study learns of its structures, and asks beforehand."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from paretune.core.budget import Budget
from paretune.core.errors import StoreError
from paretune.core.measurement import Measurement
from paretune.core.trial import Trial
from paretune.measurement._predicted import LEAST, Forecast, LatencyModel, Point
from paretune.report._words import digits, scale
from paretune.store.latencies import Latencies

METRIC = "latency_p50"


@dataclass
class Forecasts:
    """The latency model of one task on one target; safe from any thread.

    It learns ratios to the baseline, which the baseline's own time turns into seconds:
    each structure is timed beside the baseline, so a host that is slower for a while
    does no harm. Other tasks' structures are not learned from, for how far those are
    missed says nothing about this one's.

    Attributes:
        store: where measurements are kept.
        environment: digest of what they are taken on.
        task: its fingerprint.
    """

    store: Latencies
    environment: str
    task: str
    _records: dict[str, dict[str, Any]] = field(init=False, repr=False)
    _model: LatencyModel | None = field(default=None, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def __post_init__(self) -> None:
        kept = self.store.of(self.environment, self.task)
        self._records = {r["structure"]: r for r in kept}

    @property
    def ready(self) -> bool:
        """Whether there are points enough to say anything at all."""
        return len(self._records) >= LEAST

    def ask(
        self, layers: Sequence[Sequence[Any]], group: str, baseline_s: float = 1.0
    ) -> Forecast:
        """What a structure will be measured to take.

        Args:
            layers: of its torch part; see `engine.sketch`.
            group: of what the rest makes of them.
            baseline_s: what the baseline takes; 1 for the ratio to it.
        """
        with self._lock:
            if self._model is None:
                points = [
                    Point(tuple(map(tuple, r["layers"])), r["group"], r["ratio"])
                    for r in self._records.values()
                ]
                self._model = LatencyModel(points)
            found = self._model.predict(layers, group)
        ends = (found.value, found.low, found.high)
        return Forecast(*(end * baseline_s for end in ends))

    def decides(self, budget: Budget, baseline: Trial) -> bool:
        """Whether it can say of a structure that it misses the budget."""
        limited = bool(_limits(budget).constraints)
        return limited and self.ready and METRIC in baseline.measurements

    def missed(
        self,
        sketch: Mapping[str, Any],
        budget: Budget,
        baseline: Trial,
        slack: float,
    ) -> str:
        """Which limits a structure is certain to miss; empty if none.

        Args:
            sketch: {"layers", "group"}.
            budget: whose limits on the median latency count.
            baseline: trial 0.
            slack: share by which its interval must lie beyond a limit: a measurement
                would be trusted no more.
        """
        base_s = baseline.measurements[METRIC].value
        forecast = self.ask(sketch["layers"], sketch["group"], base_s)
        least = forecast.low * (1 - slack)
        missed = _limits(budget).broken({METRIC: least}, baseline.values)
        if not missed:
            return ""
        return (
            f"predicted to miss {', '.join(c.text for c in missed)}: "
            f"{_time(forecast.value)}, at least {_time(forecast.low)}"
        )

    def learn(
        self,
        structure: str,
        sketch: Mapping[str, Any],
        figures: Mapping[str, Measurement],
    ) -> None:
        """Keeps what a structure was measured to take, and what was expected.

        Args:
            structure: its digest.
            sketch: {"layers", "group"}.
            figures: by metric.
        """
        timed = figures.get(METRIC)
        if timed is None or timed.ratio is None:
            return
        layers, group = sketch["layers"], sketch["group"]
        expected = self.ask(layers, group)
        ends = [expected.value, expected.low, expected.high]
        macs = figures["macs"].value if "macs" in figures else None
        known = {"layers": layers, "group": group, "macs": macs}
        met = any(
            (r["layers"], r["group"]) == (layers, group) for r in self._records.values()
        )
        # To foretell what is known already is no feat.
        known["foreseen"] = ends if expected.known and not met else None
        self._keep(structure, known, timed)

    def replace(self, structure: str, figures: Mapping[str, Measurement]) -> None:
        """Puts a full measurement in the place of the screening of a structure.

        A file of other multiply-accumulates than the structure's tells nothing of it:
        training came before pruning, and changed what was pruned.
        """
        timed, known = figures.get(METRIC), self._records.get(structure)
        if timed is None or timed.ratio is None or known is None:
            return
        if "macs" in figures and figures["macs"].value != known["macs"]:
            return
        self._keep(structure, known, timed)

    def _keep(
        self, structure: str, known: Mapping[str, Any], timed: Measurement
    ) -> None:
        assert timed.ratio is not None
        ratio, around = timed.ratio
        spread = [v if math.isfinite(v) else None for v in (around.low, around.high)]
        record = {
            **known,
            "environment": self.environment,
            "task": self.task,
            "structure": structure,
            "seconds": timed.value,
            "ratio": ratio,
            "spread": spread,
            "full": "screening" not in timed.flags,
        }
        with suppress(StoreError):  # it is an aid: no search ends for want of it
            self.store.add(record)
        with self._lock:
            self._records[structure] = record
            self._model = None

    def facts(self) -> dict[str, float]:
        """How good it was: structures measured, how many were foretold, and how well.

        Returns:
            {"points", "foretold", "held": how many lay within their intervals,
            "error": the median relative error; 0 where none was foretold}.
        """
        with self._lock:
            kept = list(self._records.values())
        told = [r for r in kept if r.get("foreseen")]
        taken = [r["ratio"] for r in told]
        ends = [r["foreseen"] for r in told]
        errors = [abs(r / e[0] - 1) for r, e in zip(taken, ends, strict=True)]
        return {
            "points": len(kept),
            "foretold": len(told),
            "held": sum(e[1] <= r <= e[2] for r, e in zip(taken, ends, strict=True)),
            "error": median(errors) if errors else 0.0,
        }


def _limits(budget: Budget) -> Budget:
    named = (c for c in budget.constraints if c.metric == METRIC)
    return Budget(tuple(c for c in named if c.operator == "<="))


def _time(seconds: float) -> str:
    """Such as "812 µs"."""
    size, unit = scale(seconds, "s")
    return f"{digits(seconds / size)} {unit}"
