"""Joules from totals that begin again: right, or an error; never 0 J, nor less."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import MeasurementError
from paretune.measurement._counters import MOST_W, Counter, Domain, Tally

SPAN = 65_712.0  # J, of a real EPYC


class Machine:
    """A domain that draws what it is told to, on a clock of its own."""

    def __init__(self, total: float, span: float = SPAN) -> None:
        self.now, self.total, self.span = 0.0, total, span
        self.drawn = 0.0

    def counter(self, still_s: float = 0.1) -> Counter:
        domain = Domain("package-0", lambda: self.total, self.span)
        return Counter("rapl", "counter", (domain,), 1.0, still_s)

    def clock(self) -> float:
        return self.now

    def draw(self, watts: float, seconds: float) -> None:
        self.now += seconds
        self.drawn += watts * seconds
        self.total = (self.total + watts * seconds) % self.span


@settings(max_examples=60, deadline=None)
@given(
    start=st.floats(0.0, SPAN * 0.999),
    pieces=st.lists(
        st.tuples(st.floats(0.5, 1_900.0), st.floats(0.2, 30.0)),
        min_size=1,
        max_size=60,
    ),
)
def test_a_tally_adds_up_whatever_begins_again(start, pieces):
    machine = Machine(start)
    tally = Tally(machine.counter(), machine.clock)
    for watts, seconds in pieces:
        machine.draw(watts, seconds)
        tally.joules()
    machine.draw(100.0, 2.0)  # a tally looks once a second at most
    assert tally.joules() == pytest.approx(machine.drawn, rel=1e-6)


@settings(max_examples=200, deadline=None)
@given(
    before=st.floats(0.0, SPAN),
    after=st.floats(0.0, SPAN),
    seconds=st.floats(0.1, 1e4),
    span=st.sampled_from([0.0, SPAN]),
)
def test_two_readings_give_joules_or_an_error(before, after, seconds, span):
    counter = Machine(0.0, span).counter()
    try:
        joules = counter.between((before,), (after,), seconds)
    except MeasurementError as error:
        assert error.code.startswith("energy-")
    else:
        assert joules > 0
        assert not span or joules <= MOST_W * seconds


def test_too_long_between_readings_to_tell_how_often_it_began_again():
    machine = Machine(10.0)
    tally = Tally(machine.counter(), machine.clock)
    machine.draw(100.0, SPAN / MOST_W + 1.0)
    assert tally.joules() is None


def test_a_tally_without_a_joule_yet_has_none():
    machine = Machine(10.0)
    tally = Tally(machine.counter(), machine.clock)
    assert tally.joules() is None
    machine.draw(50.0, 0.5)
    assert tally.joules() == pytest.approx(25.0)


def test_one_bad_domain_spoils_the_sum():
    good, bad = Machine(0.0), Machine(0.0)
    domains = tuple(
        Domain(name, lambda m=m: m.total, SPAN) for name, m in (("a", good), ("b", bad))
    )
    counter = Counter("rapl", "counter", domains, 1.0, 0.1)
    before = counter.read()
    good.draw(30.0, 1.0)
    with pytest.raises(MeasurementError, match="counter b has not moved"):
        counter.between(before, counter.read(), 1.0)
