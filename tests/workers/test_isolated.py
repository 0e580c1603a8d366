"""A worker may die in any way; the caller gets one word for it and goes on."""

import os
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paretune.core.errors import StoreError, TaskError
from paretune.core.target import Target
from paretune.core.worker import Job, WorkFailed
from paretune.store._files import workspace
from paretune.workers import _memory, _process, _serve
from paretune.workers.isolated import Isolated
from tests.toys import ConvNet


class Hostile(ConvNet):
    """Misbehaves in model() as the environment says."""

    def model(self):
        act = os.environ["HOSTILE"]
        if act == "child that stays" and os.fork() == 0:
            time.sleep(600)
        if act in ("segfault", "child that stays"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if act == "killed for memory":
            (Path(os.environ["PROC"]) / "vmstat").write_text("oom_kill 1\n")
            os.kill(os.getpid(), signal.SIGKILL)
        if act == "bad_alloc":
            os.write(2, b"terminate called ... 'std::bad_alloc'\n")
            os.abort()
        if act == "abort":
            os.abort()
        if act == "exit":
            os._exit(3)
        if act == "sys.exit":
            sys.exit("bye")
        if act == "hang":
            time.sleep(600)
        if act == "memory":
            raise MemoryError
        if act == "shout":
            os.write(1, b"x" * 100_000_000)
        if act == "child" and os.fork() == 0:
            time.sleep(600)
        return super().model()


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """Measurements elsewhere on this machine don't hold these tests up."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


@pytest.fixture
def worker(tmp_path, monkeypatch):
    monkeypatch.setenv("HOSTILE", "nothing")
    made = Isolated(job(tmp_path), lambda *_: None)
    yield made
    made.close()


def job(tmp_path):
    return Job(None, Target(), tmp_path / "store", task=Hostile())


@pytest.fixture
def slow_fork(monkeypatch):
    """Whoever starts a worker is late in doing so, which shows the races."""
    fork = os.fork

    def late():
        time.sleep(0.3)
        return fork()

    monkeypatch.setattr(os, "fork", late)


@pytest.mark.parametrize(
    ("act", "word"),
    [
        ("segfault", "crash(SIGSEGV)"),
        ("child that stays", "crash(SIGSEGV)"),
        ("kill", "crash(SIGKILL)"),
        ("bad_alloc", "oom"),
        ("abort", "crash(SIGABRT)"),
        ("exit", "crash(exit 3)"),
        ("hang", "timeout"),
    ],
)
def test_a_lost_worker_is_named_and_replaced(worker, monkeypatch, act, word):
    monkeypatch.setenv("HOSTILE", act)  # a worker is forked at its first operation
    begin = time.monotonic()
    with pytest.raises(WorkFailed) as failed:
        worker.do("preflight", {}, timeout_s=4)
    assert failed.value.word == word and failed.value.lost
    assert time.monotonic() - begin < 4 + 5
    (log,) = (worker.job.root / "logs").iterdir()
    assert str(log) in failed.value.message
    monkeypatch.setenv("HOSTILE", "nothing")
    assert worker.do("describe", {})["name"] == "convnet"


def test_a_loss_is_noticed_where_the_kernel_can_not_tell_of_it(worker, monkeypatch):
    monkeypatch.setattr(_process, "_watch", lambda pid: None)
    test_a_lost_worker_is_named_and_replaced(
        worker, monkeypatch, "child that stays", "crash(SIGSEGV)"
    )


@pytest.mark.parametrize("before", [0, 1])
def test_a_kill_is_for_memory_if_the_kernel_counted_one(
    worker, tmp_path, monkeypatch, before
):
    monkeypatch.setattr(_memory, "PROC", tmp_path)
    monkeypatch.setenv("PROC", str(tmp_path))
    monkeypatch.setenv("HOSTILE", "killed for memory")
    (tmp_path / "vmstat").write_text(f"pgfault 7\noom_kill {before}\n")
    with pytest.raises(WorkFailed) as failed:
        worker.do("preflight", {})
    assert failed.value.word == ("crash(SIGKILL)" if before else "oom")


def test_the_kernel_counts_kills_for_memory():
    assert _memory.oom_kills() >= 0
    assert (_memory.PROC / "vmstat").exists() == (sys.platform == "linux")


@pytest.mark.parametrize(
    ("act", "word"), [("memory", "oom"), ("sys.exit", "error"), ("shout", None)]
)
def test_a_worker_that_survives_goes_on(worker, monkeypatch, act, word):
    monkeypatch.setenv("HOSTILE", act)
    if word is None:
        worker.do("preflight", {})
    else:
        with pytest.raises((WorkFailed, TaskError)) as failed:
            worker.do("preflight", {})
        assert getattr(failed.value, "word", "error") == word
    assert worker.do("describe", {})["name"] == "convnet"


def test_what_a_worker_started_ends_with_it(worker, monkeypatch):
    monkeypatch.setenv("HOSTILE", "child")
    worker.do("preflight", {})
    group = worker._process.pid
    worker.close()
    assert gone(group)


def gone(group: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and alive(group):
        time.sleep(0.05)
    return not alive(group)


def alive(group: int) -> bool:
    """Whether any process of the group still runs (a zombie does not)."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            return True
    return False


def test_a_task_in_memory_is_handed_down_by_a_fork(tmp_path):
    job = Job(None, Target(), tmp_path, task=ConvNet())
    worker = Isolated(job, lambda *_: None)
    try:
        assert worker.do("describe", {})["name"] == "convnet"
        assert worker.do("preflight", {})["samples"] == ConvNet.counts
        assert worker._process.pid != os.getpid()
    finally:
        worker.close()


def test_the_users_own_error_comes_back_with_its_place(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("x = 1\ny = x / 0\n")
    worker = Isolated(Job(str(path), Target(), tmp_path), lambda *_: None)
    try:
        with pytest.raises(TaskError, match=r"broken\.py:2") as raised:
            worker.do("describe", {})
        assert "y = x / 0" in raised.value.details
    finally:
        worker.close()


def test_progress_is_passed_on_and_a_closed_worker_is_stopped(tmp_path):
    worker = Isolated(Job(None, Target(), tmp_path, task=ConvNet()), lambda *_: None)
    worker.do("describe", {})
    worker.close()
    with pytest.raises(WorkFailed) as failed:
        worker.do("describe", {})
    assert failed.value.word == "stopped"


def test_nothing_is_left_of_a_closed_worker(worker, tmp_path):
    before = handles()
    worker.do("preflight", {})
    scratch = worker.job.root / "scratch"
    assert len(list(scratch.glob("*/inputs.npz"))) == 1
    pid = worker._process.pid
    worker.close()
    assert not list(scratch.iterdir()) and not (worker.job.root / "logs").exists()
    locks = f"paretune-{os.getuid()}"
    assert [p.name for p in (tmp_path / "temporary").iterdir()] == [locks]
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    assert handles() == before


def test_nothing_but_the_log_is_left_of_a_lost_worker(worker, monkeypatch):
    before = handles()
    monkeypatch.setenv("HOSTILE", "segfault")
    with pytest.raises(WorkFailed):
        worker.do("preflight", {})
    assert not list((worker.job.root / "scratch").iterdir())
    assert "model" in next((worker.job.root / "logs").iterdir()).read_text()
    assert handles() == before


def handles() -> set[str]:
    return {p.name for p in Path("/proc/self/fd").iterdir() if p.exists()}


def test_leftovers_of_the_dead_are_swept(worker):
    scratch = worker.job.root / "scratch"
    (scratch / "dead").mkdir(parents=True)
    (scratch / "dead" / "inputs.npz").touch()
    with workspace(scratch) as living:
        worker.do("describe", {})
        assert living.exists() and not (scratch / "dead").exists()


def test_a_worker_that_is_closed_while_it_starts_ends(worker, slow_fork):
    failed = []

    def use():
        with pytest.raises(WorkFailed) as caught:
            worker.do("describe", {})
        failed.append(caught.value)

    thread = threading.Thread(target=use)
    thread.start()
    time.sleep(0.1)
    worker.close()
    thread.join(10)
    assert failed[0].word == "stopped"
    assert worker._process is None
    assert not list((worker.job.root / "scratch").iterdir())


def test_workers_that_start_side_by_side_hold_nothing_of_each_other(
    tmp_path, monkeypatch, slow_fork
):
    """Not even where only the end of the pipe tells of a death."""
    monkeypatch.setattr(_process.Process, "_ended", lambda *_: False)
    monkeypatch.setattr(_process, "_watch", lambda pid: None)
    monkeypatch.setattr(_process, "DEATH_S", 0.0)
    monkeypatch.setenv("HOSTILE", "nothing")
    pair = [Isolated(job(tmp_path), lambda *_: None) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        uses = []
        for worker in pair:
            uses.append(threads.submit(worker.do, "describe", {}))
            time.sleep(0.1)
        for use in uses:
            use.result()
        try:
            for worker in reversed(pair):  # the first to start saw both pipes
                os.kill(worker._process.pid, signal.SIGSEGV)
                with pytest.raises(WorkFailed) as failed:
                    worker.do("describe", {}, timeout_s=2)
                assert failed.value.word != "timeout"
        finally:
            for worker in pair:
                worker.close()


def test_a_worker_outlives_the_thread_that_first_used_it(worker):
    thread = threading.Thread(target=worker.do, args=("describe", {}))
    thread.start()
    thread.join()
    first = worker._process.pid
    time.sleep(0.2)
    assert worker.do("describe", {})["name"] == "convnet"
    assert worker._process.pid == first


def test_workers_start_in_a_forked_process_too(tmp_path, monkeypatch, worker):
    worker.do("describe", {})  # the thread that starts workers is there, but here only
    pid = os.fork()
    if not pid:
        signal.alarm(20)
        code = 1
        try:
            other = Isolated(job(tmp_path), lambda *_: None)
            code = 0 if other.do("describe", {})["name"] == "convnet" else 2
            other.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_worker_whose_parent_died_before_it_could_ask_ends():
    pid = os.fork()
    if not pid:
        try:
            _serve.die_with(os.getpid())  # anybody but its parent
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_a_store_that_can_not_be_written_to_is_named(worker):
    worker.job.root.mkdir()
    (worker.job.root / "scratch").touch()
    before = handles()
    with pytest.raises(StoreError, match="store-foreign"):
        worker.do("describe", {})
    assert handles() == before


def test_an_error_of_the_progress_display_is_its_own(worker):
    """Even one that looks like a lost worker; and the next answer is the right one."""

    def broken(what, share):
        raise BrokenPipeError(what)

    worker.progress = broken
    with pytest.raises(BrokenPipeError, match="test split"):
        worker.do("certify", {"artifacts": ["0" * 64]})
    assert worker.do("describe", {})["name"] == "convnet"
