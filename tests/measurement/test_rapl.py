"""Recorded traces of RAPL: the label is right, and there is never 0 J, nor less."""

import contextlib
import os
import tempfile
from pathlib import Path

import pytest

from paretune.core.errors import MeasurementError
from paretune.measurement._counters import Counter, Tally
from paretune.measurement._rapl import rapl, virtual
from tests.measurement.powercap import SPAN_UJ, Watts, tree

ONE = {"intel-rapl:0": ("package-0", 5_000_000)}
PARTS = {
    "intel-rapl:0:0": ("core", 1_000_000),
    "intel-rapl:0:1": ("uncore", 2_000_000),
    "intel-rapl:0:2": ("dram", 3_000_000),
    "intel-rapl:1": ("psys", 9_000_000),
}
TWO = {**ONE, "intel-rapl:2": ("package-1", 77_000_000)}
COUNTER = "energy: counter (rapl {}), idle included"


def found(root, watts):
    """(the counter of a tree, what lets its time pass)."""
    time = Watts(root, watts)
    return rapl(root, time.wait), time


def drawn(counter, time, seconds):
    before = counter.read()
    time.wait(seconds)
    return counter.between(before, counter.read(), seconds)


# name: zones, watts by zone, label, W in all
GOOD = {
    "plain": (ONE, {"intel-rapl:0": 40.0}, "package-0", 40.0),
    "parts": (
        ONE | PARTS,
        {"intel-rapl:0": 40.0, "intel-rapl:0:0": 30.0, "intel-rapl:1": 60.0},
        "package-0",
        40.0,
    ),
    "two sockets": (
        TWO,
        {"intel-rapl:0": 40.0, "intel-rapl:2": 25.0},
        "package-0 + package-1",
        65.0,
    ),
    "the same once more, through memory": (
        {**ONE, "intel-rapl-mmio:0": ("package-0", 5_100_000)},
        {"intel-rapl:0": 40.0, "intel-rapl-mmio:0": 40.0},
        "package-0",
        40.0,
    ),
    "the same on each die": (
        {
            "intel-rapl:0": ("package-0-die-0", 123_456_789),
            "intel-rapl:1": ("package-0-die-1", 123_456_911),
        },
        {"intel-rapl:0": 40.0, "intel-rapl:1": 40.0},
        "package-0-die-0",
        40.0,
    ),
    "dies of their own": (
        {
            "intel-rapl:0": ("package-0-die-0", 123_456_789),
            "intel-rapl:1": ("package-0-die-1", 987_654_321),
        },
        {"intel-rapl:0": 40.0, "intel-rapl:1": 30.0},
        "package-0-die-0 + package-0-die-1",
        70.0,
    ),
    "begins again": (
        {"intel-rapl:0": ("package-0", SPAN_UJ - 10_000_000)},
        {"intel-rapl:0": 40.0},
        "package-0",
        40.0,
    ),
    "one stands still": (
        TWO,
        {"intel-rapl:0": 40.0},
        "package-0, package-1 stands still",
        40.0,
    ),
    "one left out": (
        {"intel-rapl:0": ("package-1", 77_000_000)},
        {"intel-rapl:0": 40.0},
        "package-1, package-0 is missing",
        40.0,
    ),
}


@pytest.mark.parametrize("trace", GOOD)
def test_joules_and_label(trace, tmp_path):
    zones, watts, names, total = GOOD[trace]
    counter, time = found(tree(tmp_path, zones), watts)
    assert isinstance(counter, Counter)
    assert counter.label == COUNTER.format(names)
    assert drawn(counter, time, 1.0) == pytest.approx(total, rel=1e-6)
    assert drawn(counter, time, 2.0) == pytest.approx(2 * total, rel=1e-6)


def test_a_domain_without_its_file_is_named(tmp_path):
    root = tree(tmp_path, TWO)
    (root / "intel-rapl:2" / "energy_uj").unlink()
    counter, time = found(root, {"intel-rapl:0": 40.0})
    assert counter.label == COUNTER.format("package-0, package-1 is missing")
    assert drawn(counter, time, 1.0) == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("zones", "watts", "why"),
    [
        ({}, {}, "no RAPL in"),
        (PARTS, {}, "no package among the zones"),
        (ONE, {}, "package-0 stands still"),
        (TWO, {}, "package-0 stands still; package-1 stands still"),
    ],
)
def test_no_counter_and_why(zones, watts, why, tmp_path):
    counter, _ = found(tree(tmp_path, zones), watts)
    assert isinstance(counter, str) and why in counter


