"""A deploy bundle runs by itself and says what it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import zlib

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from paretune.core.errors import StoreError, UnsupportedError
from paretune.infrastructure.formats import _container
from paretune.measurement import transfer_size
from paretune.report.bundle import NAMES, PACKED, SUMS, bundle
from tests.report.conftest import hostile

EXAMPLE = {"x": np.arange(6, dtype=np.float32).reshape(2, 3)}


def model():
    """y = 2 x + 1."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    numbers = [
        helper.make_tensor(name, TensorProto.FLOAT, [1], [value])
        for name, value in (("two", 2.0), ("one", 1.0))
    ]
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["z"]),
        helper.make_node("Add", ["z", "one"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], numbers)
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    return made.SerializeToString()


@pytest.fixture(scope="module")
def stored(study, tmp_path_factory):
    """The study, with a real artifact for trial 13 in a store."""
    root = tmp_path_factory.mktemp("artifacts")
    content = model()
    digest = hashlib.sha256(content).hexdigest()
    (root / digest).mkdir()
    (root / digest / "model.onnx").write_bytes(content)
    trials = list(study.trials)
    trials[13] = dataclasses.replace(trials[13], artifact=digest)
    return dataclasses.replace(study, trials=tuple(trials), artifacts=root)


@pytest.fixture(scope="module")
def packed(stored, tmp_path_factory):
    """The study, its trial 13 a model that travels packed."""
    marked = onnx.load_from_string(model())
    marked.doc_string = "what no runtime reads " * 500
    marked.metadata_props.add(key=_container.MARK[0], value=_container.MARK[1])
    content = marked.SerializeToString(deterministic=True)
    root = tmp_path_factory.mktemp("packed")
    digest = hashlib.sha256(content).hexdigest()
    (root / digest).mkdir()
    (root / digest / "model.onnx").write_bytes(content)
    trials = list(stored.trials)
    trials[13] = dataclasses.replace(trials[13], artifact=digest)
    return dataclasses.replace(stored, trials=tuple(trials), artifacts=root)


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, str(folder / "predict.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder.parent,
    )


def test_it_runs_by_itself(stored, tmp_path):
    files = bundle(stored, stored.trials[13], tmp_path / "out", EXAMPLE)
    assert [f.name for f in files] == [*NAMES[:5], "example.npz", SUMS]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(NAMES)
    done = run(tmp_path / "out", "--input", files[5], "--output", tmp_path / "y.npz")
    assert (done.returncode, done.stderr) == (0, "")
    assert "y float32 [2, 3]" in done.stdout
    with np.load(tmp_path / "y.npz") as outputs:
        np.testing.assert_array_equal(outputs["y"], 2 * EXAMPLE["x"] + 1)
    np.save(tmp_path / "x.npy", EXAMPLE["x"])
    done = run(tmp_path / "out", "--input", tmp_path / "x.npy")
    assert done.returncode == 0
    assert "[[ 1.  3.  5.]" in done.stdout


def test_predict_needs_onnxruntime_and_numpy_alone(stored, tmp_path):
    bundle(stored, stored.trials[13], tmp_path / "out")
    probe = (
        "import sys; before = set(sys.modules); import predict, numpy as np; "
        "print(predict.predict(np.ones((1, 3), np.float32))['y'].tolist()); "
        "print('torch' in sys.modules, 'paretune' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=tmp_path / "out",
    )
    assert done.stdout.splitlines() == ["[[3.0, 3.0, 3.0]]", "False False"]


def test_the_checksums_are_right_and_are_checked(stored, tmp_path):
    folder = tmp_path / "out"
    bundle(stored, stored.trials[13], folder, EXAMPLE)
    for line in (folder / SUMS).read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    tampered = onnx.load(folder / "model.onnx")
    tampered.producer_name = "someone else"
    onnx.save(tampered, folder / "model.onnx")
    done = run(folder, "--input", folder / "example.npz")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "predict.py: model.onnx has changed; export the bundle again."
    )
    (folder / SUMS).unlink()
    assert run(folder, "--input", folder / "example.npz").returncode == 1


