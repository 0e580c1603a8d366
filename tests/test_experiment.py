"""What an experiment makes of measurements."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.budget import Budget
from paretune.core.measurement import Measurement
from paretune.core.trial import OK, Trial
from paretune.experiment import DRIFTED, Experiment
from paretune.ledger import Ledger

SPREAD = np.exp(0.004 * np.array([-1, 1, -1, 1, -1, 1]))


def timed(seconds, baseline_s, flags=()):
    return Measurement(
        "latency_p50",
        "s",
        "lower",
        tuple(seconds * SPREAD),
        "launches",
        tuple(SPREAD),
        flags=flags,
        detail={"baseline_s": list(baseline_s * SPREAD)},
    )


def experiment(first):
    baseline = Trial(0, (), OK, {"latency_p50": first})
    return Experiment("", Budget(), (), Ledger(1), baseline=baseline)


@settings(deadline=None)
@given(drift=st.floats(0.5, 2.0))
def test_a_host_that_is_another_now_is_flagged_and_no_other(drift):
    size = Measurement("size", "byte", "lower", (5.0,), "exact")
    taken = {"latency_p50": timed(0.001, 0.002 * drift), "size": size}
    marked = experiment(timed(0.002, 0.002))._marked(taken)
    far = abs(np.log(drift)) > 0.02
    assert (DRIFTED in marked["latency_p50"].flags) == far
    assert marked["size"] == size
    assert marked["latency_p50"].ratios == taken["latency_p50"].ratios


@pytest.mark.parametrize("flags", [(("screening",), ()), ((), ("screening",))])
def test_a_screening_is_too_coarse_to_tell(flags):
    before, now = flags
    taken = {"latency_p50": timed(0.001, 0.004, now)}
    assert experiment(timed(0.002, 0.002, before))._marked(taken) == taken
