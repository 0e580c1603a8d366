"""The quality on the test split, and how often that was read."""

from __future__ import annotations

import json
from collections.abc import Mapping

from paretune.core.measurement import Measurement
from paretune.store._rows import certified_of, find, read_at
from paretune.store._schema import certified, readings
from paretune.store._studies import Studies, identify, utc


class Certified(Studies):
    """Studies, and what the test split says of their trials."""

    def read_test(self, study: str) -> int:
        """Counts a reading of the test split, before it is read; gives its number."""
        with self._database.write() as connection:
            found = identify(connection, study)
            reading = len(read_at(connection, found)) + 1
            row = {"study": found, "reading": reading, "at": utc()}
            connection.execute(readings.insert().values(**row))
            return reading

    def certify(
        self,
        study: str,
        figures: Mapping[int, Mapping[str, Measurement]],
        reading: int | None = None,
    ) -> None:
        """Keeps the quality on the test split.

        Args:
            study: its name.
            figures: measurements on the test split by metric, by trial number.
            reading: that `read_test` counted; without one, it is counted now.
        """
        if reading is None:
            reading = self.read_test(study)
        with self._database.write() as connection:
            found = identify(connection, study)
            row = {"study": found, "reading": reading}
            for number, measurements in figures.items():
                find(connection, found, study, number)
                for metric, measurement in measurements.items():
                    body = json.dumps(measurement.to_json())
                    values = {"number": number, "metric": metric, "body": body}
                    connection.execute(certified.insert().values(**row, **values))

    def certified(self, study: str) -> dict[int, dict[str, Measurement]]:
        """The latest figures on the test split, by trial number and metric."""
        with self._database.read() as connection:
            return certified_of(connection, identify(connection, study))

    def certifications(self, study: str) -> int:
        """How often the test split has been read."""
        return len(self.certified_at(study))

    def certified_at(self, study: str) -> tuple[str, ...]:
        """When the test split was read, in UTC, oldest first."""
        with self._database.read() as connection:
            return read_at(connection, identify(connection, study))
