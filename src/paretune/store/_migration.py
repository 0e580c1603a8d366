"""Brings the tables of an older store up to date, in one transaction."""

from __future__ import annotations

import json

from sqlalchemy import Connection, select

from paretune.core.trial import OK, Trial
from paretune.store import _figures, _leases
from paretune.store._schema import (
    VERSION,
    by_state,
    figures,
    scores,
    studies,
    trials,
    version,
)

BATCH = 500  # bodies that are in memory at a time


def migrate(connection: Connection, found: int) -> None:
    """Makes the tables those of `VERSION`.

    Args:
        connection: in a transaction that nobody else writes beside.
        found: the version that they have.

    Raises:
        StoreError: a search of the older program is running ("store-busy").
    """
    _leases.none_held(connection)
    if found < 2:
        _second(connection)
    connection.execute(version.update().values(version=VERSION))


def _second(connection: Connection) -> None:
    """Figures of trials are kept as numbers too."""
    figures.create(connection)
    scores.create(connection)
    by_state.create(connection)
    for study in connection.execute(select(studies.c.id)).scalars().all():
        if metrics := _figures.axes_of(connection, study):
            _fill(connection, study, metrics)


def _fill(connection: Connection, study: int, metrics: tuple[str, ...]) -> None:
    last = -1
    while True:
        query = select(trials.c.number, trials.c.body).where(
            trials.c.study == study, trials.c.state == OK, trials.c.number > last
        )
        rows = connection.execute(query.order_by(trials.c.number).limit(BATCH)).all()
        if not rows:
            return
        found = [Trial.from_json(json.loads(row.body)) for row in rows]
        _figures.write(connection, study, found, metrics)
        last = rows[-1].number
