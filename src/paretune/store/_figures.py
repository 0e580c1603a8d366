"""The figures of trials that are ok, as numbers beside their bodies."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, and_, select, type_coerce
from sqlalchemy.types import NullType

from paretune.core.budget import Budget
from paretune.core.errors import BudgetError
from paretune.core.trial import Trial
from paretune.frontier import layout, record, right
from paretune.store._schema import figures, scores, studies

MANY = 500  # rows that are asked for by number in one query


def axes(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics whose figures are kept: the objectives, then the budget's.

    Args:
        spec: what a study was begun with; one without objectives has none.
    """
    wanted = [metric for metric, _ in spec.get("objectives", ())]
    if not wanted:
        return ()
    try:
        budget = Budget.parse(spec.get("require", ""), spec.get("metrics", ()))
    except BudgetError:  # such as a metric that another version knew
        return tuple(wanted)
    return tuple(dict.fromkeys([*wanted, *sorted(budget.metrics)]))


def axes_of(connection: Connection, study: int) -> tuple[str, ...]:
    query = select(studies.c.spec).where(studies.c.id == study)
    return axes(json.loads(connection.execute(query).scalar_one()))


def write(
    connection: Connection, study: int, trials: Iterable[Trial], metrics: Sequence[str]
) -> None:
    """Keeps the figures of trials that have none yet; of those that are ok.

    Args:
        connection: in the transaction that writes their bodies.
        study: its key.
        trials: that have ended.
        metrics: as `axes` gives them.
    """
    wanted = [t for t in trials if t.ok and metrics]
    rows = [
        {"study": study, "number": t.number, "record": record(t, metrics)}
        for t in wanted
    ]
    bits = [
        {"study": study, "metric": metric, "number": t.number, "samples": packed}
        for t in wanted
        for metric, packed in right(t, metrics).items()
    ]
    for table, found in ((figures, rows), (scores, bits)):
        if found:
            connection.execute(table.insert(), found)


def rewrite(
    connection: Connection, study: int, trial: Trial, metrics: Sequence[str]
) -> None:
    """Replaces the figures of a trial."""
    for table in (figures, scores):
        one = and_(table.c.study == study, table.c.number == trial.number)
        connection.execute(table.delete().where(one))
    write(connection, study, [trial], metrics)


def read(connection: Connection, study: int, metrics: Sequence[str]) -> np.ndarray:
    """All records of a study, as `frontier.layout` tells, by number."""
    # Of a million rows, what SQLAlchemy does to each would take as long as the rest.
    raw = type_coerce(figures.c.record, NullType())
    query = select(raw).where(figures.c.study == study)
    rows: Sequence[Any] = connection.execute(query).scalars().all()
    found = np.frombuffer(b"".join(rows), layout(len(metrics)))
    if (np.diff(found["number"]) > 0).all():
        return found
    return found[np.argsort(found["number"])]


def read_right(
    connection: Connection, study: int, metric: str, numbers: Sequence[int]
) -> dict[int, bytes]:
    """Which samples these trials have right, by number."""
    found: dict[int, bytes] = {}
    for start in range(0, len(numbers), MANY):
        query = select(scores.c.number, scores.c.samples).where(
            scores.c.study == study,
            scores.c.metric == metric,
            scores.c.number.in_(numbers[start : start + MANY]),
        )
        found.update((n, bits) for n, bits in connection.execute(query))
    return found
