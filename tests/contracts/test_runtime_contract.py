"""What every runtime in the catalogue promises."""

import importlib

import numpy as np
import pytest
import torch

from paretune.catalog import RUNTIMES
from paretune.core.candidate import Candidate
from paretune.core.target import Runtime, Target
from paretune.core.task import as_arrays, pick
from paretune.infrastructure.formats import torch as torch_format
from tests.toys import TOYS

# Every runtime but the one that computes nothing agrees with the reference.
COMPUTING = [name for name in RUNTIMES if name != "null"]


def started(name, task):
    """(session, runtime) on the task's model as it came."""
    runtime = RUNTIMES[name]()
    if reason := runtime.missing():
        pytest.skip(reason)
    task.reference = "toy"
    if hasattr(runtime, "resolve"):
        runtime.resolve = {"toy": task}.__getitem__
    return runtime


def load(name, task, folder, threads=1):
    runtime = started(name, task)
    candidate = Candidate(task.model(), "torch")
    module = importlib.import_module(
        f"paretune.infrastructure.formats.{runtime.format}"
    )
    if runtime.format != "torch":
        candidate = module.from_torch(candidate, task)
    artifact = module.write(candidate, task, folder)
    return runtime.load(artifact, Target(name, threads=threads))


@pytest.mark.parametrize("name", RUNTIMES)
def test_its_facts_are_in_order(name):
    runtime = RUNTIMES[name]()
    assert isinstance(runtime, Runtime)
    assert runtime.name() == name
    assert "float32" in runtime.dtypes
    assert all(importlib.util.find_spec(module) for module in runtime.provides)
    reason = runtime.missing()
    assert reason is None or "pip install" in reason


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_session_answers_by_name_and_can_be_closed_twice(name, tmp_path):
    task = TOYS["convnet"]()
    session = load(name, task, tmp_path)
    inputs = as_arrays(pick(task.split("test")[0], slice(0, 5)), "input")
    before = {k: v.copy() for k, v in inputs.items()}
    outputs = session(inputs)
    assert list(outputs) == ["output"]
    assert isinstance(outputs["output"], np.ndarray)
    assert len(outputs["output"]) == 5
    assert all(np.array_equal(inputs[k], before[k]) for k in before)
    again = session(inputs)
    assert again["output"] is not outputs["output"]
    assert np.array_equal(again["output"], outputs["output"])
    session.close()
    session.close()


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize("name", COMPUTING)
def test_it_agrees_with_the_reference(name, toy, tmp_path):
    task = TOYS[toy]()
    session = load(name, task, tmp_path, threads=2)
    inputs = task.split("validation")[0]
    for rows in (1, 3, 32, 128):
        batch = pick(inputs, slice(0, rows))
        with torch.inference_mode():
            called = torch_format.call(task.model(), torch_format.tensors(batch))
        wanted = as_arrays(called, "output")
        got = session(as_arrays(batch, "input"))
        assert list(got) == list(wanted)
        for key, array in wanted.items():
            assert got[key].shape == array.shape
            assert np.abs(got[key] - array).max() <= 1e-4 * np.abs(array).max()
