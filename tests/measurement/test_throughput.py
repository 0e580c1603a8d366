"""Samples a second on launches whose time is known."""

import pytest

from paretune.core.meter import Subject
from paretune.core.target import Target
from paretune.measurement.throughput import Throughput
from tests.measurement.test_timing import Machine


def test_samples_of_the_whole_batch_count():
    machine = Machine()
    target = Target(runtime="null", batch=32, scenario="offline")
    slow, fast = (
        Subject(None, target, None, None, lambda empty, s=start: s())
        for start in (machine.start("slow", 0.02), machine.start("fast", 0.01))
    )
    ((measured,),) = Throughput("screening").measure([fast], slow)
    assert measured.value == pytest.approx(3200)
    assert measured.ratio[0] == pytest.approx(2.0)
    assert measured.better == "higher"
    assert measured.flags == ("screening",)
