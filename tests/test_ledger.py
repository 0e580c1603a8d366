"""The ledger books all of the wall time, to work or to overhead."""

import subprocess
import sys
import threading
import time

import pytest

from paretune.ledger import Ledger
from paretune.measurement._counters import Counter, Domain
from paretune.measurement._power import Power


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


def test_processor_time_is_no_part_of_the_wall_time_of_an_operation():
    ledger = Ledger(slots=1)
    with ledger.busy() as book:
        time.sleep(0.05)
        book({"train_s": 0.02, "cpu_s": 40.0})
    costs = ledger.costs()
    assert costs["cpu_s"] == 40.0
    assert costs["overhead_s"] == pytest.approx(0.03, abs=0.03)


def test_processor_time_is_this_processs_and_its_childrens():
    ledger = Ledger(slots=1)
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    children = ledger.costs()["cpu_s"]
    assert children >= 0.3
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert ledger.costs()["cpu_s"] >= children + 0.1
    assert not [name for name in ledger.costs() if name.endswith("_j")]


def test_an_estimate_is_processor_time_by_the_watts_of_a_thread():
    ledger = Ledger(1, Power(4.0, 8, "assumed"))
    with ledger.busy() as book:
        book({"cpu_s": 25.0})
    assert ledger.costs()["estimate_j"] == pytest.approx(100.0)


def test_a_counter_is_read_from_the_beginning_to_the_end():
    total = [500.0]
    domain = Domain("package-0", lambda: total[0], 65_712.0)
    ledger = Ledger(1, Counter("rapl", "counter", (domain,), 1.0, 0.1))
    total[0] += 3.0
    costs = ledger.costs()
    assert costs["rapl_j"] == pytest.approx(3.0) and "estimate_j" not in costs


def test_a_counter_that_fails_is_replaced_by_an_estimate_of_that_name():
    total = [500.0]
    domain = Domain("package-0", lambda: total[0], 65_712.0)
    ledger = Ledger(1, Counter("rapl", "counter", (domain,), 1.0, 0.01))
    total[0] += 3.0
    assert "rapl_j" in ledger.costs()
    total[0] = 0.0  # it would have had to rise by 65 kJ
    time.sleep(1.05)
    with ledger.busy() as book:
        book({"cpu_s": 25.0})
    costs = ledger.costs()
    assert "rapl_j" not in costs and costs["estimate_j"] > 0
