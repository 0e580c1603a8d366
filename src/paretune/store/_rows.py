"""Rows of trials: how they are found, and what they mean."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, select

from paretune.core.errors import StoreError
from paretune.core.measurement import Measurement
from paretune.core.trial import (
    FAILURES,
    HALTED,
    INFEASIBLE,
    OK,
    STOPPED,
    Trial,
)
from paretune.store import _leases
from paretune.store._schema import RUNNING, certified, leases, readings, trials
from paretune.store._studies import identify

Record = Any  # a row: its columns are its attributes

_FINAL = re.compile(
    rf"{OK}|{INFEASIBLE}|{STOPPED}|{HALTED}|failed:({'|'.join(FAILURES)})(\([^()]+\))?"
)


@dataclass(frozen=True)
class Claim:
    """A trial under way, and the right to finish it.

    Attributes:
        study: its name.
        number: of the trial; 0 is the baseline.
        attempt: how often it has been claimed, from 1: an older attempt can't finish.
        steps: its recipe, as JSON steps.
        faults: how often it has brought down what ran it.
        token: of the lease that it was claimed under.
        halted: the trial as it was halted, where it has been taken up again.
    """

    study: str
    number: int
    attempt: int
    steps: tuple[Mapping[str, Any], ...]
    faults: int
    token: int
    halted: Trial | None = None


def which(study: int, number: int) -> ColumnElement[bool]:
    return and_(trials.c.study == study, trials.c.number == number)


def one(study: int, number: int) -> Select[Any]:
    return select(trials).where(which(study, number))


def find(connection: Connection, study: int, name: str, number: int) -> Record:
    row = connection.execute(one(study, number)).one_or_none()
    if row is None:
        raise StoreError(
            "trial-not-found",
            f"study {name!r} has no trial {number}; see its frontier.",
        )
    return row


class Finished:
    """Finished trials, of which only those are decoded that are new or amended."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[int, Trial]] = {}
        self._lock = threading.Lock()

    def read(self, connection: Connection, study: int) -> tuple[Trial, ...]:
        """The study's finished trials, by number."""
        ended = and_(trials.c.study == study, trials.c.state != RUNNING)
        query = select(trials.c.number, trials.c.revision).where(ended)
        rows = connection.execute(query.order_by(trials.c.number)).all()
        with self._lock:
            unknown = [
                number
                for number, revision in rows
                if self._known.get((study, number), (-1,))[0] != revision
            ]
            for start in range(0, len(unknown), 500):
                some = trials.c.number.in_(unknown[start : start + 500])
                columns = trials.c.number, trials.c.revision, trials.c.body
                query = select(*columns).where(ended, some)
                for row in connection.execute(query):
                    trial = Trial.from_json(json.loads(row.body))
                    self._known[study, row.number] = row.revision, trial
            return tuple(self._known[study, number][1] for number, _ in rows)


def latest(connection: Connection, study: int, most: int) -> list[Trial]:
    """The finished trials with the highest numbers, those first."""
    ended = and_(trials.c.study == study, trials.c.state != RUNNING)
    query = select(trials.c.body).where(ended).order_by(trials.c.number.desc())
    rows = connection.execute(query.limit(most)).scalars()
    return [Trial.from_json(json.loads(body)) for body in rows]


def unfinished(connection: Connection, name: str, *, live: bool) -> tuple[Claim, ...]:
    """Trials under way: those of the live search, or those that nobody runs."""
    study = identify(connection, name)
    lease = connection.execute(select(leases).where(leases.c.study == study)).one()
    held = lease.owner is not None and not _leases.lapsed(connection, lease)
    query = select(trials).where(trials.c.study == study, trials.c.state == RUNNING)
    return tuple(
        claim_of(name, row)
        for row in connection.execute(query.order_by(trials.c.number))
        if (held and row.token == lease.token) is live
    )


def claim_of(study: str, row: Record) -> Claim:
    steps = tuple(json.loads(row.steps))
    halted = None if row.body is None else Trial.from_json(json.loads(row.body))
    return Claim(study, row.number, row.attempt, steps, row.faults, row.token, halted)


def finished(trial: Trial) -> dict[str, Any]:
    """The columns of a trial that has ended."""
    if not _FINAL.fullmatch(trial.state):
        raise StoreError(
            "store-claim",
            f"trial {trial.number} can't end as {trial.state!r}: {OK}, {INFEASIBLE}, "
            f"{STOPPED}, {HALTED} and failed: with one of {', '.join(FAILURES)} are "
            "the ends.",
        )
    # A figure that is not finite is kept as it is: a failed trial is data too.
    return {"state": trial.state, "body": json.dumps(trial.to_json())}


def stale(study: str, number: int, why: str) -> StoreError:
    return StoreError(
        "store-stale",
        f"trial {number} of study {study!r} is not to be written: {why}; "
        "what the store holds stays as it is.",
    )


def read_at(connection: Connection, study: int) -> tuple[str, ...]:
    query = select(readings.c.at).where(readings.c.study == study)
    return tuple(connection.execute(query.order_by(readings.c.reading)).scalars())


def certified_of(
    connection: Connection, study: int
) -> dict[int, dict[str, Measurement]]:
    query = select(certified).where(certified.c.study == study)
    found: dict[int, dict[str, Measurement]] = {}
    for row in connection.execute(query.order_by(certified.c.reading)):
        measurement = Measurement.from_json(json.loads(row.body))
        found.setdefault(row.number, {})[row.metric] = measurement
    return found
