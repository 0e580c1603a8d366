"""Studies and their trials, in a database that survives whoever writes to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import and_, func, select

from paretune.core.errors import StoreError
from paretune.core.measurement import Measurement
from paretune.core.trial import HALTED, Trial
from paretune.store import _figures, _leases
from paretune.store._leases import Lease
from paretune.store._readable import Readable
from paretune.store._rows import (
    Claim,
    claim_of,
    find,
    finished,
    one,
    stale,
    which,
)
from paretune.store._schema import (
    RUNNING,
    replaced,
    trials,
)
from paretune.store._studies import identify, utc

# How often a trial is run again after a fault of its own, and how often it may be
# claimed whoever was to blame.
RETRIES = 2
MAX_ATTEMPTS = 20

Steps = Sequence[Mapping[str, Any]]
Figures = Mapping[str, Measurement]


class Trials(Readable):
    """The studies of one store.

    Every method is one short transaction, safe from any thread and any process; what
    has returned is on the disk. Make one with `open`.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as root:
        ...     store = Trials.open(Path(root))
        ...     store.create_study("demo", {"task": "fashion"})
        ...     lease = store.acquire("demo", "search")
        ...     claim = store.claim("demo", [], lease)
        ...     store.finish(claim, Trial(claim.number, (), "ok"))
        ...     store.release(lease)
        ...     [t.number for t in store.trials("demo")]
        [0]
    """

    def claim(self, study: str, steps: Steps, lease: Lease) -> Claim:
        """The next number of the study, to run a recipe under.

        Args:
            study: its name.
            steps: the recipe, as `Recipe.to_json` gives it.
            lease: on the study.

        Raises:
            StoreError: another search has taken the study over ("store-stale").
        """
        with self._database.write() as connection:
            found = identify(connection, study)
            _leases.held(connection, found, lease)
            last = select(func.max(trials.c.number)).where(trials.c.study == found)
            number = connection.execute(last).scalar_one()
            number = 0 if number is None else number + 1
            row = {
                "study": found,
                "number": number,
                "token": lease.token,
                "attempt": 1,
                "faults": 0,
                "state": RUNNING,
                "steps": json.dumps(list(steps)),
                "revision": 0,
            }
            connection.execute(trials.insert().values(**row))
            return claim_of(study, connection.execute(one(found, number)).one())

    def claim_again(
        self,
        study: str,
        number: int,
        lease: Lease,
        *,
        fault: bool = True,
        state: str = "failed:crash",
        error: str = "",
    ) -> Claim | None:
        """The right to run once more a trial whose worker died.

        Nobody with an earlier claim can finish it from now on. A trial that has
        brought down its worker three times is not run again: it is finished as failed.

        Args:
            study: its name.
            number: of a trial that `running` or `abandoned` gives.
            lease: on the study.
            fault: whether the trial itself brought down what ran it; False if the
                whole search was stopped or killed.
            state: how it ends if it was the last time.
            error: why, one sentence.

        Returns:
            The claim; None if the trial has been finished as failed.

        Raises:
            StoreError: the trial has ended, or the study is another search's now
                ("store-stale"); there is no such trial ("trial-not-found").
        """
        with self._database.write() as connection:
            found = identify(connection, study)
            _leases.held(connection, found, lease)
            row = find(connection, found, study, number)
            if row.state != RUNNING:
                raise stale(study, number, f"it has ended already ({row.state})")
            faults = row.faults + fault
            values: dict[str, Any] = {"token": lease.token, "faults": faults}
            if faults > RETRIES or row.attempt >= MAX_ATTEMPTS:
                error = error or f"it was cut short {row.attempt} times."
                halted = claim_of(study, row).halted
                trial = halted or Trial(number, tuple(json.loads(row.steps)), state)
                trial = replace(trial, state=state, error=error)
                values |= finished(trial)
            else:
                values |= {"attempt": row.attempt + 1}
            update = trials.update().where(which(found, number))
            connection.execute(update.values(**values))
            row = connection.execute(one(found, number)).one()
            return claim_of(study, row) if row.state == RUNNING else None

    def reopen(self, study: str, number: int, lease: Lease) -> Claim:
        """The right to take up a halted trial again; until it ends it isn't finished.

        What it was halted as stays in the store, and is in the claim.

        Raises:
            StoreError: the trial isn't halted, or the study is another search's now
                ("store-stale"); there is no such trial ("trial-not-found").
        """
        with self._database.write() as connection:
            found = identify(connection, study)
            _leases.held(connection, found, lease)
            row = find(connection, found, study, number)
            if row.state != HALTED:
                raise stale(study, number, f"it is not halted ({row.state})")
            values = {
                "token": lease.token,
                "state": RUNNING,
                "attempt": row.attempt + 1,
                "revision": row.revision + 1,
            }
            update = trials.update().where(which(found, number))
            connection.execute(update.values(**values))
            return claim_of(study, connection.execute(one(found, number)).one())

    def finish(self, claim: Claim, trial: Trial) -> None:
        """Ends a trial: once this has returned it counts, for good.

        Its artifact must be stored before. To finish it twice in the same way does
        no harm.

        Raises:
            StoreError: the trial has been claimed by another since, or ended in
                another way ("store-stale").
        """
        if trial.number != claim.number:
            raise StoreError(
                "store-claim",
                f"claim {claim.number} can't finish trial {trial.number}.",
            )
        values = finished(trial)
        with self._database.write() as connection:
            study = identify(connection, claim.study)
            token = _leases.find(connection, study).token
            mine = and_(
                which(study, claim.number),
                trials.c.attempt == claim.attempt,
                trials.c.state == RUNNING,
            )
            if token == claim.token:
                update = trials.update().where(mine).values(**values)
                if connection.execute(update).rowcount == 1:
                    metrics = self._metrics(connection, study)
                    _figures.write(connection, study, [trial], metrics)
                    return
            row = find(connection, study, claim.study, claim.number)
            if (row.attempt, row.body) != (claim.attempt, values["body"]):
                why = f"it is at attempt {row.attempt}, {row.state}"
                if token != claim.token:
                    why = "another search has taken the study over"
                raise stale(claim.study, claim.number, why)

    def amend(self, study: str, number: int, measurements: Figures) -> None:
        """Adds figures to a finished trial; those that it had are kept aside.

        Raises:
            StoreError: there is no such trial, or it hasn't ended.
        """
        with self._database.write() as connection:
            found = identify(connection, study)
            row = find(connection, found, study, number)
            if row.state == RUNNING:
                raise stale(study, number, "it has not ended yet")
            record = json.loads(row.body)
            for metric, measurement in measurements.items():
                if old := record["measurements"].get(metric):
                    aside: dict[str, Any] = {"metric": metric, "at": utc()}
                    aside |= {"body": json.dumps(old)}
                    aside |= {"study": found, "number": number}
                    connection.execute(replaced.insert().values(**aside))
                record["measurements"][metric] = measurement.to_json()
            values = {"body": json.dumps(record), "revision": row.revision + 1}
            update = trials.update().where(which(found, number))
            connection.execute(update.values(**values))
            if metrics := self._metrics(connection, found):
                trial = Trial.from_json(record)
                _figures.rewrite(connection, found, trial, metrics)


__all__ = ["Claim", "Lease", "Trials"]
