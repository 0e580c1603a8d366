"""A worker may die in any way; the caller gets one word for it and goes on."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from paretune.core.errors import TaskError
from paretune.core.target import Target
from paretune.core.worker import Job, WorkFailed
from paretune.workers.isolated import Isolated
from tests.toys import ConvNet


class Hostile(ConvNet):
    """Misbehaves in model() as the environment says."""

    def model(self):
        act = os.environ["HOSTILE"]
        if act == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
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


@pytest.fixture
def worker(tmp_path, monkeypatch):
    monkeypatch.setenv("HOSTILE", "nothing")
    job = Job(None, Target(), tmp_path / "store", task=Hostile())
    made = Isolated(job, lambda *_: None)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("act", "word"),
    [
        ("segfault", "crash(SIGSEGV)"),
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
    monkeypatch.setenv("HOSTILE", "nothing")
    assert worker.do("describe", {})["name"] == "convnet"


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
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and alive(group):
        time.sleep(0.05)
    assert not alive(group)


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
