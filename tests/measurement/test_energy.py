"""Joules of a call, by each tier, and the label that each of them carries."""

import threading
import time

import pytest

from paretune.catalog import usable_runtime
from paretune.core.errors import MeasurementError, UnavailableError
from paretune.core.meter import Subject
from paretune.core.target import Target
from paretune.engine import launches
from paretune.measurement import _energy
from paretune.measurement._counters import Counter, Domain
from paretune.measurement._power import Power
from paretune.measurement._rapl import rapl
from paretune.measurement.energy import Energy
from tests.measurement.artifacts import TARGET, Numbers, sleeper
from tests.measurement.powercap import tree
from tests.measurement.test_timing import Machine

IDLE_W = 10.0
BUSY_W = {"slow": 50.0, "fast": 30.0}


class Drawing(Machine):
    """A simulated machine with a counter: it idles at 10 W and works at more."""

    def __post_init__(self):
        super().__post_init__()
        self.drawn = 0.0
        self.slept = 0.0

    def clock(self):
        return self.now + self.slept

    def wait(self, seconds):
        self.slept += seconds
        self.drawn += IDLE_W * seconds

    def draws(self, name, seconds):
        """Starts launches that draw what their name says."""
        start = self.start(name, seconds)

        def begin():
            launch = start()
            block = launch.block

            def counted(calls, first=0, span=0):
                times = block(calls, first, span)
                self.drawn += BUSY_W[name] * sum(times)
                return times

            launch.block = counted
            return launch

        return begin

    def counter(self):
        domain = Domain("package-0", lambda: self.drawn, 65_712.0)
        return Counter("rapl", "counter", (domain,), 1.0, 0.1)

    def meter(self, protocol="screening"):
        made = Energy(protocol, clock=self.clock, wait=self.wait)
        made.gauge = self.counter()
        return made


def subject(start, target=TARGET):
    return Subject(None, target, None, None, lambda empty: start())


def test_all_that_a_call_draws_and_what_is_left_above_idle():
    machine = Drawing()
    slow = subject(machine.draws("slow", 0.02))
    fast = subject(machine.draws("fast", 0.01))
    same, quick = machine.meter("full").measure([slow, fast], slow)
    ((same,), (quick,)) = same, quick
    assert quick.value == pytest.approx(30.0 * 0.01)
    assert quick.ratio[0] == pytest.approx(0.3)
    assert quick.detail["net_j"] == pytest.approx([20.0 * 0.01] * 6)
    assert quick.detail["idle_w"] == pytest.approx([IDLE_W] * 6)
    assert quick.detail["watts"] == pytest.approx([30.0] * 6)
    assert min(quick.detail["window_s"]) >= 1.0
    assert quick.flags == (
        "energy: counter (rapl package-0), idle included",
        "energy: 0.2 J of it above idle",
    )
    assert (quick.detail["tier"], quick.detail["domains"]) == ("counter", ["package-0"])
    assert same.value == pytest.approx(1.0) and same.ratio[0] == pytest.approx(1.0)
    assert machine.most == 1 and machine.open == 0  # one process at a time


def test_what_is_within_idle_is_not_called_less_than_nothing(monkeypatch):
    machine = Drawing()
    monkeypatch.setitem(BUSY_W, "fast", 4.0)
    fast = subject(machine.draws("fast", 0.01))
    ((taken,),) = machine.meter().measure([fast], fast)
    assert taken.value == pytest.approx(4.0 * 0.01)
    assert taken.detail["net_j"] == [None, None]
    assert {"screening", "energy: not above idle"} <= {*taken.flags}


def test_a_counter_that_stands_still_gives_no_figure():
    machine = Drawing()
    meter = machine.meter()
    frozen = Domain("package-0", lambda: 7.0, 65_712.0)
    meter.gauge = Counter("rapl", "counter", (frozen,), 1.0, 0.1)
    fast = subject(machine.draws("fast", 0.01))
    with pytest.raises(MeasurementError, match="has not moved"):
        meter.measure([fast], fast)
    assert machine.open == 0


@pytest.fixture
def sleeping(tmp_path):
    """A real process that takes 5 ms a call."""
    launches.write_inputs(Numbers(), TARGET, tmp_path / "inputs.npz")
    return launches.subject(
        usable_runtime("null"),
        sleeper(tmp_path, 0.005),
        TARGET,
        Numbers(),
        tmp_path / "inputs.npz",
    )


