"""Watts by a processor's name, and how it is said that they are assumed."""

import pytest

from paretune.measurement._power import ASSUMED_W, data, power, rated

TABLE = {
    "Intel Core i7-8700": 65.0,
    "Intel Core i7-8700K": 95.0,
    "Intel Xeon E5-2670": 115.0,
    "Intel Xeon E5-2670 v3": 120.0,
    "AMD EPYC 7763": 280.0,
    "AMD Ryzen 7 PRO 5850U": 15.0,
    "Intel Xeon": 50.0,
}
NAMES = {
    "Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz": 65.0,
    "Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz": 95.0,
    "Intel(R) Xeon(R) CPU E5-2670 v3 @ 2.30GHz": 120.0,
    "AMD EPYC 7763 64-Core Processor": 280.0,
    "AMD Ryzen 7 PRO 5850U with Radeon Graphics": 15.0,
    "Intel(R) Xeon(R) Processor": None,
    "Intel(R) Core(TM) i9-9999X CPU @ 1.00GHz": None,
    "": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_the_table_is_asked_by_the_words_of_the_name(name):
    assert rated(name, TABLE) == NAMES[name]


def test_rows_that_disagree_give_nothing():
    twice = {"Intel Core i7-8700": 65.0, "Core Intel i7-8700": 70.0}
    assert rated("Intel(R) Core(TM) i7-8700 CPU", twice) is None


def cpuinfo(tmp_path, name, flags="fpu vme"):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nmodel name\t: {name}\nflags\t\t: {flags}\n")
    return path


def test_a_known_processor_shares_its_watts_among_its_threads(tmp_path):
    path = cpuinfo(tmp_path, "Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz")
    found = power(path, 12, TABLE)
    assert found.watts == pytest.approx(95.0)
    assert found.joules(2.0) == pytest.approx(2 * 95.0 / 12)
    assert found.joules(1.0, 40) == pytest.approx(95.0)  # no more than all of it
    assert found.how == "95 W for Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz, 12 threads"
    assert found.label == "energy: estimated, ±50 %"


@pytest.mark.parametrize(
    ("name", "flags", "table", "why"),
    [
        ("Mystery 1000", "fpu", TABLE, "Mystery 1000 is not in CodeCarbon's table"),
        ("AMD EPYC 7763 64-Core Processor", "fpu", {}, "table of processors is not"),
        ("AMD EPYC 7763 64-Core Processor", "hypervisor", TABLE, "virtual machine's"),
    ],
)
def test_what_is_assumed_is_said(name, flags, table, why, tmp_path):
    found = power(cpuinfo(tmp_path, name, flags), 4, table)
    assert found.watts == 4 * ASSUMED_W
    assert why in found.how
    assert found.how.endswith("4 W a thread assumed")


def test_this_machine_has_some():
    found = power()
    assert found.watts > 0 and found.how


@pytest.mark.skipif(data("data/hardware/cpu_power.csv") is None, reason="no codecarbon")
def test_codecarbons_own_table(tmp_path):
    path = cpuinfo(tmp_path, "Intel(R) Core(TM) i7-8700K CPU @ 3.70GHz")
    assert power(path, 12).watts == pytest.approx(95.0)
