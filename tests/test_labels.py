"""`labels` end to end: kept, resumed, judged once, told."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from paretune import api
from paretune.catalog import TECHNIQUES
from paretune.core.errors import ParetuneError, StoreError
from paretune.engine.labels.plan import METHODS
from paretune.report import labels as renderer
from paretune.store.journal import read
from tests.toys import PairNet, SignalNet

TASK = """
from tests.toys import SignalNet
task = SignalNet()
"""
WRONG = [
    (["fashon"], "did you mean 'fashion'"),
    (["fashion", "--shares", "0,5"], "0 %"),
    (["fashion", "--shares", "five"], "'five' is no share"),
    (["fashion", "--shares", "200"], "200 %"),
    (["fashion", "--seeds", "0"], "seeds is 0"),
    (["fashion", "--epochs", "0"], "epochs is 0"),
    (["fashion", "--budget", "soon"], "90s, 10m"),
    (["fashion", "--quality", "good"], "0.85"),
    (["fashion", "-o", "/no/such/labels.html"], "no folder /no/such"),
]


def run(task, store, **more):
    heard = []
    found = api.labels(
        task,
        **{"shares": (0.1, 1.0), "seeds": 2, "epochs": 1, "quality": 0.5, **more},
        store=store,
        workers=1,
        worker="in_process",
        on_event=lambda kind, facts: heard.append((kind, facts)),
    )
    return found, heard


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    return store, *run(SignalNet(), store)


def test_every_method_has_a_figure_with_an_interval(first):
    _, found, heard = first
    told = {(p["method"], p["share"]): p for p in found["points"]}
    assert told.keys() == {(m, s) for m in METHODS for s in (0.1, 1.0)}
    for (method, _), point in told.items():
        assert point["low"] <= point["value"] <= point["high"]
        assert len(point["by_seed"]) == 2
        assert (point["gain"] is None) == (method == "plain")
    assert told["plain", 1.0]["labels"] == 256
    assert {n["method"] for n in found["needed"]} == set(METHODS)
    assert sum(kind == "cell" for kind, _ in heard) == 2 * (1 + 2 * len(METHODS))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_teacher_saw_no_more_labels_than_its_student(first):
    _, found, _ = first
    taught = [p["teachers"] for p in found["points"] if p["method"] == "distillation"]
    assert all(set(t) <= {"augmentation", "self_supervision"} for t in taught)


def test_what_is_finished_is_not_done_again_nor_is_the_test_split_read(first):
    store, found, _ = first
    again, heard = run(SignalNet(), store)
    assert again == found and again["readings"] == 1
    assert not [kind for kind, _ in heard if kind == "cell"]


def test_one_more_seed_trains_that_seed_and_counts_another_reading(first, tmp_path):
    store, found, _ = first
    more, heard = run(SignalNet(), store, seeds=3)
    trained = {facts["cell"].seed for kind, facts in heard if kind == "cell"}
    assert trained == {2}
    assert more["readings"] == 2
    before = {(p["method"], p["share"]): p["by_seed"] for p in found["points"]}
    for point in more["points"]:
        assert point["by_seed"][:2] == before[point["method"], point["share"]]


def test_it_is_told_as_text_and_as_a_page(first, tmp_path):
    _, found, _ = first
    said = renderer.plain(found)
    assert "plain training" in said and "+ distillation" in said
    assert "read 1 time by this study" in said
    assert "For accuracy 50.0 %" in said
    with pytest.raises(StoreError, match="can't write"):
        api.write_labels(found, tmp_path / "deep" / "page.html")
    page = api.write_labels(found, tmp_path / "page.html").read_text()
    assert "judged all at once (Holm)" in said
    assert page.count("<polyline") == len(METHODS)
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page and 'style="' not in page


def test_inputs_that_cannot_be_varied_leave_a_method_out(tmp_path):
    found, _ = run(PairNet(), tmp_path, shares=(0.5,), seeds=1, quality=None)
    told = {p["method"]: p for p in found["points"]}
    assert told.keys() == {"plain", "distillation"}
    assert told["distillation"]["teachers"] == ["plain"]
    assert "what can be varied" in found["missing"]["self_supervision"]
    assert found["missing"].keys() == {"augmentation", "self_supervision"}
    assert "left out" in renderer.plain(found)
    assert found["metric"] == "r2" and not found["share"]


def test_the_own_augmentation_of_a_task_is_one(tmp_path):
    class Noisy(PairNet):
        def augment(self, inputs, targets):
            noise = torch.randn_like(inputs["left"])
            return {**inputs, "left": inputs["left"] + 0.1 * noise}, targets

    found, _ = run(Noisy(), tmp_path, shares=(0.5,), seeds=1, quality=None)
    values = {p["method"]: p["value"] for p in found["points"]}
    assert "augmentation" not in found["missing"]
    assert values["augmentation"] != values["plain"]


class Spoilt(SignalNet):
    """Whose own augmentation, which plain training leaves out, breaks a training."""

    error = None

    def augment(self, inputs, targets):
        if self.error is not None:
            raise self.error
        return inputs * float("nan"), targets


def test_a_training_that_fails_is_told_and_the_rest_goes_on(tmp_path):
    found, _ = run(Spoilt(), tmp_path, shares=(0.5,), seeds=1)
    assert [p["method"] for p in found["points"]] == ["plain"]
    assert {f["method"] for f in found["failed"]} == set(METHODS) - {"plain"}
    said = renderer.plain(found)
    assert "Augmentation with 50 % of the labels is left out: seed 0 failed" in said
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    again, heard = run(Spoilt(), tmp_path, shares=(0.5,), seeds=1)
    assert again == found
    assert not [kind for kind, _ in heard if kind == "cell"]


def test_what_failed_for_want_of_memory_is_tried_again(tmp_path):
    task = Spoilt()
    task.error = MemoryError("not enough memory")
    found, _ = run(task, tmp_path, shares=(0.5,), seeds=1)
    _, heard = run(task, tmp_path, shares=(0.5,), seeds=1)
    again = {facts["cell"].method for kind, facts in heard if kind == "cell"}
    assert {f["method"] for f in found["failed"]} <= again
    assert "plain" not in again


def test_another_version_of_a_technique_trains_anew(first, monkeypatch):
    store, _, _ = first
    _, heard = run(SignalNet(), store, shares=(0.1,), seeds=1)
    assert not [kind for kind, _ in heard if kind == "cell"]
    monkeypatch.setattr(TECHNIQUES["fine_tuning"], "version", 99)
    _, heard = run(SignalNet(), store, shares=(0.1,), seeds=1)
    assert sum(kind == "cell" for kind, _ in heard) == 1 + len(METHODS)


@pytest.mark.parametrize(("words", "part"), WRONG, ids=[" ".join(w) for w, _ in WRONG])
def test_wrong_input_is_one_sentence(words, part, tmp_path):
    told = subprocess.run(
        [sys.executable, "-m", "paretune.cli.main", "labels", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert part in told.stderr.splitlines()[-1]


def test_no_such_teacher(tmp_path):
    with pytest.raises(ParetuneError, match="did you mean 'baseline'"):
        run(SignalNet(), tmp_path, teacher="baselin")


def test_it_goes_on_after_a_kill(tmp_path):
    (tmp_path / "task.py").write_text(TASK)
    command = [sys.executable, "-m", "paretune.cli.main", "labels", "task.py"]
    command += ["--shares", "50", "--seeds", "1", "--epochs", "1", "--json"]
    command += ["--store", "store", "--workers", "1"]
    alone = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, cwd=tmp_path, env=alone)
    end = time.monotonic() + 120
    lines = []
    while time.monotonic() < end and len(lines) < 3:
        time.sleep(0.1)
        lines = [r for p in tmp_path.glob("store/labels/*/*.jsonl") for r in read(p)]
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert len(lines) >= 3
    told = subprocess.run(
        command,
        cwd=tmp_path,
        env=alone,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(told.stdout)["points"]) == len(METHODS)
    assert "are there already" in told.stderr
    (path,) = tmp_path.glob("store/labels/*/*.jsonl")
    keys = [r["key"] for r in read(path)]
    assert len(keys) == len(set(keys))


torch.set_num_threads(1)
