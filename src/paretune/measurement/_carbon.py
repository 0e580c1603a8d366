"""Grams of CO2 equivalent for joules, at a grid's stated intensity."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from paretune.core.errors import MeasurementError, UnavailableError, nearest
from paretune.measurement._power import data

JOULES_PER_KWH = 3.6e6
MOST = 3_000.0  # g/kWh: no grid comes near
MIX = "data/private_infra/global_energy_mix.json"


@dataclass(frozen=True)
class Grid:
    """Where the electricity comes from.

    Attributes:
        intensity: grams of CO2 equivalent per kWh.
        place: whose grid.
        year: that the figure is of; None if nobody said.
        source: who says so.
    """

    intensity: float
    place: str
    year: int | None
    source: str

    def grams(self, joules: float) -> float:
        """Of CO2 equivalent.

        Example:
            >>> WORLD.grams(3.6e6)
            475.0
        """
        return self.intensity * joules / JOULES_PER_KWH

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "unit": "g/kWh"}


WORLD = Grid(475.0, "world", 2018, "IEA, Global Energy & CO2 Status Report 2019")


def grid(text: str | None) -> Grid:
    """The grid that a user names.

    Args:
        text: grams of CO2 equivalent per kWh such as "475", or a country's code or
            name such as "FRA", "FR", "France"; None for the world's average.

    Raises:
        MeasurementError: it is neither.
        UnavailableError: a country, and there is no table of countries here.

    Example:
        >>> grid("56").intensity, grid(None).place
        (56.0, 'world')
    """
    if text is None:
        return WORLD
    try:
        intensity = float(text)
    except ValueError:
        return _country(text.strip())
    if not (math.isfinite(intensity) and 0 <= intensity <= MOST):
        raise MeasurementError(
            "grid",
            f"a grid of {text} g/kWh is beyond belief; give 0 to {MOST:.0f} grams of "
            "CO2 equivalent per kWh.",
        )
    return Grid(intensity, "as given", None, "as given")


def _country(name: str) -> Grid:
    path = data(MIX)
    if path is None:
        raise UnavailableError(
            "grid-table",
            f"--grid {name} needs CodeCarbon's table of countries: pip install "
            "'paretune[energy]', or give CO2 equivalent in grams per kWh.",
        )
    table = json.loads(path.read_text(encoding="utf-8"))
    names = {code: str(row["country_name"]) for code, row in table.items()}
    code = _code(name, names)
    if code is None:
        raise MeasurementError(
            "grid",
            f"no country is called {name!r}, and it is no number of grams per kWh; "
            f"{nearest(name, [*names.values(), *names])}",
        )
    row = table[code]
    try:
        by = f"Our World in Data, in CodeCarbon {version('codecarbon')}"
    except PackageNotFoundError:
        by = "Our World in Data, in CodeCarbon"
    return Grid(float(row["carbon_intensity"]), names[code], int(row["year"]), by)


def _code(name: str, names: Mapping[str, str]) -> str | None:
    """The table's code of a country, given any code or name of it."""
    wanted = name.casefold()
    for code, known in names.items():
        if wanted in (code.casefold(), known.casefold()):
            return code
    try:
        import pycountry
    except ImportError:  # only the table's own names then
        return None
    found = pycountry.countries.get(alpha_2=name.upper())
    return found.alpha_3 if found and found.alpha_3 in names else None
