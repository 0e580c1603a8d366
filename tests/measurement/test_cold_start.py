"""Load and first call, from fresh processes."""

import pytest

from paretune.catalog import usable_runtime
from paretune.core.meter import Subject
from paretune.engine import launches
from paretune.measurement.cold_start import ColdStart
from tests.measurement.artifacts import TARGET, Numbers, sleeper
from tests.measurement.test_timing import Machine


def test_load_and_first_call_are_added_and_paired_with_the_baseline():
    machine = Machine()
    start = machine.start("one", 0.001)
    subject = Subject(None, TARGET, None, None, lambda empty: start())
    ((measured,),) = ColdStart("full").measure([subject], subject)
    assert measured.values == pytest.approx([0.6] * 6)
    assert measured.ratios == pytest.approx([1.0] * 6)
    assert machine.most == 1  # a start is never timed beside another
    assert machine.open == 0


def test_the_first_call_of_a_real_process_is_in_it(tmp_path):
    launches.write_inputs(Numbers(), TARGET, tmp_path / "inputs.npz")
    slow = launches.subject(
        usable_runtime("null"),
        sleeper(tmp_path, 0.2),
        TARGET,
        Numbers(),
        tmp_path / "inputs.npz",
    )
    ((measured,),) = ColdStart().measure([slow], slow)
    assert 0.2 < measured.value < 0.4
