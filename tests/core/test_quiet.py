"""Many may work, or one may measure."""

import os
import threading
import time

import pytest

from paretune.core.errors import StoreError
from paretune.core.quiet import Quiet


def test_a_measurement_waits_for_workers_to_give_way(tmp_path):
    log, stop = [], threading.Event()

    def work(name):
        with Quiet(tmp_path).working() as give_way:
            while not stop.is_set():
                log.append(name)
                time.sleep(0.002)
                give_way()

    workers = [threading.Thread(target=work, args=(n,)) for n in "ab"]
    for worker in workers:
        worker.start()
    time.sleep(0.05)
    with Quiet(tmp_path).measuring():
        before = len(log)
        time.sleep(0.05)
        assert len(log) == before, "somebody worked during a measurement"
    time.sleep(0.05)
    assert len(log) > before, "the workers did not go on afterwards"
    stop.set()
    for worker in workers:
        worker.join()


def test_workers_run_side_by_side(tmp_path):
    with Quiet(tmp_path).working(), Quiet(tmp_path).working() as give_way:
        give_way()


def test_one_measures_at_a_time(tmp_path):
    order = []

    def measure(name):
        with Quiet(tmp_path).measuring():
            order.append(name)
            time.sleep(0.02)
            order.append(name)

    threads = [threading.Thread(target=measure, args=(n,)) for n in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert order[0::2] == order[1::2]


@pytest.fixture
def somebody():
    """Anybody but root, who may do everything."""
    if os.getuid() == 0:
        os.seteuid(65534)
    yield
    os.seteuid(os.getuid())


def test_a_lock_folder_of_another_user_is_named(tmp_path, request):
    folder = tmp_path / "locks"
    quiet = Quiet(folder)
    folder.chmod(0)
    request.getfixturevalue("somebody")
    with pytest.raises(StoreError, match="lock-folder") as refused, quiet.working():
        pass
    assert str(folder) in refused.value.message


def test_a_file_in_place_of_the_lock_folder_is_named(tmp_path):
    (tmp_path / "locks").touch()
    with pytest.raises(StoreError, match="lock-folder"):
        Quiet(tmp_path / "locks")
