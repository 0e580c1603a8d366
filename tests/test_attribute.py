"""`paretune attribute` from end to end, on a recipe of `fashion` without training."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paretune import api, catalog
from paretune.core.errors import StoreError
from paretune.core.worker import WorkFailed
from paretune.workers.isolated import Isolated

ROOT = Path(__file__).parents[1]
PRUNE = {"technique": "structured_pruning", "ratio": 0.3}
INT8 = {"technique": "post_training_quantization", "scheme": "static_int8"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attribute")
    api.optimize(
        "fashion",
        study="clothes",
        store=folder / "store",
        strategy="sweep",
        recipes=(catalog.recipe([PRUNE, INT8]),),
        quick=True,
        workers=1,
    )
    return folder


def paretune(place, *words):
    return subprocess.run(
        [sys.executable, "-m", "paretune.cli.main", *words, "--store", "store"],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def interrupted(place, monkeypatch):
    """Runs it until the files would be timed."""
    do = Isolated.do

    def lost(self, operation, arguments, timeout_s=None):
        if operation == "measure":
            raise WorkFailed("crash(SIGKILL)", "worker", "the worker was lost.", True)
        return do(self, operation, arguments, timeout_s)

    monkeypatch.setattr(Isolated, "do", lost)
    study = api.load("clothes", place / "store")
    with pytest.raises(WorkFailed):
        api.attribute(study, "1", store=place / "store", quick=True)
    monkeypatch.undo()


def test_it_goes_on_where_it_was_and_is_kept(place, monkeypatch):
    interrupted(place, monkeypatch)
    assert not api.load("clothes", place / "store").attributions, "half is nothing"
    done = paretune(place, "attribute", "clothes", "--pick", "1", "--quick", "--json")
    assert done.returncode == 0, done.stderr
    assert "without" not in done.stderr, "no step is run a second time"
    told = json.loads(done.stdout)
    first, second = told["steps"]
    assert first["technique"] == "structured_pruning" and first["state"] == "ok"
    assert first["change"]["size"]["verdict"] == -1, "without pruning it is larger"
    assert first["change"]["accuracy"]["verdict"] == 1, "nothing was trained after it"
    assert second["change"]["size"]["value"] > 2.5, "without 8 bits likewise"
    assert {"accuracy", "size", "latency_p50"} <= second["change"].keys()
    study = api.load("clothes", place / "store")
    assert not study.certifications, "the test split stays unread"
    assert study.attributions[1]["steps"] == told["steps"]

    done = paretune(place, "attribute", "clothes", "--pick", "1", "--quick")
    assert "Pruning 0.3: it makes the file" in done.stdout
    done = paretune(place, "frontier", "clothes", "--json")
    assert json.loads(done.stdout)["attribution"]["1"]["protocol"] == "screening"
    done = paretune(place, "report", "clothes", "-o", "report.html")
    assert "What each technique contributed" in (place / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("clothes", "--pick", "99"), "no finished trial 99"),
        (("clothes", "--pick", "bset"), "did you mean 'best'"),
        (("clothes", "--pick", "0"), "no step to leave out"),
        (("cloths",), "did you mean 'clothes'"),
    ],
)
def test_wrong_names_get_a_sentence(place, words, part):
    done = paretune(place, "attribute", *words)
    assert done.returncode == 1 and part in done.stderr
    assert "Traceback" not in done.stderr


def test_a_study_without_members_is_refused(place):
    from dataclasses import replace

    study = replace(api.load("clothes", place / "store"), trials=())
    with pytest.raises(StoreError, match="has no frontier yet"):
        api.attribute(study, store=place / "store")