@pytest.mark.parametrize("content", ["", "many\n"])
def test_what_is_no_number_is_no_counter(content, tmp_path):
    root = tree(tmp_path, ONE)
    (root / "intel-rapl:0" / "energy_uj").write_text(content)
    assert rapl(root, lambda s: None) == "package-0 is missing"


def test_a_tree_that_is_not_there():
    assert rapl(Path("/nowhere")).startswith("no RAPL in /nowhere")


@contextlib.contextmanager
def nobody():
    """As another user, where this one is root, to whom nothing is forbidden."""
    own = os.geteuid()
    try:
        os.seteuid(own or 65534)
        yield
    finally:
        os.seteuid(own)


def test_a_counter_that_may_not_be_read():
    with tempfile.TemporaryDirectory() as folder:
        root = tree(Path(folder) / "powercap", TWO)
        Path(folder).chmod(0o755)
        (root / "intel-rapl:0" / "energy_uj").chmod(0)
        (root / "intel-rapl:2" / "energy_uj").chmod(0o444)
        with nobody():
            part = rapl(root, lambda s: None)
        (root / "intel-rapl:2" / "energy_uj").chmod(0)
        with nobody():
            none = rapl(root, lambda s: None)
    told = [f"package-{n} may not be read: sudo chmod a+r" for n in (0, 1)]
    assert told[0] in none and told[1] in none
    assert told[0] in part and "package-1 stands still" in part


def test_part_of_a_counter_that_may_be_read_is_named_as_a_part():
    with tempfile.TemporaryDirectory() as folder:
        root = tree(Path(folder) / "powercap", TWO)
        Path(folder).chmod(0o755)
        (root / "intel-rapl:0" / "energy_uj").chmod(0)
        open_ = root / "intel-rapl:2" / "energy_uj"
        open_.chmod(0o666)
        time = Watts(root, {"intel-rapl:2": 25.0})
        with nobody():
            counter = rapl(root, time.wait)
            assert drawn(counter, time, 1.0) == pytest.approx(25.0)
    assert "package-1, package-0 may not be read: sudo chmod a+r" in counter.label


@pytest.mark.parametrize(
    ("happens", "code"),
    [
        (lambda path, time: time.watts.clear(), "energy-stalled"),
        (lambda path, time: path.unlink(), "energy-lost"),
        (lambda path, time: path.write_text("-"), "energy-lost"),
        (lambda path, time: path.write_text("0"), "energy-backwards"),
    ],
    ids=["stall", "gone", "garbage", "reset"],
)
def test_a_counter_that_fails_in_the_window_gives_no_joules(happens, code, tmp_path):
    counter, time = found(tree(tmp_path, ONE), {"intel-rapl:0": 40.0})
    before, tally = counter.read(), Tally(counter, time.clock)
    time.wait(2.0)
    assert tally.joules() == pytest.approx(80.0)
    happens(tmp_path / "intel-rapl:0" / "energy_uj", time)
    time.now += 2.0
    with pytest.raises(MeasurementError) as caught:
        counter.between(tally._last, counter.read(), 2.0)
    assert caught.value.code == code
    assert tally.joules() is None
    time.watts["intel-rapl:0"] = 40.0
    assert tally.joules() is None  # nor does it ever come back
    assert before


def test_without_its_span_a_counter_that_falls_gives_no_joules(tmp_path):
    zones = {"intel-rapl:0": ("package-0", SPAN_UJ - 10_000_000)}
    root = tree(tmp_path, zones)
    (root / "intel-rapl:0" / "max_energy_range_uj").unlink()
    counter, time = found(root, {"intel-rapl:0": 40.0})
    with pytest.raises(MeasurementError, match="fell from"):
        drawn(counter, time, 1.0)


def test_a_virtual_machine_is_told_by_its_flag(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: X\nflags\t\t: fpu vme hypervisor lahf_lm\n")
    assert virtual(cpuinfo)
    cpuinfo.write_text("model name\t: hypervisor\nflags\t\t: fpu vme\n")
    assert not virtual(cpuinfo)
    assert not virtual(tmp_path / "nowhere")
