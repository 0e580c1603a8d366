"""Who may write to a study: one live search at a time."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, select

from paretune.core.errors import StoreError
from paretune.store._processes import Process, boot
from paretune.store._schema import clock, leases, studies

Record = Any  # a row: its columns are its attributes


@dataclass(frozen=True)
class Lease:
    """The right to write to a study, until somebody else has taken it over.

    Attributes:
        study: its name.
        owner: who holds it, in a word of the holder's choice.
        token: how many holders the study has had: writes with an older one are
            refused.
        seconds: how long it lasts without being renewed.
    """

    study: str
    owner: str
    token: int
    seconds: float


def create(connection: Connection, study: int) -> None:
    """The row of a study that nobody has held yet."""
    unheld = {"token": 0, "owner": None, "process": "{}"}
    times = {"beat": 0.0, "deadline": 0.0, "ends": 0.0}
    connection.execute(leases.insert().values(study=study, **unheld, **times))


def acquire(
    connection: Connection,
    study: int,
    name: str,
    owner: str,
    process: Process,
    seconds: float,
) -> Lease:
    row = find(connection, study)
    if row.owner is not None and not lapsed(connection, row):
        holder = _process(row)
        if (row.owner, holder) != (owner, process):
            raise StoreError(
                "store-busy",
                f"study {name!r} is run by {_holder(connection, row)}; wait until it "
                "has ended, stop it, or name another --study.",
            )
    lease = Lease(name, owner, row.token + 1, seconds)
    values = {
        "token": lease.token,
        "owner": owner,
        "process": json.dumps(asdict(process)),
    }
    _write(connection, study, values | _beat(connection, seconds))
    return lease


def renew(connection: Connection, study: int, lease: Lease) -> None:
    held(connection, study, lease)
    _write(connection, study, _beat(connection, lease.seconds))


def release(connection: Connection, study: int, lease: Lease) -> None:
    if find(connection, study).token == lease.token:
        _write(connection, study, {"owner": None})


def held(connection: Connection, study: int, lease: Lease) -> None:
    """Passes if nobody has taken the study over since.

    A lease that has run out still counts until then: nobody else has written.
    """
    row = find(connection, study)
    if row.token != lease.token:
        raise StoreError(
            "store-stale",
            f"study {lease.study!r} has been taken over by {_holder(connection, row)}; "
            "this search writes to it no more.",
        )
    if row.owner is None:
        raise StoreError(
            "store-stale",
            f"study {lease.study!r} was released by {lease.owner!r}; acquire it again.",
        )


def lapsed(connection: Connection, row: Record) -> bool:
    """Whether a lease's holder is dead, or has not renewed it in time."""
    holder = _process(row)
    if holder.gone:
        return True
    if holder.boot and holder.boot == boot():
        # The wall clock of a machine can be set; this one can't.
        return time.monotonic() > float(row.ends)
    return now(connection) > float(row.deadline)


def find(connection: Connection, study: int) -> Record:
    """The study's row, kept from other writers until the transaction ends."""
    query = select(leases).where(leases.c.study == study).with_for_update()
    return connection.execute(query).one()


def now(connection: Connection) -> float:
    """Seconds since 1970 by the database's clock."""
    return float(connection.execute(select(clock())).scalar_one())


def gone(connection: Connection) -> bool:
    """Whether a holder died without letting go of its lease."""
    rows = connection.execute(select(leases).where(leases.c.owner.is_not(None)))
    return any(_process(row).gone for row in rows)


def none_held(connection: Connection) -> None:
    """Passes if no live search holds a study of the store."""
    query = select(studies.c.name, leases).join(studies, studies.c.id == leases.c.study)
    for row in connection.execute(query.where(leases.c.owner.is_not(None))):
        if not lapsed(connection, row):
            raise StoreError(
                "store-busy",
                f"the store is an older paretune's, and study {row.name!r} is run by "
                f"{_holder(connection, row)}; wait until it has ended, or stop it, "
                "and run the same command again.",
            )


def _beat(connection: Connection, seconds: float) -> dict[str, Any]:
    beat = now(connection)
    ends = time.monotonic() + seconds
    return {"beat": beat, "deadline": beat + seconds, "ends": ends}


def _write(connection: Connection, study: int, values: dict[str, Any]) -> None:
    connection.execute(leases.update().where(leases.c.study == study).values(**values))


def _process(row: Record) -> Process:
    return Process(**json.loads(row.process))


def _holder(connection: Connection, row: Record) -> str:
    holder = _process(row)
    if holder.boot and holder.boot == boot():
        age = time.monotonic() - (row.ends - (row.deadline - row.beat))
    else:
        age = now(connection) - row.beat
    return f"pid {holder.pid} on host {holder.host} (beat {max(age, 0):.0f} s ago)"
