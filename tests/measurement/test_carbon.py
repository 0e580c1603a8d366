"""Grams of CO2 equivalent at a stated grid."""

import pytest

from paretune.core.errors import MeasurementError, UnavailableError
from paretune.measurement import _carbon
from paretune.measurement._carbon import MIX, WORLD, grid
from paretune.measurement._power import data

table = pytest.mark.skipif(data(MIX) is None, reason="no codecarbon")


def test_by_default_it_is_the_worlds_average_with_year_and_source():
    assert grid(None) == WORLD
    assert WORLD.year == 2018 and "IEA" in WORLD.source
    assert WORLD.grams(3.6e6) == 475.0
    assert WORLD.to_json()["unit"] == "g/kWh"


def test_a_number_is_taken_as_it_is():
    found = grid("56.5")
    assert found.grams(7.2e6) == 113.0
    assert found.source == "as given" and found.year is None


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e9"])
def test_beyond_belief(text):
    with pytest.raises(MeasurementError, match="grams of CO2"):
        grid(text)


@table
@pytest.mark.parametrize("name", ["FRA", "fr", "France"])
def test_a_country_by_any_of_its_names(name):
    found = grid(name)
    assert (found.place, found.year) == ("France", 2023)
    assert 20 < found.intensity < 100
    assert "Our World in Data" in found.source


@table
def test_no_country_names_the_nearest():
    with pytest.raises(MeasurementError, match="did you mean 'Germany'"):
        grid("Germny")


def test_without_the_table_a_number_is_asked_for(monkeypatch):
    monkeypatch.setattr(_carbon, "data", lambda name: None)
    with pytest.raises(UnavailableError, match=r"paretune\[energy\]"):
        grid("FRA")
    assert grid("475").intensity == 475.0
