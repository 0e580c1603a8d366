"""What every format promises, for every toy task and for what pruning makes of it."""

import hashlib
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from paretune.core.candidate import Candidate
from paretune.core.target import Target
from paretune.core.task import as_arrays, pick
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.runtimes.onnxruntime import OnnxRuntime
from tests.infrastructure.formats.zoo import pruned
from tests.toys import TOYS

FORMATS = ("torch", "onnx")
STATES = ("as it came", "pruned")
_made: dict = {}


def module(name):
    return importlib.import_module(f"paretune.infrastructure.formats.{name}")


def made(toy, state, format_="torch"):
    """(candidate, task), converted once for all tests."""
    key = toy, state, format_
    if key not in _made:
        task = TOYS[toy]()
        if format_ != "torch":
            source, task = made(toy, state)
            _made[key] = module(format_).from_torch(source, task), task
        else:
            model = pruned(task) if state == "pruned" else task.model()
            traits = frozenset({"pruned"} if state == "pruned" else ())
            _made[key] = (
                Candidate(model, "torch", traits, ('{"technique": "x"}',)),
                task,
            )
    return _made[key]


def outputs(candidate, task, folder, rows=128):
    """By the format's own means: bytes in, arrays out."""
    inputs = pick(task.split("validation")[0], slice(0, rows))
    if candidate.format == "onnx":
        artifact = module("onnx").write(candidate, task, Path(folder) / "run.onnx")
        session = OnnxRuntime().load(artifact, Target())
        return session(as_arrays(inputs, "input"))
    with torch.inference_mode():
        called = torch_format.call(candidate.model, torch_format.tensors(inputs))
    return as_arrays(called, "output")


def digest(arrays):
    found = hashlib.sha256()
    for name, array in arrays.items():
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


each = pytest.mark.parametrize(
    ("toy", "state", "format_"),
    [(t, s, f) for t in TOYS for s in STATES for f in FORMATS],
)


@each
def test_a_saved_candidate_comes_back_bit_by_bit(toy, state, format_, tmp_path):
    candidate, task = made(toy, state, format_)
    module(format_).save(candidate, task, tmp_path / "kept")
    loaded = module(format_).load(tmp_path / "kept", task)
    assert loaded.format == candidate.format == format_
    assert (loaded.traits, loaded.lineage) == (candidate.traits, candidate.lineage)
    assert digest(outputs(loaded, task, tmp_path)) == digest(
        outputs(candidate, task, tmp_path)
    )


@each
def test_an_artifact_is_one_file_named_by_its_content(toy, state, format_, tmp_path):
    candidate, task = made(toy, state, format_)
    artifact = module(format_).write(candidate, task, tmp_path)
    assert [artifact.path] == list(tmp_path.iterdir())
    content = artifact.path.read_bytes()
    assert artifact.sha256 == hashlib.sha256(content).hexdigest()
    assert (artifact.size, artifact.format) == (len(content), format_)
    assert artifact.traits == candidate.traits
    opened = module(format_).open_artifact(artifact.path, lambda _: task)
    assert digest(outputs(opened, task, tmp_path)) == digest(
        outputs(candidate, task, tmp_path)
    )


@each
def test_counts_are_positive_and_agree_with_the_source(toy, state, format_):
    candidate, task = made(toy, state, format_)
    counted = module(format_).count(candidate, task)
    source = torch_format.count(made(toy, state)[0], task)
    assert counted.keys() == {"parameters", "macs"}
    assert counted["macs"] == source["macs"] > 0
    assert 0 < counted["parameters"] <= source["parameters"]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize("rows", [1, 3, 32, 128])
def test_onnx_agrees_with_torch(toy, state, rows, tmp_path):
    candidate, task = made(toy, state, "onnx")
    got = outputs(candidate, task, tmp_path, rows)
    wanted = outputs(made(toy, state)[0], task, tmp_path, rows)
    assert list(got) == list(wanted)
    for name, array in wanted.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
        assert np.abs(got[name] - array).max() <= 1e-4 * np.abs(array).max()


def test_a_fresh_process_gets_the_same_bits(tmp_path):
    wanted = {}
    for toy in TOYS:
        candidate, task = made(toy, "pruned")
        torch_format.save(candidate, task, tmp_path / toy)
        wanted[toy] = digest(outputs(candidate, task, tmp_path))
    program = f"""
import json, pathlib
from tests.contracts.test_format_contract import digest, outputs, torch_format
from tests.toys import TOYS
folder = pathlib.Path({str(tmp_path)!r})
found = {{}}
for toy in TOYS:
    candidate = torch_format.load(folder / toy, TOYS[toy]())
    found[toy] = digest(outputs(candidate, TOYS[toy](), folder))
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert json.loads(done.stdout) == wanted


def test_nothing_is_pickled():
    source = Path(torch_format.__file__).parents[2]
    for path in source.rglob("*.py"):
        text = path.read_text()
        assert "import pickle" not in text, path
        assert "torch.load(" not in text, path
