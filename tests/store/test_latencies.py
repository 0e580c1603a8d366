"""The file of latencies: it keeps what it was given, whatever happens beside it."""

import json
import os
import signal
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.store.latencies import Latencies

WRITER = """
import sys
from pathlib import Path
from paretune.store.latencies import Latencies
kept = Latencies(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    kept.add({"environment": "e", "task": "t", "structure": f"{sys.argv[2]}-{number}",
              "group": "float", "layers": [["linear", 1, 1, 1, 1]] * 40, "full": False})
    print(number, flush=True)
"""


def record(structure, full=False, **others):
    known = {"environment": "e", "task": "t", "group": "float", "layers": []}
    return {**known, "structure": structure, "full": full, **others}


def writer(folder, name, count):
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_nothing_is_there_at_first(tmp_path):
    assert Latencies(tmp_path).of("e", "t") == []


def test_records_of_other_hosts_and_tasks_stay_apart(tmp_path):
    kept = Latencies(tmp_path / "made")
    for environment in "ef":
        for task in "tu":
            kept.add(record("s", environment=environment, task=task))
    (found,) = kept.of("f", "u")
    assert (found["environment"], found["task"]) == ("f", "u")


@settings(max_examples=20, deadline=None)
@given(full=st.lists(st.booleans(), min_size=1, max_size=6))
def test_a_full_measurement_replaces_a_screened_one(tmp_path_factory, full):
    kept = Latencies(tmp_path_factory.mktemp("store"))
    for seconds, each in enumerate(full):
        kept.add(record("s", each, seconds=seconds, foreseen=[seconds]))
    (found,) = kept.of("e", "t")
    wanted = [s for s, each in enumerate(full) if each or not any(full)]
    assert found["seconds"] == wanted[-1]
    assert found["foreseen"] == [0]


def test_damaged_lines_cost_no_more_than_themselves(tmp_path):
    kept = Latencies(tmp_path)
    kept.add(record("a"))
    with kept.path.open("ab") as file:
        file.write(b"\x00\xff{]\n" + b'{"environment":"e"}\n' + b"[1]\n" + b'{"cut')
    kept.add(record("b"))
    assert [r["structure"] for r in kept.of("e", "t")] == ["a", "b"]


def test_a_killed_writer_leaves_all_that_it_said_it_wrote(tmp_path):
    process = writer(tmp_path, "one", 100_000)
    said = [process.stdout.readline() for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    said += process.stdout.readlines()
    process.wait()
    kept = Latencies(tmp_path)
    kept.add(record("after"))
    found = [r["structure"] for r in kept.of("e", "t")]
    numbers = [line.strip() for line in said if line.endswith("\n")]
    assert found[: len(numbers)] == [f"one-{n}" for n in numbers]
    assert found[-1] == "after"


def test_two_processes_write_at_once(tmp_path):
    both = [writer(tmp_path, name, 60) for name in ("one", "two")]
    for process in both:
        process.communicate()
    kept = Latencies(tmp_path)
    assert len(kept.of("e", "t")) == 120
    assert all(json.loads(line) for line in kept.path.read_text().splitlines())
