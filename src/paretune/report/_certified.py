"""Quality on the test split: of all certified models at once, and beside validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from paretune.core.measurement import Interval, Measurement
from paretune.core.statistics import Difference, unpaired_difference
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import differences, intervals, paired


@dataclass(frozen=True)
class Together:
    """What holds, at 95 %, for all certified models at once.

    Attributes:
        intervals: by trial number, of its figure.
        differences: by trial number, of its figure less the baseline's.
    """

    intervals: Mapping[int, Interval] = field(default_factory=dict)
    differences: Mapping[int, Difference] = field(default_factory=dict)


def together(study: Study, metric: str) -> Together:
    """The test split's figures of one metric, as one family.

    The family is every model that is certified, whichever reading it was certified in:
    at least those of one reading.
    """
    numbers = sorted(n for n, c in study.certified.items() if metric in c)
    taken = tuple(study.certified[n][metric] for n in numbers)
    return _together(_Same(tuple(numbers), taken))


def interval(study: Study, m: Measurement) -> Interval:
    """The 95 % interval that is shown: of a certified figure, the simultaneous one."""
    for number, figures in study.certified.items():
        if figures.get(m.metric) is m:
            return together(study, m.metric).intervals.get(number, m.interval)
    return m.interval


@dataclass(frozen=True)
class Gap:
    """By how much quality looked better on validation than it is on the test split.

    Attributes:
        value: validation less test; test less validation if lower is better.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


def optimism(study: Study, trial: Trial, metric: str) -> Gap | None:
    """The optimism gap of one trial; None if it is not certified.

    The search chose by validation, so what it chose was lucky there on average; the
    baseline's gap, which was not chosen, is what the two splits differ by anyway.
    """
    validation = trial.measurements.get(metric)
    test = study.certified.get(trial.number, {}).get(metric)
    if validation is None or test is None:
        return None
    better, other = (
        (validation, test) if validation.better == "higher" else (test, validation)
    )
    ends = [(m.interval.low, m.interval.high) for m in (better, other)]
    low, high = unpaired_difference(better.value, ends[0], other.value, ends[1])
    return Gap(better.value - other.value, low, high)


@dataclass(frozen=True, eq=False)
class _Same:
    """Measurements as a key: equal if they are the same objects."""

    numbers: tuple[int, ...]
    taken: tuple[Measurement, ...]

    def __hash__(self) -> int:
        return hash((self.numbers, *map(id, self.taken)))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Same)
            and self.numbers == other.numbers
            and all(a is b for a, b in zip(self.taken, other.taken, strict=True))
        )


@lru_cache(maxsize=8)
def _together(key: _Same) -> Together:
    """A page asks for the same family hundreds of times."""
    every = dict(zip(key.numbers, key.taken, strict=True))
    if not every:
        return Together()
    base = every.get(0, key.taken[0])
    family = {n: m for n, m in every.items() if paired(m, base)}
    rest = {n: m for n, m in family.items() if n} if 0 in family else {}
    return Together(
        dict(zip(family, intervals(list(family.values())), strict=True)),
        dict(zip(rest, differences(list(rest.values()), base), strict=True)),
    )
