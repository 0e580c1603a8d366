"""The ledger books all of the wall time, to work or to overhead."""

import threading
import time

import pytest

from paretune.ledger import Ledger


def test_time_without_an_operation_is_overhead():
    ledger = Ledger(slots=1)
    time.sleep(0.05)
    with ledger.busy() as book:
        time.sleep(0.1)
        book({"train_s": 0.1})
    costs = ledger.costs()
    assert costs["train_s"] == 0.1
    assert 0.05 <= costs["overhead_s"] < 0.1
    assert costs["wall_s"] >= 0.15


def test_what_an_operation_does_not_account_for_is_overhead():
    ledger = Ledger(slots=1)
    with ledger.busy() as book:
        time.sleep(0.1)  # such as a worker that starts
        book({"train_s": 0.02})
    assert ledger.costs()["overhead_s"] == pytest.approx(0.08, abs=0.03)


def test_an_operation_that_fails_is_overhead():
    ledger = Ledger(slots=1)
    with pytest.raises(RuntimeError), ledger.busy():
        time.sleep(0.05)
        raise RuntimeError
    assert ledger.costs()["overhead_s"] >= 0.05


def test_slots_that_work_side_by_side_share_the_wall():
    ledger = Ledger(slots=2)

    def slot():
        with ledger.busy() as book:
            time.sleep(0.1)
            book({"train_s": 0.1})

    threads = [threading.Thread(target=slot) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    costs = ledger.costs()
    assert costs["train_s"] == pytest.approx(0.2)
    assert costs["overhead_s"] < 0.1


def test_the_usual_trial_is_that_of_late():
    ledger = Ledger(slots=1)
    assert ledger.usual_trial_s == 0.0
    for seconds in (100.0, *[10.0] * 6):
        ledger.trial(seconds)
    assert ledger.usual_trial_s == 10.0
