"""What a meter returns: raw values, never a bare number.

Statistics are computed from the values each time they are asked for, and never stored
in their place.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np

from paretune.core.errors import MeasurementError

Kind = Literal["exact", "launches", "peak", "samples", "resamples"]
RESAMPLES = 2_000
MOST_DRAWS = 20_000_000  # that are kept in memory, 4 bytes each


@dataclass(frozen=True)
class Interval:
    """A 95 % interval of one figure, in the figure's own unit."""

    low: float
    high: float

    def overlaps(self, other: Interval) -> bool:
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Measurement:
    """One figure of one artifact on one target.

    Attributes:
        metric: its name, such as "latency_p50".
        unit: SI base unit: "s", "byte", "1/s", "1" for a share or a count.
        better: which direction is better.
        values: raw values; what they are depends on `kind`.
        kind: "exact": one value, without error (bytes on disk). "launches": one value
            a fresh process. "peak": likewise, and the largest counts. "samples": one
            score a data sample, and the mean counts. "resamples": first the figure on
            the whole set, then on bootstrap resamples that every candidate shares.
        ratios: for "launches": this artifact over the baseline, launch by launch,
            from the same interleaved rounds.
        split: the data split that it was taken on; None where there is none.
        flags: what the reader must know of it, such as "never settled", "screening".
        environment: where it was taken: a digest of the host, runtime and versions.

    Example:
        >>> m = Measurement("size", "byte", "lower", (1024.0,), "exact")
        >>> m.value, m.interval.low
        (1024.0, 1024.0)
    """

    metric: str
    unit: str
    better: Literal["lower", "higher"]
    values: tuple[float, ...]
    kind: Kind
    ratios: tuple[float, ...] = ()
    split: str | None = None
    flags: tuple[str, ...] = ()
    environment: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.values:
            raise MeasurementError("measurement", f"{self.metric}: no value was taken.")
        if not all(map(math.isfinite, self.values)):
            raise MeasurementError(
                "measurement-nonfinite", f"{self.metric} is not a finite number."
            )

    @cached_property
    def value(self) -> float:
        match self.kind:
            case "exact" | "resamples":
                return self.values[0]
            case "peak":
                return max(self.values)
            case "launches":
                return float(np.median(self.values))
            case "samples":
                return float(np.mean(self.values))

    @cached_property
    def interval(self) -> Interval:
        """95 %: t over launches (of the log), bootstrap over samples."""
        match self.kind:
            case "exact":
                return Interval(self.value, self.value)
            case "peak":
                return Interval(min(self.values), max(self.values))
            case "launches":
                low, high = log_t_interval(self.values)
                return Interval(low, high)
            case "samples":
                low, high = np.percentile(self.replicates, (2.5, 97.5))
                return Interval(float(low), float(high))
            case "resamples":
                low, high = np.percentile(self.values[1:] or self.values, (2.5, 97.5))
                return Interval(float(low), float(high))

    @cached_property
    def replicates(self) -> np.ndarray:
        """Bootstrap replicates of the figure, shape (RESAMPLES,).

        Two measurements on the same samples share their resamples, so that the
        difference of their replicates is a paired one.
        """
        if self.kind == "resamples":
            return np.asarray(self.values[1:] or self.values)
        if self.kind == "samples":
            return resampled_means(np.asarray(self.values))
        rng = np.random.default_rng(0)
        logs = np.log(np.maximum(self.values, 1e-30))
        spread = logs.std(ddof=1) / math.sqrt(len(logs)) if len(logs) > 1 else 0.0
        return np.asarray(self.value * np.exp(rng.normal(0.0, spread, RESAMPLES)))

    @cached_property
    def ratio(self) -> tuple[float, Interval] | None:
        """This over the baseline with its 95 % interval; None if not paired."""
        if not self.ratios:
            return None
        low, high = log_t_interval(self.ratios)
        middle = math.exp(float(np.mean(np.log(self.ratios))))
        return middle, Interval(low, high)

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "unit": self.unit,
            "better": self.better,
            "values": list(self.values),
            "kind": self.kind,
            "ratios": list(self.ratios),
            "split": self.split,
            "flags": list(self.flags),
            "environment": self.environment,
            "detail": dict(self.detail),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Measurement:
        return cls(
            **{
                **record,
                "values": tuple(record["values"]),
                "ratios": tuple(record.get("ratios", ())),
                "flags": tuple(record.get("flags", ())),
            }
        )


def resampled_means(values: np.ndarray, resamples: int = RESAMPLES) -> np.ndarray:
    """Means of bootstrap resamples, shape (resamples,).

    The resamples depend on the number of values alone. For scores that are all 0 or 1
    a resampled sum is binomial, but drawing it would break the pairing of two models,
    so the samples themselves are drawn.
    """
    count = len(values)
    if resamples * count <= MOST_DRAWS and np.isin(values, (0, 1)).all():
        sums = _times_drawn(count, resamples) @ values.astype(np.float32)
        return np.asarray(sums.astype(float) / count)
    means = np.empty(resamples)
    for start, rows in _drawn(count, resamples):
        means[start : start + len(rows)] = values[rows].mean(axis=1)
    return means


def _drawn(count: int, resamples: int) -> Iterator[tuple[int, np.ndarray]]:
    """(index of its first resample, which samples are in each) of a hundred a time."""
    rng = np.random.default_rng(count)
    for start in range(0, resamples, 100):
        some = min(100, resamples - start)
        yield start, rng.integers(0, count, (some, count), np.int32)


@lru_cache(maxsize=2)
def _times_drawn(count: int, resamples: int) -> np.ndarray:
    """How often each sample is in each resample, shape (resamples, count).

    Kept, since a study resamples hundreds of candidates; exact for scores of 0 and 1.
    """
    times = np.empty((resamples, count), np.float32)
    for start, rows in _drawn(count, resamples):
        flat = rows + count * np.arange(len(rows))[:, None]
        found = np.bincount(flat.ravel(), minlength=rows.size)
        times[start : start + len(rows)] = found.reshape(rows.shape)
    return times


def log_t_interval(values: tuple[float, ...]) -> tuple[float, float]:
    """95 % t-interval of the median of positive values, through their logarithms.

    With one value there is no spread to judge by: the interval is (0, infinity).
    """
    if len(values) < 2:
        return 0.0, math.inf
    from scipy.special import stdtrit

    logs = np.log(np.maximum(values, 1e-30))
    half = stdtrit(len(logs) - 1, 0.975) * logs.std(ddof=1) / math.sqrt(len(logs))
    middle = float(np.mean(logs))
    return math.exp(middle - half), math.exp(middle + half)
