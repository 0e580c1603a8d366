"""One trial from recipe to figures: footprint first, then training, then judgement."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from sys import intern
from typing import Any

import numpy as np

from paretune import catalog
from paretune.core.budget import FOOTPRINT, Budget, Constraint
from paretune.core.measurement import Measurement
from paretune.core.recipe import Recipe
from paretune.core.technique import Over
from paretune.core.trial import HALTED, INFEASIBLE, OK, Trial
from paretune.core.worker import Worker
from paretune.engine.forecasts import Forecasts
from paretune.ledger import Ledger

SCREENED = 0.10  # a screened latency is not trusted closer than this to a limit
STEADY = 0.01  # what a host's clock may differ by without a word
DRIFTED = "host drifted"
TRAINED = "transfer_size"  # how weights compress, training decides
ALWAYS = ("latency_p50",)
METER_OF = {
    "latency_p50": "latency",
    "latency_p90": "latency",
    "latency_p99": "latency",
    "throughput": "latency",
}

Figures = dict[str, Measurement]


@dataclass
class Experiment:
    """Runs trials through workers; safe to be shared by the slots of a search.

    Attributes:
        fingerprint: of the task.
        budget: what the device allows.
        wanted: footprint metrics that the objectives name.
        timeout_s: of one operation of a worker.
        quick: measure nothing by the full protocol.
        environment: digest of what measurements are taken on here.
        settings: further arguments of a meter, by its name.
        baseline: trial 0, once there is one.
        forecasts: learn from what is measured, if there are any.
        predict: whether a structure is passed over, before it is exported, that is
            predicted to miss the budget with the whole of the prediction's interval.
    """

    fingerprint: str
    budget: Budget
    wanted: tuple[str, ...]
    ledger: Ledger
    timeout_s: float = 3600.0
    quick: bool = False
    environment: str = ""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    baseline: Trial | None = None
    forecasts: Forecasts | None = None
    predict: bool = True
    _known: dict[str, Figures] = field(default_factory=dict, repr=False)
    _locks: dict[str, threading.Lock] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def remember(self, trial: Trial, recipe: Recipe) -> None:
        """Takes the footprint of a finished trial over for recipes of its structure.

        Only of one that was measured on this very host and runtime; and as screened,
        since it is the figure of another file.
        """
        kept = FOOTPRINT.keys() - {TRAINED}
        taken = {k: m for k, m in trial.measurements.items() if k in kept}
        here = {m.environment for m in taken.values()} == {self.environment}
        if here and all(m in taken for m in self._metrics() - {TRAINED}):
            screened = {
                k: m
                if m.kind == "exact"
                else replace(m, flags=tuple({*m.flags, "screening"}))
                for k, m in taken.items()
            }
            self._known.setdefault(recipe.structure().digest, screened)

    def trial(
        self,
        worker: Worker,
        number: int,
        recipe: Recipe,
        rungs: Sequence[float] = (1.0,),
        halted: Trial | None = None,
        over: Over = "length",
    ) -> Trial:
        """The finished trial, or the trial halted at its next rung.

        Args:
            worker: that does it.
            number: of the trial.
            recipe: every parameter has a value.
            rungs: shares of its training at which it is judged; 1.0 is the last.
            halted: the trial as it was halted, if it was.
            over: what rungs are shares of.

        Raises:
            WorkFailed: an operation failed, or its worker was lost.
        """
        steps = tuple(recipe.to_json())
        why = "" if halted else self._foreseen(worker, recipe.structure())
        if why:
            return Trial(number, steps, INFEASIBLE, error=why)
        footprint = self._footprint(worker, recipe)
        if broken := self._broken(footprint):
            why = "misses " + ", ".join(c.text for c in broken)
            return Trial(number, steps, INFEASIBLE, footprint, error=why)
        before = halted.rungs if halted else ()
        reached = before[-1]["share"] if before else 0.0
        pace = {
            "share": next((r for r in rungs if r > reached), 1.0),
            "paused": [r for r in rungs if r <= reached],
            "over": over,
        }
        told = self._realise(worker, recipe, judge=True, pace=pace)
        cost = {intern(k): s for k, s in told["cost"].items() if k != "cpu_s"}
        for name, seconds in (halted.cost if halted else {}).items():
            cost[name] = cost.get(name, 0.0) + seconds
        if "rung" in told:
            return Trial(
                number,
                steps,
                HALTED,
                footprint,
                cost=cost,
                trace=tuple(told["trace"]),
                rungs=(*before, told["rung"]),
            )
        own = _figures(told["measurements"])
        if any(own[m].value != footprint[m].value for m in ("macs", "parameters")):
            # training came before pruning and changed what was pruned
            footprint = self._timed(worker, told["artifact"], own)
        return Trial(
            number,
            steps,
            OK,
            footprint | own,
            {intern(k): v for k, v in told["parity"].items()},
            told["artifact"],
            intern(told["format"]),
            cost=cost,
            trace=tuple(told["trace"]),
            rungs=before,
        )

    def in_full(self, worker: Worker, trials: Sequence[Trial]) -> list[Figures]:
        """Latency of each trial's artifact by the full protocol."""
        artifacts = [str(t.artifact) for t in trials]
        found = self._measure(worker, artifacts, self._meters(), "full")
        for trial, figures in zip(trials, found, strict=True):
            if self.forecasts is not None:
                structure = catalog.recipe(trial.steps).structure()
                self.forecasts.replace(
                    structure.digest, {**trial.measurements, **figures}
                )
        return found

    def again(self, worker: Worker, trial: Trial, recipe: Recipe) -> bool:
        """Makes a trial's artifact anew; whether it is the same to the byte."""
        told = self._realise(worker, recipe, judge=False)
        return bool(told["artifact"] == trial.artifact)

    def do(
        self, worker: Worker, operation: str, arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        """An operation, with its cost in the ledger."""
        with self.ledger.busy() as book:
            told = worker.do(operation, arguments, self.timeout_s)
            book(told.get("cost", {}))
        return told

    def _footprint(self, worker: Worker, recipe: Recipe) -> Figures:
        """Figures of the untrained structure; each structure is measured once."""
        structure = recipe.structure()
        with self._lock:
            alone = self._locks.setdefault(structure.digest, threading.Lock())
        with alone:
            if structure.digest not in self._known:
                self._known[structure.digest] = self._measured(worker, structure)
            return self._known[structure.digest]

    def _foreseen(self, worker: Worker, structure: Recipe) -> str:
        """Why it isn't worth an export; empty if it may be, or nothing is known."""
        known, base = self.forecasts, self.baseline
        if not self.predict or known is None or base is None:
            return ""
        if structure.digest in self._known or not known.decides(self.budget, base):
            return ""
        arguments = {"steps": structure.to_json(), "fingerprint": self.fingerprint}
        told = self.do(worker, "sketch", arguments)
        return known.missed(told, self.budget, base, SCREENED)

    def _measured(self, worker: Worker, structure: Recipe) -> Figures:
        told = self._realise(worker, structure, judge=False)
        static = _figures(told["measurements"])
        static.pop(TRAINED, None)
        if self._broken(static):
            return static  # too big already: not worth a stopwatch
        figures = self._timed(worker, told["artifact"], static)
        if self.forecasts is not None and "layers" in told:
            self.forecasts.learn(structure.digest, told, figures)
        return figures

    def _timed(self, worker: Worker, artifact: str, figures: Figures) -> Figures:
        """`figures` with those that want fresh processes."""
        full = self.baseline is None and not self.quick  # all else is judged by it
        for meters in (self._meters(), ["peak_memory"]):  # the latter needs no silence
            protocol = "full" if full else "screening"
            (taken,) = self._measure(worker, [artifact], meters, protocol)
            figures = figures | taken
        return figures

    def _realise(
        self,
        worker: Worker,
        recipe: Recipe,
        judge: bool,
        pace: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        arguments = {
            "steps": recipe.to_json(),
            "fingerprint": self.fingerprint,
            "judge": judge,
            **(pace or {}),
        }
        return self.do(worker, "realise", arguments)

    def _measure(
        self,
        worker: Worker,
        artifacts: Sequence[str],
        meters: Sequence[str],
        protocol: str,
    ) -> list[Figures]:
        arguments = {
            "artifacts": list(artifacts),
            "baseline": self._base() or artifacts[0],
            "meters": list(meters),
            "protocol": protocol,
            "settings": self._settings(),
        }
        told = self.do(worker, "measure", arguments)
        if protocol == "full" and "latency" in meters:
            self.ledger.arm_s = told["cost"]["measure_s"] / (len(artifacts) + 1)
        return [self._marked(_figures(m)) for m in told["measurements"]]

    def _marked(self, taken: Figures) -> Figures:
        """`taken`, with a flag on the times if the host is no longer what it was.

        Each batch is timed beside the baseline, so its ratios hold all the same; its
        absolute times are those of another clock.
        """
        first = self.baseline and self.baseline.measurements.get("latency_p50")
        timed = taken.get("latency_p50")
        if not first or timed is None or "screening" in {*first.flags, *timed.flags}:
            return taken
        now = float(np.median(timed.detail["baseline_s"]))
        if abs(math.log(now / first.value)) <= 2 * max(first.floor, STEADY):
            return taken
        return {
            k: replace(m, flags=(*m.flags, DRIFTED)) if m.kind == "launches" else m
            for k, m in taken.items()
        }

    def _settings(self) -> dict[str, dict[str, Any]]:
        """What meters are told, by name."""
        told = {name: dict(given) for name, given in self.settings.items()}
        timed = self.baseline and self.baseline.measurements.get("latency_p50")
        if timed and math.isfinite(timed.floor):
            told["latency"] = {**told.get("latency", {}), "noise": timed.floor}
        return told

    def _base(self) -> str | None:
        return self.baseline.artifact if self.baseline else None

    def _metrics(self) -> frozenset[str]:
        """Footprint metrics that somebody asks for."""
        return (self.budget.metrics | {*self.wanted, *ALWAYS}) & FOOTPRINT.keys()

    def _meters(self) -> list[str]:
        """Those that want a stopwatch, and silence."""
        others = {"size", "transfer_size", "parameters", "macs", "peak_memory"}
        return sorted({METER_OF.get(m, m) for m in self._metrics() - others})

    def _broken(self, footprint: Figures) -> tuple[Constraint, ...]:
        """What the footprint breaks for certain: training can't mend it."""
        if self.baseline is None:
            return ()
        hopeful = {k: _hopeful(m) for k, m in footprint.items()}
        return self.budget.broken(hopeful, self.baseline.values)


def _hopeful(figure: Measurement) -> float:
    """The figure at the better end of what its error allows."""
    if figure.kind == "exact":
        return figure.value
    sign = -1.0 if figure.better == "lower" else 1.0
    return figure.value * (1 + sign * SCREENED)


def _figures(told: Mapping[str, Any]) -> Figures:
    return {intern(k): Measurement.from_json(m) for k, m in told.items()}
