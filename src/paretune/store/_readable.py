"""What is read of a study: its trials, one by one, by number, or all at one moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, select

from paretune.core.measurement import Measurement
from paretune.core.trial import Trial
from paretune.store import _figures
from paretune.store._certified import Certified
from paretune.store._database import Database
from paretune.store._rows import (
    Claim,
    Finished,
    certified_of,
    find,
    latest,
    read_at,
    stale,
    unfinished,
)
from paretune.store._schema import RUNNING, replaced, studies
from paretune.store._studies import facts_of, identify
from paretune.store._view import View


class Readable(Certified):
    """Studies with their trials, to be read."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._finished = Finished()
        self._axes: dict[int, tuple[str, ...]] = {}

    def replaced(self, study: str, number: int) -> tuple[Measurement, ...]:
        """The figures of a trial that `amend` has replaced, oldest first."""
        with self._database.read() as connection:
            query = select(replaced.c.body).where(
                replaced.c.study == identify(connection, study),
                replaced.c.number == number,
            )
            rows = connection.execute(query.order_by(replaced.c.id)).scalars()
            return tuple(Measurement.from_json(json.loads(body)) for body in rows)

    def trials(self, study: str) -> tuple[Trial, ...]:
        """The finished trials, by number."""
        with self._database.read() as connection:
            return self._finished.read(connection, identify(connection, study))

    def trial(self, study: str, number: int) -> Trial:
        """One finished trial.

        Raises:
            StoreError: there is no such trial, or it hasn't ended.
        """
        with self._database.read() as connection:
            row = find(connection, identify(connection, study), study, number)
        if row.state == RUNNING:
            raise stale(study, number, "it has not ended yet")
        return Trial.from_json(json.loads(row.body))

    def latest(self, most: int, **spec: Any) -> tuple[Trial, ...]:
        """Finished trials of the studies that were begun with this, the newest first.

        Args:
            most: how many, whatever the store holds; the newest studies come first.
            spec: what is wanted of a study's spec, such as its fingerprint.
        """
        found: list[Trial] = []
        with self._database.read() as connection:
            query = select(studies.c.id, studies.c.spec).order_by(studies.c.id.desc())
            for study, text in connection.execute(query):
                if len(found) >= most:
                    break
                told = json.loads(text)
                if all(told.get(key) == value for key, value in spec.items()):
                    found += latest(connection, study, most - len(found))
        return tuple(found)

    def running(self, study: str) -> tuple[Claim, ...]:
        """The trials that the study's live search has under way, by number."""
        with self._database.read() as connection:
            return unfinished(connection, study, live=True)

    def abandoned(self, study: str) -> tuple[Claim, ...]:
        """The trials whose search has died or gone: to be claimed again, by number."""
        with self._database.read() as connection:
            return unfinished(connection, study, live=False)

    @contextmanager
    def view(self, study: str) -> Iterator[View]:
        """A study at one moment, of which only what is asked for is read.

        Quicker than `snapshot` where there are many trials. Nobody can write to the
        store meanwhile.
        """
        with self._database.read() as connection:
            found = identify(connection, study)
            yield View(connection, found, self._metrics(connection, found))

    def _metrics(self, connection: Connection, study: int) -> tuple[str, ...]:
        """Whose figures are kept as numbers; none in an older program's tables."""
        if not self._database.current(connection):
            return ()
        if study not in self._axes:
            self._axes[study] = _figures.axes_of(connection, study)
        return self._axes[study]

    def snapshot(self, name: str) -> dict[str, Any]:
        """All of a study as it is at one moment, for `core.study.Study`.

        Returns:
            "name", "spec", "facts", "trials", "running", "abandoned", "certified",
            "certifications" and "certified_at", as the methods give them.
        """
        with self._database.read() as connection:
            study = identify(connection, name)
            query = select(studies.c.spec).where(studies.c.id == study)
            at = read_at(connection, study)
            return {
                "name": name,
                "spec": json.loads(connection.execute(query).scalar_one()),
                "facts": facts_of(connection, study),
                "trials": self._finished.read(connection, study),
                "running": unfinished(connection, name, live=True),
                "abandoned": unfinished(connection, name, live=False),
                "certified": certified_of(connection, study),
                "certifications": len(at),
                "certified_at": at,
            }