def test_wrong_inputs_get_a_sentence(stored, tmp_path):
    bundle(stored, stored.trials[13], tmp_path / "out")
    np.savez(tmp_path / "wrong.npz", z=EXAMPLE["x"])
    done = run(tmp_path / "out", "--input", tmp_path / "wrong.npz")
    assert done.returncode == 1
    assert "got z; the inputs are x tensor(float) ['n', 3]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_card_and_the_files_say_what_it_is(stored, tmp_path):
    trial = stored.trials[13]
    bundle(stored, trial, tmp_path / "out", EXAMPLE)
    card = (tmp_path / "out" / "README.md").read_text()
    for said in (
        "trial 13 of study demo",
        "14.9× smaller and 4.0× faster",
        "structured pruning: amount 0.56",
        "| accuracy | 90.1 % | 89.0 to 91.2 % |",
        "99.85 % of decisions agree",
        "certified on the test split, read once",
        "It meets the budget",
        "Example CPU",
        "- x: float32 [2, 3]",
        "python predict.py --input example.npz",
    ):
        assert said in card
    recipe = yaml.safe_load((tmp_path / "out" / "recipe.yaml").read_text())
    assert recipe == {"recipe": [dict(s) for s in trial.steps]}
    figures = json.loads((tmp_path / "out" / "measurements.json").read_text())
    assert figures["bundle"] == 1
    assert figures["trial"]["sha256"] == trial.artifact
    assert figures["trial"]["metrics"]["size"]["value"] == trial.values["size"]
    assert figures["raw"]["latency_p50"]["values"] == list(
        trial.measurements["latency_p50"].values
    )
    for file in (tmp_path / "out").iterdir():
        assert b"/home/alice" not in file.read_bytes()


def test_a_bundle_replaces_a_bundle_and_nothing_else(stored, tmp_path):
    trial = stored.trials[13]
    folder = tmp_path / "out"
    folder.mkdir()
    bundle(stored, trial, folder, EXAMPLE)
    run(folder, "--input", folder / "example.npz")
    bundle(stored, trial, folder)
    assert not (folder / "example.npz").exists()
    (folder / "mine.txt").write_text("keep me")
    with pytest.raises(StoreError, match=r"out is not empty and no bundle") as caught:
        bundle(stored, trial, folder)
    assert caught.value.code == "bundle-folder"
    assert (folder / "mine.txt").read_text() == "keep me"
    project = tmp_path / "project"
    project.mkdir()
    (project / "README.md").write_text("mine")
    with pytest.raises(StoreError):
        bundle(stored, trial, project)
    assert (project / "README.md").read_text() == "mine"
    with pytest.raises(StoreError, match="is a file"):
        bundle(stored, trial, project / "README.md")