def test_a_real_process_beside_a_counter_that_really_moves(sleeping, tmp_path):
    """50 W all the time: a call of 5 ms or more draws a quarter of a joule or more."""
    root = tree(tmp_path / "powercap", {"intel-rapl:0": ("package-0", 1_000)})
    path, done = root / "intel-rapl:0" / "energy_uj", threading.Event()
    whole = tmp_path / "whole"
    begin = time.monotonic()

    def run():
        while not done.wait(0.001):
            whole.write_text(f"{round(50e6 * (time.monotonic() - begin))}\n")
            whole.replace(path)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        meter = Energy()
        counter = rapl(root)
        meter.gauge = Counter("rapl", "counter", counter.domains, 0.2, 0.1)
        ((taken,),) = meter.measure([sleeping], sleeping)
    finally:
        done.set()
        thread.join()
    windows = zip(taken.detail["window_s"], taken.detail["calls"], strict=True)
    assert taken.values == pytest.approx([50 * s / n for s, n in windows], rel=0.1)
    assert taken.value > 0.24
    assert taken.flags[0] == "energy: counter (rapl package-0), idle included"


def test_the_estimate_is_latency_times_watts_and_says_so():
    machine = Machine()
    target = Target(runtime="null", threads=2)
    slow = subject(machine.start("slow", 0.02), target)
    fast = subject(machine.start("fast", 0.01), target)
    meter = Energy("full")
    meter.gauge = Power(4.0, 8, "4 W a thread assumed")
    ((taken,),) = meter.measure([fast], slow)
    assert taken.value == pytest.approx(2 * 4.0 * 0.01)
    assert taken.ratio[0] == pytest.approx(0.5)
    assert taken.interval.low == pytest.approx(0.5 * taken.value)
    assert taken.interval.high == pytest.approx(1.5 * taken.value)
    assert taken.flags[0] == "energy: estimated, ±50 %"
    assert taken.detail["tier"] == "estimated" and taken.detail["watts"] == 8.0
    assert "assumed" in taken.detail["how"]


@pytest.mark.parametrize("program", [False, True])
def test_a_meter_of_the_users_own(program, tmp_path, monkeypatch):
    path = tmp_path / "joules"
    path.write_text("#!/bin/sh\necho total 12.5\n" if program else "total 12.5\n")
    path.chmod(0o755 if program else 0o644)
    monkeypatch.setenv("PARETUNE_METER", str(path))
    found = _energy.gauge()
    assert (found.tier, found.source, found.read()) == ("metered", "metered", (12.5,))
    assert found.label == "energy: metered (metered joules), idle included"
    path.write_text("#!/bin/sh\necho 20\n" if program else "20\n")
    assert found.between((12.5,), found.read(), 10.0) == 7.5
    path.write_text("#!/bin/sh\necho 3\n" if program else "3\n")
    with pytest.raises(MeasurementError, match=r"fell from 12\.5 J to 3 J"):
        found.between((12.5,), found.read(), 10.0)


@pytest.mark.parametrize("content", ["", "much", "nan", "#!/bin/sh\nexit 3\n"])
def test_a_meter_that_gives_no_number(content, tmp_path, monkeypatch):
    path = tmp_path / "joules"
    path.write_text(content)
    path.chmod(0o755 if content.startswith("#!") else 0o644)
    monkeypatch.setenv("PARETUNE_METER", str(path))
    with pytest.raises(UnavailableError, match="gives no joules"):
        _energy.gauge(estimate=True)  # what a user has named is never passed over
    assert "gives no joules" in _energy.doctored()


def test_without_a_counter_energy_is_refused_or_estimated(monkeypatch):
    monkeypatch.delenv("PARETUNE_METER", raising=False)
    monkeypatch.setattr(_energy, "rapl", lambda: "no RAPL in /sys/class/powercap")
    with pytest.raises(UnavailableError, match="--estimate-energy gives") as caught:
        _energy.gauge()
    assert caught.value.code == "energy-unavailable"
    assert isinstance(_energy.gauge(estimate=True), Power)
    assert _energy.doctored().startswith("estimated only, with --estimate-energy: no")
    with pytest.raises(UnavailableError, match="was taken by 'rapl'"):
        _energy.gauge(estimate=True, source="rapl")


def test_tiers_never_share_an_axis(monkeypatch):
    counter = Drawing().counter()
    monkeypatch.delenv("PARETUNE_METER", raising=False)
    monkeypatch.setattr(_energy, "rapl", lambda: counter)
    assert _energy.gauge(estimate=True) is counter
    assert _energy.gauge(source="rapl") is counter
    assert isinstance(_energy.gauge(source="estimate"), Power)
    with pytest.raises(UnavailableError, match="never share an axis"):
        _energy.gauge(source="metered")


def test_a_graphics_card_is_not_asked_for_the_processors_energy():
    found = _energy.nvml()
    if isinstance(found, str):
        assert found.startswith("no NVIDIA")
    else:
        assert found.source == "nvml" and all(j >= 0 for j in found.read())
