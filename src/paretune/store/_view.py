"""A study at one moment, of which only what is asked for is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from sqlalchemy import Connection, and_, select

from paretune.core.trial import Trial
from paretune.frontier import layout
from paretune.store import _figures
from paretune.store._rows import certified_of, read_at
from paretune.store._schema import studies, trials
from paretune.store._studies import facts_of


class View:
    """What a study holds, within one transaction; `Trials.view` gives it.

    Args:
        connection: in the transaction.
        study: its key.
        metrics: whose figures are kept as numbers; none in an older program's tables.
    """

    def __init__(
        self, connection: Connection, study: int, metrics: tuple[str, ...]
    ) -> None:
        self._connection, self._study = connection, study
        self.metrics = metrics

    def snapshot(self, numbers: Sequence[int]) -> dict[str, Any]:
        """As `Trials.snapshot`, of these trials alone: what a `Study` is made of."""
        query = select(studies.c.spec).where(studies.c.id == self._study)
        return {
            "spec": json.loads(self._connection.execute(query).scalar_one()),
            "facts": facts_of(self._connection, self._study),
            "trials": tuple(self.trials(numbers)),
            "certified": certified_of(self._connection, self._study),
            "certifications": len(read_at(self._connection, self._study)),
        }

    @cached_property
    def records(self) -> np.ndarray:
        """Figures of the trials that are ok, as `frontier.layout` tells, by number.

        None where there are no metrics.
        """
        if not self.metrics:
            return np.zeros(0, layout(0))
        return _figures.read(self._connection, self._study, self.metrics)

    def right(self, metric: str, numbers: Sequence[int]) -> list[bytes]:
        """Which samples these trials have right: bits, eight a byte."""
        found = _figures.read_right(self._connection, self._study, metric, numbers)
        return [found[n] for n in numbers]

    def trials(self, numbers: Sequence[int]) -> list[Trial]:
        """These trials, which have ended."""
        found: dict[int, Trial] = {}
        for start in range(0, len(numbers), _figures.MANY):
            some = trials.c.number.in_(numbers[start : start + _figures.MANY])
            query = select(trials.c.number, trials.c.body).where(
                and_(trials.c.study == self._study, some)
            )
            for number, body in self._connection.execute(query):
                found[number] = Trial.from_json(json.loads(body))
        return [found[n] for n in numbers]