def test_what_can_not_be_bundled_is_said(stored, tmp_path):
    with pytest.raises(StoreError, match="has no artifact"):
        bundle(stored, stored.trials[11], tmp_path / "a")
    with pytest.raises(StoreError, match="can't be read") as caught:
        bundle(stored, stored.trials[21], tmp_path / "b")
    assert caught.value.code == "artifact-missing"
    other = dataclasses.replace(stored.trials[13], format="torch")
    file = stored.path(stored.trials[13])
    file.with_suffix(".torch").write_bytes(file.read_bytes())
    with pytest.raises(UnsupportedError, match="runtime is onnxruntime"):
        bundle(stored, other, tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_a_tampered_artifact_is_not_bundled(stored, tmp_path):
    file = stored.path(stored.trials[13])
    content = file.read_bytes()
    try:
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(StoreError) as caught:
            bundle(stored, stored.trials[13], tmp_path / "a")
        assert caught.value.code == "artifact-checksum"
    finally:
        file.write_bytes(content)


def test_hostile_names_stay_text(stored, tmp_path):
    bundle(hostile(stored), hostile(stored).trials[13], tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "<script>" not in card
    assert "\x1b" not in card
    assert run(tmp_path / "out", "--help").returncode == 0


def test_a_packed_model_is_unpacked_at_the_first_run(packed, tmp_path):
    folder = tmp_path / "out"
    files = bundle(packed, packed.trials[13], folder, EXAMPLE)
    names = [f.name for f in files]
    assert names[1:3] == list(PACKED)
    assert "model.onnx" not in names
    held = packed.path(packed.trials[13]).read_bytes()
    assert (folder / PACKED[0]).stat().st_size < len(held) / 2
    for _ in range(2):
        done = run(folder, "--input", folder / "example.npz")
        assert (done.returncode, done.stderr) == (0, "")
        assert "[[ 1.  3.  5.]" in done.stdout
        assert (folder / "model.onnx").read_bytes() == held
    (folder / "model.onnx").write_bytes(b"something else")
    assert run(folder, "--input", folder / "example.npz").returncode == 0
    assert (folder / "model.onnx").read_bytes() == held


def test_its_program_unpacks_it_and_its_card_says_so(packed, tmp_path):
    folder = tmp_path / "out"
    bundle(packed, packed.trials[13], folder)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(folder / "unpack.py")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    held = packed.path(packed.trials[13]).read_bytes()
    assert f"{len(held)} bytes" in done.stdout
    assert (folder / "model.onnx").read_bytes() == held
    card = (folder / "README.md").read_text()
    size = (folder / PACKED[0]).stat().st_size
    assert f"`model.onnx.packed` has {size:,} bytes to transfer" in card
    assert (
        f"the {len(held):,} bytes that were measured, bit for bit, decoded in" in card
    )
    program = (folder / PACKED[1]).read_bytes()
    small = len(zlib.compress(program, transfer_size.LEVEL))
    said = f"`unpack.py` has {len(program):,} bytes more, {small:,} after DEFLATE"
    assert said in card
    figures = json.loads((folder / "measurements.json").read_text())
    assert figures["trial"]["artifact"] == PACKED[0]


RACE = """
import pathlib, runpy, sys, threading
folder = pathlib.Path(sys.argv[1])
gate = threading.Barrier(2)
write, names = pathlib.Path.write_bytes, set()
def slowly(path, content):  # both have begun before either is done
    names.add(path.name)
    gate.wait(20)
    write(path, content)
    gate.wait(20)
pathlib.Path.write_bytes = slowly
found = [None, None]
def first(i, way):
    if way == "predict":
        found[i] = runpy.run_path(str(folder / "predict.py"))["model"]()
    else:
        found[i] = runpy.run_path(str(folder / "unpack.py"))["main"]([])
ways = enumerate(sys.argv[2:])
threads = [threading.Thread(target=first, args=way) for way in ways]
for t in threads: t.start()
for t in threads: t.join()
print(len(names), found)
"""


@pytest.mark.parametrize("other", ["predict", "unpack"])
def test_two_may_unpack_it_at_the_same_time(packed, tmp_path, other):
    folder = tmp_path / "out"
    bundle(packed, packed.trials[13], folder)
    done = subprocess.run(
        [sys.executable, "-c", RACE, str(folder), "predict", other],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    model = str(folder / "model.onnx")
    wanted = [model, model if other == "predict" else 0]
    assert done.stdout.splitlines()[-1] == f"2 {wanted}"
    held = packed.path(packed.trials[13]).read_bytes()
    assert (folder / "model.onnx").read_bytes() == held
    assert sorted(p.name for p in folder.iterdir() if p.name.startswith(".")) == []


def test_what_a_stopped_run_left_is_cleared_away(packed, tmp_path):
    folder = tmp_path / "out"
    bundle(packed, packed.trials[13], folder)
    left = folder / ".model.onnx.00c0ffee00c0ffee.partial"
    left.write_bytes(b"half a model")
    bundle(packed, packed.trials[13], folder)
    assert not left.exists()
    (folder / ".model.onnx.mine.partial").write_bytes(b"keep me")
    with pytest.raises(StoreError, match="no bundle of paretune"):
        bundle(packed, packed.trials[13], folder)


def test_a_packed_bundle_is_checked_and_can_be_replaced(packed, stored, tmp_path):
    folder = tmp_path / "out"
    bundle(packed, packed.trials[13], folder, EXAMPLE)
    damaged = bytearray((folder / PACKED[0]).read_bytes())
    damaged[-1] ^= 1
    (folder / PACKED[0]).write_bytes(damaged)
    done = run(folder, "--input", folder / "example.npz")
    assert done.returncode == 1
    assert "model.onnx.packed has changed" in done.stderr
    bundle(packed, packed.trials[13], folder, EXAMPLE)
    run(folder, "--input", folder / "example.npz")
    bundle(stored, stored.trials[13], folder)
    assert sorted(p.name for p in folder.iterdir() if p.suffix != ".npz") == sorted(
        set(NAMES) - {"example.npz"}
    )
