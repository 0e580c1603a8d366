"""Launches are real processes here, and their misfortunes are real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from paretune.catalog import usable_runtime
from paretune.core.candidate import Candidate
from paretune.core.errors import (
    MeasurementError,
    TaskError,
    UnavailableError,
    UnsupportedError,
)
from paretune.core.target import Target
from paretune.core.task import Held, Task
from paretune.engine import launches
from tests.measurement.artifacts import (
    TARGET,
    Numbers,
    artifact,
    network,
    sleeper,
    weights,
)


@pytest.fixture
def inputs(tmp_path):
    path = tmp_path / "inputs.npz"
    launches.write_inputs(Numbers(), TARGET, path)
    return path


@pytest.fixture
def started(inputs):
    """Starts launches, and ends those that a test leaves."""
    running = []

    def begin(file, target=TARGET, **options):
        runtime = target.runtime
        launch = launches.start(runtime, file, target, inputs, **options)
        running.append(launch)
        return launch

    yield begin
    for launch in running:
        launch.close()


def test_a_launch_runs_what_it_is_told(tmp_path, started):
    launch = started(sleeper(tmp_path, 0.002))
    assert launch.first_call_s >= 0.002
    assert 0 <= launch.load_s < launch.first_call_s + 1.0
    times = launch.block(20)
    assert len(times) == 20
    assert all(t >= 0.002 for t in times)
    assert launch.peak_memory() > 2**20
    assert len(launch.block(3, start=100)) == 3


def test_starting_does_not_wait_so_that_two_can_start_at_once(tmp_path, started):
    begin = time.perf_counter()
    first, second = (started(sleeper(tmp_path, 0.0)) for _ in range(2))
    handed_out = time.perf_counter() - begin
    assert first.import_s + second.import_s > 0
    assert handed_out < time.perf_counter() - begin


def test_a_real_artifact_runs_without_torch(tmp_path, started):
    target = Target(runtime="onnxruntime")
    launch = started(artifact(tmp_path, network(weights())), target)
    assert all(0 < t < 1 for t in launch.block(50))
    mapped = Path(f"/proc/{launch.pid}/maps").read_text()
    assert "onnxruntime" in mapped
    assert "libtorch" not in mapped


def test_an_empty_launch_has_a_session_that_does_nothing(started):
    launch = started(None, Target(runtime="onnxruntime"))
    assert launch.peak_memory() > 2**20
    assert "onnxruntime" in Path(f"/proc/{launch.pid}/maps").read_text()
    assert launch.first_call_s < 0.1


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system binds no process to cores"
)
def test_a_launch_is_bound_to_cores_and_leaves_the_first_one_free(tmp_path, started):
    launch = started(sleeper(tmp_path, 0.0))
    launch.block(1)
    own = os.sched_getaffinity(launch.pid)
    mine = sorted(os.sched_getaffinity(0))
    assert own == set(launches.cores_for(1))
    assert len(own) == 1
    if len(mine) > 1:
        assert mine[0] not in own


def test_more_threads_than_cores_is_one_sentence(tmp_path, started):
    with pytest.raises(MeasurementError, match=r"4096 threads.*may use") as caught:
        started(sleeper(tmp_path, 0.0), replace(TARGET, threads=4096))
    assert caught.value.code == "target-threads"


@pytest.mark.parametrize("when", ["loading", "running"])
@pytest.mark.parametrize("killer", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_one_error_that_names_the_signal(tmp_path, started, when, killer):
    launch = started(sleeper(tmp_path, 0.001))
    if when == "running":
        launch.block(1)
    os.kill(launch.pid, killer)
    with pytest.raises(MeasurementError, match=f"{killer.name} while {when}") as caught:
        for _ in range(2):
            launch.block(10)
    assert caught.value.code == "launch-crash"
    assert "\n" not in str(caught.value)


def test_a_hanging_call_is_ended(tmp_path, started):
    launch = started(sleeper(tmp_path, 60.0), limit_s=1.5)
    begin = time.monotonic()
    with pytest.raises(MeasurementError, match=r"no answer within 1.5 s") as caught:
        launch.block(1)
    assert caught.value.code == "launch-timeout"
    assert time.monotonic() - begin < 5
    launch.close()
    with pytest.raises(ProcessLookupError):
        os.kill(launch.pid, 0)


def test_errors_keep_their_class_across_the_process(tmp_path, started):
    garbage = artifact(tmp_path, b"this is no graph")
    with pytest.raises(UnsupportedError, match=r"can't load model.onnx"):
        started(garbage, Target(runtime="onnxruntime")).block(1)
    with pytest.raises(UnavailableError, match="did you mean 'null'"):
        started(garbage, Target(runtime="nul")).block(1)


def test_an_error_in_a_runtime_is_told_with_its_kind(tmp_path, started):
    missing = replace(sleeper(tmp_path, 0.0), path=tmp_path / "gone.onnx")
    with pytest.raises(MeasurementError, match=r"gone.onnx on null.*FileNotFoundError"):
        started(missing).block(1)


def test_an_empty_launch_refuses_to_be_timed(started):
    with pytest.raises(MeasurementError, match="no artifact"):
        started(None).block(1)


def test_closing_twice_is_fine_and_leaves_no_process(tmp_path, started):
    launch = started(sleeper(tmp_path, 0.0))
    launch.close()
    launch.close()
    with pytest.raises(ProcessLookupError):
        os.kill(launch.pid, 0)


PARENT = """
import sys, time
from pathlib import Path
from paretune.core.candidate import Artifact
from paretune.core.target import Target
from paretune.engine import launches

