"""The reference runs the module itself, with the threads that it is told."""

import numpy as np
import pytest
import torch
from torch import nn

from paretune.core.candidate import Candidate
from paretune.core.errors import MeasurementError, UnsupportedError
from paretune.core.target import Target
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.runtimes.torch_eager import TorchEager
from tests.toys import ConvNet, PairNet


def test_an_artifact_needs_its_task(tmp_path):
    task = ConvNet()
    task.reference = "toys:convnet"
    artifact = torch_format.write(Candidate(task.model(), "torch"), task, tmp_path)
    with pytest.raises(UnsupportedError, match="task is needed"):
        TorchEager().load(artifact, Target("torch_eager"))
    session = TorchEager(lambda reference: {"toys:convnet": task}[reference]).load(
        artifact, Target("torch_eager")
    )
    inputs, _ = task.split("test")
    with torch.inference_mode():
        wanted = task.model()(torch.from_numpy(inputs))
    assert np.array_equal(session({"input": inputs})["output"], wanted)


def test_a_task_without_a_reference_is_refused(tmp_path):
    task = ConvNet()
    artifact = torch_format.write(Candidate(task.model(), "torch"), task, tmp_path)
    with pytest.raises(UnsupportedError, match="task is needed"):
        TorchEager(lambda _: task).load(artifact, Target("torch_eager"))


def test_structures_are_told_from_the_names():
    class Sum(nn.Module):
        def forward(self, left, right):
            return left + right, left - right

    one = np.ones((2, 3), np.float32)
    run = TorchEager().session(Sum())
    got = run({"input_0": one, "input_1": one})
    assert {k: v.sum() for k, v in got.items()} == {"output_0": 12, "output_1": 0}
    pair = PairNet()
    inputs, _ = pair.split("test")
    assert list(TorchEager().session(pair.model())(inputs)) == ["value", "label"]


def test_it_runs_with_its_threads_and_puts_them_back():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))
            return x

    before = torch.get_num_threads()
    TorchEager().session(Spy(), threads=2)({"input": np.zeros((1, 1))})
    assert seen == [(2, True)]
    assert torch.get_num_threads() == before


def test_what_the_model_cannot_take_is_named():
    run = TorchEager().session(ConvNet().model())
    with pytest.raises(MeasurementError, match=r"input float64\(2, 1, 8, 8\)"):
        run({"input": np.zeros((2, 1, 8, 8))})
    with pytest.raises(MeasurementError):
        run({"input": np.zeros((2, 5, 8, 8), np.float32)})
    run.close()
    with pytest.raises(MeasurementError, match="closed"):
        run({"input": np.zeros((2, 1, 8, 8), np.float32)})
