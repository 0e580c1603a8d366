"""Studies: what each was begun with, and who may write to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, and_, select

from paretune.core.errors import StoreError, nearest
from paretune.core.recipe import canonical
from paretune.store import _leases
from paretune.store._database import Database
from paretune.store._leases import Lease
from paretune.store._processes import Process
from paretune.store._schema import facts, studies

_ABSENT = object()


class Studies:
    """The studies of one store, without their trials."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, root: Path, create: bool = True) -> Self:
        """The store in a folder: `root/studies.db`.

        Args:
            root: the folder.
            create: make it if it isn't there, and prove that it can be written to;
                False to read only.

        Raises:
            StoreError: it is missing, damaged, read-only, full, not ours, newer than
                this program, or on a network file system.
        """
        path = Path(root) / "studies.db"
        unfinished = any(_bytes(Path(f"{path}{end}")) for end in ("-journal", "-wal"))
        database = Database(path, create)
        with database.read() as connection:
            unclean = unfinished or _leases.gone(connection)
        if unclean:
            database.check()
        return cls(database)

    # Studies

    def names(self) -> tuple[str, ...]:
        """The studies, oldest first."""
        with self._database.read() as connection:
            return names(connection)

    def study(self, name: str) -> dict[str, Any] | None:
        """What a study was begun with; None if there is no such study."""
        with self._database.read() as connection:
            query = select(studies.c.spec).where(studies.c.name == name)
            spec = connection.execute(query).scalar_one_or_none()
        return None if spec is None else json.loads(spec)

    def create_study(self, name: str, spec: Mapping[str, Any]) -> None:
        """Begins a study; nothing happens if it was begun with the same.

        Args:
            name: of the study.
            spec: JSON values: all that must not change while it runs.

        Raises:
            StoreError: it was begun with something else ("resume-mismatch").
        """
        text = canonical(spec)
        with self._database.write() as connection:
            query = select(studies.c.spec).where(studies.c.name == name)
            was = connection.execute(query).scalar_one_or_none()
            if was is None:
                row = {"name": name, "spec": text, "created": utc()}
                connection.execute(studies.insert().values(**row))
                _leases.create(connection, identify(connection, name))
            elif was != text:
                found = differences(json.loads(was), json.loads(text))
                raise StoreError(
                    "resume-mismatch",
                    f"study {name!r} can't go on, since it was begun with another "
                    f"{'; '.join(found)}; restore that, or name another --study.",
                )

    def update_study(self, name: str, key: str, value: Any) -> None:
        """Sets a fact that may change while the study runs, such as its cost."""
        with self._database.write() as connection:
            study = identify(connection, name)
            which = and_(facts.c.study == study, facts.c.key == key)
            connection.execute(facts.delete().where(which))
            row = {"study": study, "key": key, "value": json.dumps(value)}
            connection.execute(facts.insert().values(**row))

    def facts(self, name: str) -> dict[str, Any]:
        """What `update_study` has set."""
        with self._database.read() as connection:
            return facts_of(connection, identify(connection, name))

    # Leases

    def acquire(
        self,
        study: str,
        owner: str,
        pid: int | None = None,
        host: str | None = None,
        seconds: float = 30.0,
    ) -> Lease:
        """The sole right to write to a study, until it is released or runs out.

        A holder that is dead, or has not renewed its lease in time, is replaced.

        Args:
            study: its name.
            owner: who asks, in a word that no other search has.
            pid: of the process that will hold it; by default this one.
            host: its name for people; by default this machine's.
            seconds: how long the lease lasts without `renew`.

        Raises:
            StoreError: another live search holds it ("store-busy").
        """
        process = Process.of(pid, host)
        with self._database.write() as connection:
            found = identify(connection, study)
            return _leases.acquire(connection, found, study, owner, process, seconds)

    def renew(self, lease: Lease) -> None:
        """Prolongs a lease from now on.

        Raises:
            StoreError: another search has taken the study over ("store-stale").
        """
        with self._database.write() as connection:
            _leases.renew(connection, identify(connection, lease.study), lease)

    def release(self, lease: Lease) -> None:
        """Lets go of a lease; nothing happens if it has been taken over."""
        with self._database.write() as connection:
            _leases.release(connection, identify(connection, lease.study), lease)


def identify(connection: Connection, name: str) -> int:
    """The study's key in the other tables.

    Raises:
        StoreError: there is none of that name.
    """
    query = select(studies.c.id).where(studies.c.name == name)
    found = connection.execute(query).scalar_one_or_none()
    if found is None:
        known = names(connection)
        hint = nearest(name, known) if known else "the store holds none yet."
        raise StoreError("study-not-found", f"there is no study {name!r}; {hint}")
    return int(found)


def names(connection: Connection) -> tuple[str, ...]:
    query = select(studies.c.name).order_by(studies.c.id)
    return tuple(connection.execute(query).scalars())


def facts_of(connection: Connection, study: int) -> dict[str, Any]:
    query = select(facts.c.key, facts.c.value).where(facts.c.study == study)
    return {key: json.loads(value) for key, value in connection.execute(query)}


def utc() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def differences(was: Any, now: Any, where: str = "") -> list[str]:
    """Where two JSON values differ: "data.samples (was 5000, now 4800)".

    Example:
        >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4})
        ['a.c (was 2, now 3)', 'd (was not there, now 4)']
    """
    if was == now and type(was) is type(now):
        return []
    if isinstance(was, dict) and isinstance(now, dict):
        return [
            text
            for key in sorted(was.keys() | now.keys())
            for text in differences(
                was.get(key, _ABSENT), now.get(key, _ABSENT), f"{where}{key}."
            )
        ]
    return [f"{where.rstrip('.') or 'value'} (was {_short(was)}, now {_short(now)})"]


def _short(value: Any) -> str:
    if value is _ABSENT:
        return "not there"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
