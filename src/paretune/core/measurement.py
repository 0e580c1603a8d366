"""What a meter returns: raw values, never a bare number.

Statistics are computed from the values each time they are asked for, and never stored
in their place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from sys import intern
from typing import Any, Literal

import numpy as np

from paretune.core._bits import Bits
from paretune.core.errors import MeasurementError
from paretune.core.statistics import (
    RESAMPLES,
    bca,
    is_binary,
    log_t_interval,
    resampled_means,
    skewed,
    wilson,
)

__all__ = [
    "RESAMPLES",
    "Interval",
    "Kind",
    "Measurement",
    "log_t_interval",
    "resampled_means",
]

# What the peaks of one artifact differ by, however often it is measured: allocators
# and the kernel deal in pages, and in which order differs from launch to launch.
PEAK_SHARE, PEAK_BYTES = 0.01, 2**17

Kind = Literal["exact", "launches", "peak", "samples", "resamples"]


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
        detail: what the meter tells besides. "band": the share by which the values of
            all artifacts may be off alike, such as by a modelled constant; it widens
            the interval and cancels out of ratios.

    Example:
        >>> m = Measurement("size", "byte", "lower", (1024.0,), "exact")
        >>> m.value, m.interval.low
        (1024.0, 1024.0)
    """

    metric: str
    unit: str
    better: Literal["lower", "higher"]
    values: Sequence[float]
    kind: Kind
    ratios: tuple[float, ...] = ()
    split: str | None = None
    flags: tuple[str, ...] = ()
    environment: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.values:
            raise MeasurementError("measurement", f"{self.metric}: no value was taken.")
        if isinstance(self.values, Bits):
            return
        if not all(map(math.isfinite, self.values)):
            raise MeasurementError(
                "measurement-nonfinite", f"{self.metric} is not a finite number."
            )
        if self.kind == "samples":
            scores = np.asarray(self.values, dtype=float)
            if is_binary(scores):  # thousands a trial, and most of what it holds
                object.__setattr__(self, "values", Bits(scores))

    @property
    def value(self) -> float:
        return self.values[0] if self.kind == "exact" else self._value

    @cached_property
    def _value(self) -> float:
        match self.kind:
            case "exact" | "resamples":
                return self.values[0]
            case "peak":
                return max(self.values)
            case "launches":
                return float(np.median(self.values))
            case "samples":
                return float(self.scores.mean())

    @property
    def scores(self) -> np.ndarray:
        """The raw values as an array, shape (values,)."""
        if isinstance(self.values, Bits):
            return self.values.scores
        return self._scores

    @cached_property
    def _scores(self) -> np.ndarray:
        return np.asarray(self.values, dtype=float)

    @property
    def binary(self) -> bool:
        """Whether these are samples' scores that are all 0 or 1: a share of them."""
        return isinstance(self.values, Bits)

    @property
    def right(self) -> np.ndarray:
        """For scores of 0 and 1, which are 1: bits, eight a byte, uint8.

        Samples on which two models differ are counted from these hundreds of times
        in a frontier.
        """
        if isinstance(self.values, Bits):
            return self.values.packed
        return np.packbits(self.scores > 0)

    @cached_property
    def interval(self) -> Interval:
        """95 %: t over launches (of the log), Wilson's of a share, BCa of a mean."""
        match self.kind:
            case "exact":
                return Interval(self.value, self.value)
            case "peak":
                slack = max(PEAK_SHARE * self.value, PEAK_BYTES)
                least = max(0.0, min(self.values) - slack)
                return Interval(least, self.value + slack)
            case "launches":
                low, high = log_t_interval(tuple(self.values))
                band = float(self.detail.get("band", 0.0))
                return Interval(low * (1 - band), high * (1 + band))
            case "samples" if self.binary:
                low, high = wilson(float(self.scores.sum()), len(self.scores))
                return Interval(low, high)
            case "samples":
                skew = skewed(self.scores)
                low, high = bca(self.value, self.replicates, skew)
                return Interval(low, high)
            case "resamples":
                low, high = np.quantile(self.replicates, (0.025, 0.975)).tolist()
                return Interval(min(low, self.value), max(high, self.value))

    @cached_property
    def replicates(self) -> np.ndarray:
        """Bootstrap replicates of the figure, shape (RESAMPLES,).

        Two measurements on the same samples share their resamples, so that the
        difference of their replicates is a paired one.
        """
        if self.kind == "resamples":
            return self.scores[1:] if len(self.values) > 1 else self.scores
        if self.kind == "samples":
            return resampled_means(self.scores)
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

    @cached_property
    def floor(self) -> float:
        """Of an artifact against itself: what a difference of this must exceed.

        max(|log low|, |log high|) of the 95 % interval of the ratio: 0.01 says that a
        true 1 % may be nothing but noise. Infinite with fewer than two launches.
        """
        if self.ratio is None or len(self.ratios) < 2:
            return math.inf
        _, interval = self.ratio
        return max(abs(math.log(interval.low)), abs(math.log(interval.high)))

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
        words = {k: intern(v) for k, v in record.items() if isinstance(v, str)}
        return cls(  # the same few words in all: one object each is kept, not thousands
            **{
                **record,
                **words,
                "values": tuple(record["values"]),
                "ratios": tuple(record.get("ratios", ())),
                "flags": tuple(map(intern, record.get("flags", ()))),
            }
        )
