"""A journal loses nothing that was appended, wherever it is cut off."""

import errno
import os
import resource
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.errors import StoreError
from paretune.store.journal import Journal, read
from tests.store.faults import fork, result

WRITER = """
import sys
from pathlib import Path
from paretune.store.journal import Journal
with Journal.open(Path(sys.argv[1])) as journal:
    for number in range(10_000):
        journal.append({"number": number})
        print(number, flush=True)
"""


@given(cut=st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_what_is_whole_stays_and_what_is_torn_goes(cut, tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "lines.jsonl"
    with Journal.open(path) as journal:
        for number in range(10):
            journal.append({"number": number, "text": "é" * number})
    content = path.read_bytes()[:cut]
    path.write_bytes(content)
    whole = content.count(b"\n")
    assert [r["number"] for r in read(path)] == list(range(whole))
    with Journal.open(path) as journal:
        journal.append({"number": "new"})
        assert [r["number"] for r in journal.records()] == [*range(whole), "new"]


def test_what_was_said_to_be_kept_is_there_after_a_kill(tmp_path):
    path = tmp_path / "lines.jsonl"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    for _ in range(20):
        said = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    assert [r["number"] for r in read(path)][: said + 1] == list(range(said + 1))


def test_one_at_a_time(tmp_path):
    path = tmp_path / "lines.jsonl"
    with (
        Journal.open(path),
        pytest.raises(StoreError, match="store-busy"),
        Journal.open(path),
    ):
        raise AssertionError("two hold it")
    with Journal.open(path) as journal:
        assert journal.records() == []


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n{"a"\n')
    with pytest.raises(StoreError, match="line 2"):
        read(path)


def test_what_the_disk_took_a_part_of_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "lines.jsonl"

    def write():
        with Journal.open(path) as journal:
            journal.append({"number": 0})
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
            with pytest.raises(OSError) as raised:
                journal.append({"number": 1, "text": "a" * 99})
            assert raised.value.errno == errno.EFBIG
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            journal.append({"number": 2})

    assert result(fork(write)) == 0
    assert [r["number"] for r in read(path)] == [0, 2]


def test_a_torn_last_line_that_ends_is_dropped_when_it_is_opened(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"number": 0}\n{"num{"number": 2}\n')
    with Journal.open(path) as journal:
        journal.append({"number": 3})
        assert [r["number"] for r in journal.records()] == [0, 3]
