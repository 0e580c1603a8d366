"""One recipe tried on one target, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from sys import intern
from typing import Any

from paretune.core.measurement import Measurement

OK, INFEASIBLE, STOPPED, HALTED = "ok", "infeasible", "stopped", "halted"
FAILURES = ("error", "nan", "timeout", "oom", "crash", "unsupported", "parity")


@dataclass(frozen=True)
class Trial:
    """A finished trial. A failed one is data too, with its reason.

    Attributes:
        number: 0 is the baseline; counts up within a study.
        steps: the recipe, as `Recipe.to_json` gives it.
        state: "ok"; "infeasible" (its footprint breaks the budget: never trained; one
            without figures was predicted to, and never exported);
            "halted" (judged at a rung, a share of its training; it may be taken up
            again); "stopped"; or "failed:" and one of FAILURES, as in
            "failed:crash(SIGSEGV)".
        measurements: by metric name.
        parity: {"max_abs", "relative", "agreement"} against the source model.
        artifact: SHA-256 of the artifact in the store; None if there is none.
        format: the artifact's format.
        error: why it failed, one sentence.
        cost: seconds by what they went to: "train_s", "export_s", "measure_s", ...
        trace: figures after each step of the recipe, oldest first, for the report:
            [{"step": name, "parameters": n, "seconds": s, "cached": bool, ...}].
        rungs: how good it was at shares of its training, the lowest first:
            [{"share": s, "epochs": e, "quality": {metric: value}, "seconds": s,
            "cpu_s": s}]; the quality is that of the model before steps that follow the
            training, on the validation split; times are those since the rung before.
    """

    number: int
    steps: tuple[Mapping[str, Any], ...]
    state: str
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    parity: Mapping[str, float] = field(default_factory=dict)
    artifact: str | None = None
    format: str = ""
    error: str = ""
    cost: Mapping[str, float] = field(default_factory=dict)
    trace: tuple[Mapping[str, Any], ...] = ()
    rungs: tuple[Mapping[str, Any], ...] = ()

    @property
    def ok(self) -> bool:
        return self.state == OK

    @property
    def halted(self) -> bool:
        return self.state == HALTED

    @property
    def foreseen(self) -> bool:
        """Whether it was passed over by a prediction, before anything was measured."""
        return self.state == INFEASIBLE and not self.measurements

    @cached_property
    def values(self) -> Mapping[str, float]:
        """The figures by metric, without their intervals."""
        return {name: m.value for name, m in self.measurements.items()}

    def to_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "steps": [dict(s) for s in self.steps],
            "state": self.state,
            "measurements": {k: m.to_json() for k, m in self.measurements.items()},
            "parity": dict(self.parity),
            "artifact": self.artifact,
            "format": self.format,
            "error": self.error,
            "cost": dict(self.cost),
            "trace": [dict(t) for t in self.trace],
            **({"rungs": [dict(r) for r in self.rungs]} if self.rungs else {}),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Trial:
        measurements = {
            intern(k): Measurement.from_json(m)
            for k, m in record["measurements"].items()
        }
        return cls(
            **{
                **record,
                "steps": tuple(record["steps"]),
                "measurements": measurements,
                "trace": tuple(record.get("trace", ())),
                "rungs": tuple(record.get("rungs", ())),
            }
        )
