"""Opens the store's database, and says in a sentence why it can't be used."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, create_engine, event, inspect, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from paretune.core.errors import StoreError
from paretune.store import _schema
from paretune.store._files import (
    broken,
    free_bytes,
    full,
    network_filesystem,
    read_only,
    storing,
)
from paretune.store._migration import migrate

BUSY_S = 30.0
MOUNTS = Path("/proc/mounts")


class Database:
    """Short transactions on one SQLite file, from any thread or process.

    Each transaction opens a connection of its own, since a connection must not be
    carried over a fork, nor be shared by threads.

    Args:
        path: the file.
        create: make it if it isn't there, bring its tables up to date, and prove that
            it can be written to.

    Attributes:
        version: of its tables, which are an older program's until somebody opens it
            to write.

    Raises:
        StoreError: it is missing, damaged, read-only, full, not ours, newer than this
            program, on a network file system, or older and run by a live search.
    """

    def __init__(self, path: Path, create: bool) -> None:
        self.path = path
        _refuse_network(path)
        if create:
            with storing(path.parent):
                try:
                    path.parent.mkdir(parents=True, exist_ok=True)
                except FileNotFoundError:  # such as below /proc
                    raise StoreError(
                        "store-readonly",
                        f"no folder {path.parent} can be made; name another place "
                        "with --store.",
                    ) from None
        elif not path.is_file():
            raise StoreError(
                "store-missing",
                f"there is no store in {path.parent}; name the right one with --store, "
                "or begin one with 'paretune optimize'.",
            )
        url = URL.create("sqlite+pysqlite", database=str(path))
        self._engine = create_engine(
            url, poolclass=NullPool, connect_args={"timeout": BUSY_S}
        )
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)
        if (found := self._found()) is None:
            self._create(create)
            found = _schema.VERSION
        self.version = found
        if create:
            self._prove_writable()
            self._bring_up_to_date()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view of the database."""
        with _explained(self.path), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that nobody else writes beside; all of it counts, or none."""
        with _explained(self.path), self._engine.connect() as connection:
            connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def check(self) -> None:
        """Reads the whole file.

        Raises:
            StoreError: it is damaged.
        """
        with self.read() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            raise _corrupt(self.path, str(found))

    def current(self, connection: Connection) -> bool:
        """Whether the tables are this program's own, in a transaction."""
        if self.version < _schema.VERSION:
            query = select(_schema.version.c.version)
            self.version = connection.execute(query).scalar_one()
        return self.version == _schema.VERSION

    def _found(self) -> int | None:
        """The version of our tables; None if it has no tables at all."""
        with self.read() as connection:
            names = inspect(connection).get_table_names()
            if not names:
                return None
            if _schema.version.name not in names:
                raise _foreign(self.path)
            query = select(_schema.version.c.version)
            found = int(connection.execute(query).scalar_one())
        if found > _schema.VERSION:
            raise StoreError(
                "store-newer",
                f"{self.path} was written by a newer paretune (its version is {found}, "
                f"this program knows {_schema.VERSION}); upgrade paretune, or name "
                "another --store.",
            )
        return found

    def _create(self, create: bool) -> None:
        if not create:
            raise _foreign(self.path)
        self._set_journal_mode()
        with self.write() as connection:
            if inspect(connection).get_table_names():
                return  # another process was first
            _schema.metadata.create_all(connection)
            row = _schema.version.insert().values(version=_schema.VERSION)
            connection.execute(row)

    def _bring_up_to_date(self) -> None:
        if self.version == _schema.VERSION:
            return
        with self.write() as connection:
            if not self.current(connection):  # another process may have been first
                migrate(connection, self.version)
        self.version = _schema.VERSION

    def _prove_writable(self) -> None:
        self._set_journal_mode()
        with _explained(self.path), self._engine.connect() as connection:
            connection.execution_options(writes=True)
            with connection.begin() as transaction:
                # Only a change makes SQLite open its journal in the folder.
                column = _schema.version.c.version
                connection.execute(_schema.version.update().values({column: column}))
                transaction.rollback()

    def _set_journal_mode(self) -> None:
        wanted = "wal" if wal_is_safe(sqlite3.sqlite_version_info) else "delete"
        with _explained(self.path), closing(self._engine.raw_connection()) as raw:
            cursor = raw.cursor()
            (found,) = cursor.execute("PRAGMA journal_mode").fetchone() or ("",)
            if found != wanted:
                cursor.execute(f"PRAGMA journal_mode={wanted}")


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Whether this SQLite has the fix of its write-ahead log's corruption.

    The log can corrupt a database with several connections from 3.7.0 to 3.51.2.

    Example:
        >>> wal_is_safe((3, 40, 1)), wal_is_safe((3, 50, 7)), wal_is_safe((3, 51, 2))
        (False, True, False)
    """
    backported: dict[tuple[int, ...], int] = {(3, 44): 6, (3, 50): 7}
    least = backported.get(version[:2])
    return version >= (3, 51, 3) or (least is not None and version[2] >= least)


def _configure(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin in `_begin` alone
    # EXTRA is FULL and syncs the folder too when it deletes the journal: without,
    # power lost just after a commit may undo it.
    connection.execute("PRAGMA synchronous=EXTRA")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get("writes", False):
        connection.exec_driver_sql("BEGIN")
        return
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    while True:
        (before,) = raw.execute("PRAGMA data_version").fetchone()
        try:
            raw.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            # SQLite doesn't serve those who wait in turn: while others get their
            # work done it is worth waiting on, else somebody sits on the lock.
            (after,) = raw.execute("PRAGMA data_version").fetchone()
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or after == before:
                raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """The database's failures become sentences; other errors pass."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        name = getattr(cause, "sqlite_errorname", None) or ""
        if (explained := _explain(path, name, str(cause))) is None:
            raise
        raise explained from error


def _explain(path: Path, name: str, reason: str) -> StoreError | None:
    if name.startswith("SQLITE_FULL"):
        return full(path)
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return read_only(path)
    if name.startswith("SQLITE_NOTADB"):
        return _foreign(path)
    if name.startswith("SQLITE_CORRUPT"):
        return _corrupt(path, reason)
    if name.startswith("SQLITE_IOERR"):
        # A file system may find out only when it syncs that it is full.
        return full(path) if free_bytes(path) < 1 << 16 else broken(path, reason)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreError(
            "store-busy",
            f"another program has kept {path} to itself for {BUSY_S:.0f} s; close the "
            "program that has it open, and run the same command again.",
        )
    return None


def _foreign(path: Path) -> StoreError:
    return StoreError(
        "store-foreign",
        f"{path} is not a paretune store; name another --store, or move the file.",
    )


def _corrupt(path: Path, reason: str) -> StoreError:
    return StoreError(
        "store-corrupt",
        f"{path} is damaged ({reason}); put back a copy of it, or move it away and "
        "begin anew: the artifacts beside it are kept.",
    )


def _refuse_network(path: Path) -> None:
    try:
        mounts = MOUNTS.read_text(errors="replace")
    except OSError:
        return
    if kind := network_filesystem(path.resolve(), mounts):
        raise StoreError(
            "store-network-fs",
            f"{path.parent} is on a network file system ({kind}), where SQLite can "
            "lose data; name a --store on a local disk, or a PostgreSQL database.",
        )
