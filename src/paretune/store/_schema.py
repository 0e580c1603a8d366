"""The tables of the store, in SQL that SQLite and PostgreSQL share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

VERSION = 2
RUNNING = "RUNNING"

metadata = MetaData()

# One row: which version of these tables the file has.
version = Table(
    "paretune",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)

studies = Table(
    "studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("spec", Text, nullable=False),
    Column("created", Text, nullable=False),
)

# Small facts about a study that change as it runs, as JSON.
facts = Table(
    "facts",
    metadata,
    Column("study", ForeignKey("studies.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# Who may write to a study; `token` counts the holders, and `owner` is null when
# there is none. `deadline` is by the database's clock, `ends` by the monotonic clock
# of the machine in `process`.
leases = Table(
    "leases",
    metadata,
    Column("study", ForeignKey("studies.id"), primary_key=True),
    Column("token", Integer, nullable=False),
    Column("owner", Text),
    Column("process", Text, nullable=False),
    Column("beat", Double, nullable=False),
    Column("deadline", Double, nullable=False),
    Column("ends", Double, nullable=False),
)

# `token` is the lease that the trial was claimed under; `attempt` counts all claims,
# `faults` those that the trial itself brought down; `body` is the finished trial.
trials = Table(
    "trials",
    metadata,
    Column("study", ForeignKey("studies.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("token", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("faults", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("steps", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("body", Text),
)

# What there is of each state, without a look at the bodies.
by_state = Index(
    "trials_by_state",
    trials.c.study,
    trials.c.state,
    trials.c.number,
    trials.c.revision,
)

# Of each trial that is ok: the figures that its study's frontier and budget need, as
# `frontier.record` packs them, and which samples it has right, eight a byte.
figures = Table(
    "figures",
    metadata,
    Column("study", ForeignKey("studies.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("record", LargeBinary, nullable=False),
    sqlite_with_rowid=False,  # kept in the order in which it is read
)

scores = Table(
    "scores",
    metadata,
    Column("study", ForeignKey("studies.id"), primary_key=True),
    Column("metric", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("samples", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# Measurements that better ones took the place of.
replaced = Table(
    "replaced",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study", ForeignKey("studies.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("metric", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", Text, nullable=False),
)

# Each time that the test split was read.
readings = Table(
    "readings",
    metadata,
    Column("study", ForeignKey("studies.id"), primary_key=True),
    Column("reading", Integer, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
)

certified = Table(
    "certified",
    metadata,
    Column("study", ForeignKey("studies.id"), primary_key=True),
    Column("reading", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("metric", Text, primary_key=True),
    Column("body", Text, nullable=False),
)


class clock(GenericFunction[float]):
    """Seconds since 1970 by the database's clock."""

    type = Double()
    inherit_cache = True


@compiles(clock, "sqlite")
def _sqlite(element: Any, compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(clock, "postgresql")
def _postgresql(element: Any, compiler: Any, **_: Any) -> str:
    return "extract(epoch from clock_timestamp())"
