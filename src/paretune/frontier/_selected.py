"""The members of a frontier from records of all trials and the bodies of a few.

Three facts keep it quick and exact. Whoever is certainly beaten by a trial that is no
worse in plain figures on any axis is no member, not even by way of a circle. Who else
may beat those that are left is found among all trials by bounds that hold for certain.
And a circle is free only if nobody unbeaten leads into it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier._compare import verdict
from paretune.frontier._field import Field
from paretune.frontier._frontier import Frontier
from paretune.frontier._members import assembled, kept

SCANS = 200  # of all trials, for those who lead to a trial, before all is read instead

Bodies = Callable[[Sequence[int]], Sequence[Trial]]
Right = Callable[[str, Sequence[int]], Sequence[bytes]]


def selected(
    study: Study,
    metrics: Sequence[str],
    records: np.ndarray,
    right: Right,
    bodies: Bodies,
) -> list[int] | None:
    """The numbers of the frontier's members, as `frontier` of the whole study has them.

    Args:
        study: with its baseline alone.
        metrics: of the records.
        records: of all trials that are ok, as `layout` tells.
        right: gives which samples trials have right, by metric and numbers.
        bodies: gives trials by number.

    Returns:
        None where the records can't tell: an axis besides one quality in scores of 0
        and 1, one figure without error and at most one more or a time beside the
        baseline's, or a trial that lacks one of them.
    """
    field = Field.of(study, metrics, records, right)
    if field is None:
        return None
    left = field.left()
    beaters, beaten = field.beaten(left)
    free = np.setdiff1d(left, beaten)
    below = beaten[np.isin(beaters, free)]
    found = set(free.tolist())
    for row in np.setdiff1d(left, np.concatenate((free, below))).tolist():
        led = _leading(field, row, free)
        if led is None:
            return None
        if led and row in _circle(study, field, led, bodies):
            found.add(row)
    return sorted(int(field.numbers[i]) for i in found)


def of_members(study: Study, numbers: Collection[int]) -> Frontier:
    """The frontier of a study whose members are known by their numbers."""
    trials = [t for t in study.trials if t.ok]
    return assembled(study, trials, np.array([t.number in numbers for t in trials]))


def _leading(field: Field, row: int, unbeaten: np.ndarray) -> list[int] | None:
    """All that lead to a trial by beating, itself too; none if one is unbeaten.

    None at all if there are too many of them.
    """
    known, todo = {row}, [row]
    for _ in range(SCANS):
        if not todo:
            return sorted(known)
        row = todo.pop()
        if field.beat(unbeaten, np.full(len(unbeaten), row)).any():
            return []
        beaters = field.beaten(np.array([row]))[0].tolist()
        if not beaters:
            return []
        todo += [i for i in beaters if i not in known]
        known.update(beaters)
    return None


def _circle(study: Study, field: Field, rows: list[int], bodies: Bodies) -> set[int]:
    """Which of the trials that lead to each other are members."""
    trials = bodies([int(n) for n in field.numbers[rows]])
    beats = np.array([[verdict(y, x, study) > 0 for x in trials] for y in trials])
    return {i for i, keep in zip(rows, kept(study, trials, beats), strict=True) if keep}
