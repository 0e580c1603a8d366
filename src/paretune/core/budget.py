"""What the device allows, as a person says it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from paretune.core.errors import BudgetError, nearest

Operator = Literal["<=", ">="]

# Metrics that every artifact has: unit in code, better direction, what it is.
FOOTPRINT: dict[str, tuple[str, Literal["lower", "higher"], str]] = {
    "size": ("byte", "lower", "bytes on disk"),
    "transfer_size": ("byte", "lower", "bytes to transfer, compressed"),
    "parameters": ("1", "lower", "stored weights"),
    "macs": ("1", "lower", "multiply-accumulates of one sample"),
    "latency_p50": ("s", "lower", "median time of one call"),
    "latency_p90": ("s", "lower", "90th percentile of the time of one call"),
    "latency_p99": ("s", "lower", "99th percentile of the time of one call"),
    "throughput": ("1/s", "higher", "samples a second, offline"),
    "peak_memory": ("byte", "lower", "resident bytes above an empty session"),
    "cold_start": ("s", "lower", "load and first call"),
    "energy": ("J", "lower", "joules of one call"),
}

# What not even an empty model stays below.
FLOORS = {
    "size": 100.0,
    "transfer_size": 100.0,
    "parameters": 1.0,
    "macs": 1.0,
    "latency_p50": 1e-7,
    "latency_p90": 1e-7,
    "latency_p99": 1e-7,
    "peak_memory": 1.0,
    "cold_start": 1e-6,
    "energy": 1e-9,
}

UNITS: dict[str, dict[str, float]] = {
    "s": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6},
    "byte": {
        "B": 1.0,
        "kB": 1e3,
        "KB": 1e3,
        "MB": 1e6,
        "GB": 1e9,
        "KiB": 2.0**10,
        "MiB": 2.0**20,
        "GiB": 2.0**30,
    },
    "1": {"": 1.0, "%": 0.01, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9},
    "1/s": {"/s": 1.0, "": 1.0},
    "J": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "kJ": 1e3},
}

_CONSTRAINT = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|<|>|==|=)\s*([^=<>\s].*?)\s*$")
_NUMBER = r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)"
_ABSOLUTE = re.compile(rf"{_NUMBER}\s*(\S*)$")
_BASELINE = re.compile(rf"baseline\s*(?:([-+*/])\s*{_NUMBER}\s*(\S*))?$", re.IGNORECASE)


@dataclass(frozen=True)
class Constraint:
    """`metric` at most or at least a limit, which may depend on the baseline.

    Attributes:
        metric: the metric's name.
        operator: "<=" or ">=".
        amount: in the metric's unit, or the factor of "*" and "/".
        relation: how `amount` meets the baseline: "" (it doesn't), "+", "-", "*", "/".
        text: as the user wrote it.
    """

    metric: str
    operator: Operator
    amount: float
    relation: str = ""
    text: str = ""

    def limit(self, baseline: Mapping[str, float]) -> float:
        """The limit in the metric's unit, given the baseline's figures."""
        if not self.relation:
            return self.amount
        base = baseline[self.metric]
        match self.relation:
            case "+":
                return base + self.amount
            case "-":
                return base - self.amount
            case "*":
                return base * self.amount
            case _:
                return base / self.amount

    def met(self, value: float, baseline: Mapping[str, float]) -> bool:
        limit = self.limit(baseline)
        slack = 1e-9 * max(abs(limit), abs(value))
        if self.operator == "<=":
            return value <= limit + slack
        return value >= limit - slack


@dataclass(frozen=True)
class Budget:
    """All constraints together.

    Example:
        >>> budget = Budget.parse("size<=baseline/4, accuracy>=baseline-1pt",
        ...                       {"accuracy": "higher"})
        >>> base = {"size": 800.0, "accuracy": 0.92}
        >>> budget.meets({"size": 150.0, "accuracy": 0.915}, base)
        True
        >>> [c.text for c in budget.broken({"size": 300.0, "accuracy": 0.915}, base)]
        ['size<=baseline/4']
    """

    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def parse(cls, text: str, metrics: Iterable[str]) -> Budget:
        """From `--require`: comma-separated `METRIC OP VALUE`.

        Args:
            text: such as "latency_p50<=5ms, size<=200kB, accuracy>=baseline-1pt".
            metrics: the task's own quality metrics, in the unit "1"; "pt" is 0.01.

        Raises:
            BudgetError: a metric, operator, unit or word that is not known.
        """
        quality = frozenset(metrics)
        parts = [p for p in text.split(",") if p.strip()]
        return cls(tuple(_constraint(p, quality) for p in parts))

    def broken(
        self, values: Mapping[str, float], baseline: Mapping[str, float]
    ) -> tuple[Constraint, ...]:
        """The constraints that these figures break; absent figures break none."""
        return tuple(
            c
            for c in self.constraints
            if c.metric in values
            and (not c.relation or c.metric in baseline)
            and not c.met(values[c.metric], baseline)
        )

    def meets(self, values: Mapping[str, float], baseline: Mapping[str, float]) -> bool:
        """Whether every constraint is met, none of them for want of a figure."""
        known = all(
            c.metric in values and (not c.relation or c.metric in baseline)
            for c in self.constraints
        )
        return known and not self.broken(values, baseline)

    def check(self, baseline: Mapping[str, float]) -> None:
        """Refuses a limit that not even an empty model could keep.

        Args:
            baseline: figures of the baseline, by metric.

        Raises:
            BudgetError: names the constraint.
        """
        for c in self.constraints:
            limit = c.limit(baseline) if c.metric in baseline else 1.0
            worst = c.operator == "<=" and limit < FLOORS.get(c.metric, -math.inf)
            unit = c.metric not in FOOTPRINT and c.operator == ">=" and limit > 1
            if worst or (unit and 0 <= baseline[c.metric] <= 1):
                hint = f" (did you mean {c.text}%?)" if unit and not c.relation else ""
                raise BudgetError(
                    "constraints",
                    f"{c.text!r} asks for {c.metric} {c.operator} {limit:.4g}, which "
                    f"not even an empty or perfect model could reach{hint}; loosen it.",
                )
            points = c.metric not in FOOTPRINT and c.relation in ("+", "-")
            if points and c.amount >= 1 and 0 <= baseline.get(c.metric, -1) <= 1:
                raise BudgetError(
                    "constraints",
                    f"{c.text!r} is 100 points or more off a {c.metric} of "
                    f"{baseline[c.metric]:.3g}; one point is written 1pt.",
                )

    @property
    def metrics(self) -> frozenset[str]:
        return frozenset(c.metric for c in self.constraints)

    def __str__(self) -> str:
        return ", ".join(c.text for c in self.constraints)


def _constraint(part: str, quality: frozenset[str]) -> Constraint:
    found = _CONSTRAINT.match(part)
    if not found:
        raise BudgetError(
            "require",
            f"{part.strip()!r} is not METRIC<=VALUE or METRIC>=VALUE, "
            "such as 'latency_p50<=5ms' or 'accuracy>=baseline-1pt'.",
        )
    metric, operator, value = found.groups()
    known = quality | FOOTPRINT.keys()
    if metric not in known:
        raise BudgetError(
            "require-metric",
            f"no metric is called {metric!r}; {nearest(metric, known)}",
        )
    if operator not in ("<=", ">="):
        raise BudgetError(
            "require", f"{part.strip()!r}: write '<=' or '>=' in place of {operator!r}."
        )
    unit = FOOTPRINT[metric][0] if metric in FOOTPRINT else "1"
    amount, relation = _amount(value, metric, unit, metric in quality)
    text = part.strip().replace(" ", "")
    return Constraint(
        metric, "<=" if operator == "<=" else ">=", amount, relation, text
    )


def _amount(value: str, metric: str, unit: str, is_quality: bool) -> tuple[float, str]:
    """(amount in the metric's unit, relation to the baseline)."""
    if found := _BASELINE.match(value):
        relation, number, suffix = found.groups()
        if relation is None:
            return 0.0, "+"
        if relation in "*/":
            if suffix:
                raise BudgetError(
                    "require-unit", f"{value!r}: a factor takes no unit {suffix!r}."
                )
            if float(number) == 0:
                raise BudgetError("require", f"{value!r}: the factor can't be 0.")
            return float(number), relation
        if suffix == "%" and not is_quality:  # "+10%" of the baseline itself
            share = float(number) / 100
            return (1 + share if relation == "+" else 1 - share), "*"
        return float(number) * _scale(suffix, metric, unit, is_quality), relation
    if found := _ABSOLUTE.match(value):
        number, suffix = found.groups()
        return float(number) * _scale(suffix, metric, unit, is_quality), ""
    word = re.split(r"[\s\-+*/]", value)[0]
    raise BudgetError(
        "require-value",
        f"{value!r} is no value of {metric}: give a number with a unit, or "
        f"'baseline' with -, +, * or /; {nearest(word, ['baseline'])}",
    )


def _scale(suffix: str, metric: str, unit: str, is_quality: bool) -> float:
    units = dict(UNITS[unit])
    if is_quality:
        units = {"": 1.0, "%": 0.01, "pt": 0.01, "pp": 0.01}
    if suffix in units:
        return units[suffix]
    if not suffix:
        named = ", ".join(u for u in units)
        raise BudgetError("require-unit", f"{metric} needs a unit: {named}.")
    raise BudgetError(
        "require-unit",
        f"{metric} has no unit {suffix!r}; {nearest(suffix, [u for u in units if u])}",
    )