path = Path(sys.argv[1])
file = Artifact(path, "onnx", "0" * 64, path.stat().st_size)
launch = launches.start("null", file, Target(runtime="null"), Path(sys.argv[2]))
launch.block(1)
print(launch.pid, flush=True)
launch.block(10**6)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_a_launch_dies_with_its_parent_even_in_the_middle_of_a_block(tmp_path, inputs):
    file = sleeper(tmp_path, 0.01)
    command = [sys.executable, "-c", PARENT, str(file.path), str(inputs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        if state == "Z":
            break
        time.sleep(0.02)
    else:
        assert not Path(f"/proc/{pid}").exists()


NOISY_TASK = """
import os
import torch
from paretune.core.task import Task

class Noisy(Task):
    def model(self):
        print("a print", flush=True)
        os.write(1, b'{"a native print": 1}\\n')
        os.write(2, b"and one to the errors\\n")
        torch.manual_seed(0)
        return torch.nn.Linear(8, 3).eval()

    def batches(self, split):
        yield torch.zeros(2, 8), torch.zeros(2)

    def loss(self, outputs, targets): ...
    def quality(self, outputs, targets): ...
"""


def test_a_task_that_prints_does_not_garble_the_answers(tmp_path, started):
    from paretune.engine.tasks import find_task
    from paretune.infrastructure.formats import torch as torch_format

    (tmp_path / "noisy.py").write_text(NOISY_TASK)
    task = find_task(str(tmp_path / "noisy.py"))
    file = torch_format.write(
        Candidate(task.model(), "torch"), task, tmp_path / "model.torch"
    )
    launch = started(file, Target(runtime="torch_eager"))
    assert len(launch.block(5)) == 5


@pytest.mark.parametrize("batch", [1, 7, 64, 500])
def test_inputs_are_sixteen_real_batches(tmp_path, batch):
    task, path = Numbers(), tmp_path / "inputs.npz"
    launches.write_inputs(task, replace(TARGET, batch=batch), path)
    real = {row.tobytes() for row in task.split("validation")[0]}
    with np.load(path, allow_pickle=False) as file:
        batches = [file[key] for key in sorted(file.files)]
    assert len(batches) == launches.DISTINCT
    assert all(b.shape == (batch, 8) and b.dtype == np.float32 for b in batches)
    assert {row.tobytes() for b in batches for row in b} <= real
    assert len({b.tobytes() for b in batches}) == launches.DISTINCT


def test_large_inputs_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(launches, "LARGEST", 1000)
    path = tmp_path / "inputs.npz"
    launches.write_inputs(Numbers(), replace(TARGET, batch=100), path)
    with np.load(path, allow_pickle=False) as file:
        assert len(file.files) == 2


class Texts(Held, Task):
    """Dict inputs of varying length."""

    name = "texts"
    lengths: ClassVar = (5, 9, 5, 12)

    def model(self): ...
    def loss(self, outputs, targets): ...
    def quality(self, outputs, targets): ...

    def batches(self, split):
        for length in self.lengths if split == "validation" else ():
            tokens = np.random.default_rng(length).integers(0, 9, (20, length))
            yield {"tokens": tokens, "mask/x": tokens > 0}, np.zeros(20)


def test_every_shape_has_its_turn_and_names_are_kept(tmp_path):
    path = tmp_path / "inputs.npz"
    launches.write_inputs(Texts(), replace(TARGET, batch=4), path)
    with np.load(path, allow_pickle=False) as file:
        names = {key.partition("/")[2] for key in file.files}
        shapes = [file[k].shape for k in sorted(file.files) if k.endswith("tokens")]
    assert names == {"tokens", "mask/x"}
    assert shapes[:4] == [(4, 5), (4, 9), (4, 12), (4, 5)]


def test_an_empty_validation_split_is_named(tmp_path):
    class Nothing(Texts):
        lengths = ()

    with pytest.raises(TaskError, match="no sample to time on"):
        launches.write_inputs(Nothing(), TARGET, tmp_path / "inputs.npz")


def test_a_subject_loads_here_and_launches_there(tmp_path, inputs):
    file = sleeper(tmp_path, 0.001)
    one = launches.subject(usable_runtime("null"), file, TARGET, Numbers(), inputs)
    assert one.load()({"input": np.zeros((2, 8))})["output"].shape == (2, 3)
    launch = one.launch(False)
    assert launch.block(1)[0] >= 0.001
    launch.close()
    empty = one.launch(True)
    assert empty.first_call_s < 0.001
    empty.close()
