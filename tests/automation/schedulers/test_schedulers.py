"""Schedulers: ladders, who goes on, what is left for good; pure, and cheap."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.automation._points import nondominated
from paretune.automation.schedulers._halving import ladder
from paretune.automation.schedulers._promise import Promise
from paretune.automation.schedulers.full_length import FullLength
from paretune.automation.schedulers.hyperband import Hyperband
from paretune.automation.schedulers.successive_halving import SuccessiveHalving
from paretune.core.budget import Budget
from paretune.core.measurement import Measurement
from paretune.core.strategy import History, Objective
from paretune.core.trial import HALTED, OK, Trial

AXES = (Objective("accuracy", "higher"), Objective("size", "lower"))
SHARES = SuccessiveHalving(epochs=6).rungs(0)


def figure(metric, value):
    unit, better = ("B", "lower") if metric == "size" else ("1", "higher")
    return Measurement(metric, unit, better, (float(value),), "exact")


def trial(number, qualities, size=100.0, final=None):
    """Halted after these qualities, or finished with `final`."""
    rungs = tuple(
        {"share": share, "epochs": 6 * share, "quality": {"accuracy": q}, "cpu_s": 1.0}
        for share, q in zip(SHARES, qualities, strict=False)
    )
    figures = {"size": figure("size", size)}
    if final is not None:
        figures["accuracy"] = figure("accuracy", final)
    state = HALTED if final is None else OK
    return Trial(number, (), state, figures, rungs=rungs)


def history(*trials, **more):
    base = trial(0, (), 1000.0, 0.9)
    return History(AXES, (base, *trials), **more)


@given(st.integers(1, 100), st.integers(2, 5))
def test_a_ladder_ascends_to_the_end_and_no_rung_is_below_half_an_epoch(epochs, eta):
    found = ladder(epochs, eta)
    assert found[-1] == 1.0
    assert list(found) == sorted(set(found))
    assert min(found) * epochs >= 0.5 - 1e-9
    assert len(found) == 1 or min(found) * epochs < 0.5 * eta + 1e-9
    assert epochs > 2 or found == (1.0,)


def test_full_length_halts_nothing():
    full = FullLength(epochs=50)
    assert full.rungs(7) == (1.0,)
    assert full.promote(history(trial(1, [0.5]))) is None


def test_the_first_goes_on_and_then_one_of_three():
    halving = SuccessiveHalving(epochs=6)
    assert halving.promote(history()) is None
    assert halving.promote(history(trial(1, [0.5]))) == 1
    first = trial(1, [0.5, 0.6])
    assert halving.promote(history(first)) == 1  # to the end
    first = trial(1, [0.5, 0.6], final=0.7)
    others = [trial(n, [0.5 + n / 100]) for n in range(2, 6)]
    assert halving.promote(history(first, *others)) is None
    assert halving.promote(history(first, *others, trial(6, [0.1]))) == 5


def test_a_trial_that_trains_on_takes_a_place_and_is_not_promoted_again():
    halving = SuccessiveHalving(epochs=6)
    climbing = trial(1, [0.5])
    asked = history(trial(2, [0.4]), reopened=(climbing,))
    assert halving.promote(asked) is None


def test_the_one_goes_on_that_may_add_most_to_the_frontier():
    halving = SuccessiveHalving(epochs=6)
    gone = trial(1, [0.9, 0.95], size=100, final=0.95)
    like, small = trial(2, [0.89], size=99), trial(3, [0.8], size=10)
    beaten = [trial(n, [0.5], size=200 + n) for n in range(4, 7)]
    assert halving.promote(history(gone, like, small, *beaten)) == 3


def test_while_few_have_gone_on_whoever_may_add_something_does():
    halving = SuccessiveHalving(epochs=6)
    budget = Budget.parse("accuracy>=baseline-5pt", ["accuracy"])
    ended = [trial(1, [0.6, 0.7], 100, 0.9)]
    able, poor = trial(2, [0.58], size=50), trial(3, [0.4], size=10)
    assert halving.promote(history(*ended, poor, budget=budget)) is None
    assert halving.promote(history(*ended, poor, able, budget=budget)) == 2
    ended += [trial(n, [0.6, 0.7], 100 + n, 0.9) for n in (4, 5, 6)]
    assert halving.promote(history(*ended, able, budget=budget)) is None


def test_what_can_no_longer_keep_the_quality_asked_for_is_left():
    budget = Budget.parse("accuracy>=baseline-5pt", ["accuracy"])
    ended = [trial(n, [0.6, 0.7], 100 + n, 0.88 + n / 500) for n in range(1, 5)]
    waiting = [trial(n, [0.4], 10) for n in range(5, 25)]
    asked = history(*ended, *waiting, budget=budget)
    assert SuccessiveHalving(6).promote(asked) is None
    assert SuccessiveHalving(6, curves=False).promote(asked) == 5


def test_what_breaks_the_budget_comes_last():
    halving = SuccessiveHalving(epochs=6)
    budget = Budget.parse("size<=50B", ["accuracy"])
    trials = trial(1, [0.9], size=100), trial(2, [0.5], size=40)
    assert halving.promote(history(*trials, budget=budget)) == 2
    assert halving.promote(history(trials[0], budget=budget)) == 1


def test_a_curve_that_cannot_reach_the_frontier_is_left_unless_switched_off():
    done = [trial(n, [0.6, 0.7], 50, 0.8 + n / 1000) for n in range(1, 5)]
    waiting = [trial(n, [0.3], 60) for n in range(5, 16)]
    assert SuccessiveHalving(6, curves=True).promote(history(*done, *waiting)) is None
    off = SuccessiveHalving(6, curves=False)
    assert off.promote(history(*done, *waiting)) in range(5, 16)
    few = history(*done[:3], *waiting)  # nothing is said by three
    assert SuccessiveHalving(6, curves=True).promote(few) in range(5, 16)
    smaller = [trial(n, [0.65], 5) for n in range(5, 16)]
    assert SuccessiveHalving(6).promote(history(*done, *smaller)) in range(5, 16)


def test_hyperband_uses_every_bracket_and_compares_within_one():
    band = Hyperband(epochs=6)
    lengths = [len(band.rungs(n)) for n in range(300)]
    assert lengths.count(3) > lengths.count(2) > lengths.count(1) > 10
    assert all(set(band.rungs(n)) <= set(ladder(6, 3)) for n in range(30))
    assert [band.rungs(n) for n in range(9)] == [band.rungs(n) for n in range(9)]


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=30))
def test_nondominated_is_what_no_other_row_beats(rows):
    figures = np.array(rows, float)
    slow = [not any((b <= a).all() and (b < a).any() for b in figures) for a in figures]
    assert nondominated(figures).tolist() == slow


def test_a_figure_that_is_missing_or_not_a_number_is_the_worst():
    halving = SuccessiveHalving(epochs=6)
    asked = history(trial(1, [float("nan")]), trial(2, [0.2]))
    assert halving.promote(asked) == 2


@pytest.mark.parametrize("scheduler", [SuccessiveHalving(6), Hyperband(6)])
def test_ten_thousand_trials_are_cheap(scheduler):
    rng = np.random.default_rng(0)
    trials = [
        trial(n, [rng.uniform()], size=rng.uniform(10, 100)) for n in range(1, 10_001)
    ]
    asked = history(*trials)
    begin = time.process_time()
    assert scheduler.promote(asked) is not None
    assert time.process_time() - begin < 1.0


def test_a_footprint_that_only_the_end_tells_speaks_against_nobody():
    axes = (AXES[0], Objective("transfer_size", "lower"))
    ended = [trial(n, [0.8], final=0.9) for n in range(1, 6)]
    size = figure("transfer_size", 50.0)
    ended = [
        replace(t, measurements={**t.measurements, "transfer_size": size})
        for t in ended
    ]
    waiting = [trial(n, [0.5]) for n in (6, 7)]
    told = History(axes, (trial(0, (), 1000.0, 0.9), *ended, *waiting))
    assert Promise(waiting, told, 0).hopeful() == waiting
