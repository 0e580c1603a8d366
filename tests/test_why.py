"""`paretune why` from end to end, on a tiny study."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from paretune import api
from paretune.core.errors import StoreError
from tests.toys import SignalNet

ROOT = Path(__file__).parents[1]
TASK = """
from tests.toys import ConvNet

class Toy(ConvNet):
    name = "toy"

task = Toy()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("why")
    (folder / "task.py").write_text(TASK)
    api.optimize(
        str(folder / "task.py"),
        study="toy",
        store=folder / "store",
        trials=1,
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
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_it_explains_prints_and_is_kept_for_the_report(place):
    done = paretune(place, "why", "toy", "1")
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith("Trial 1 is ")
    assert "What to try next" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    study = api.load("toy", place / "store")
    kept = study.explanations[1]
    assert kept["artifact"] == study.trials[1].artifact
    assert not study.certifications, "the test split stays unread"
    done = paretune(place, "report", "toy", "-o", "report.html")
    assert done.returncode == 0, done.stderr
    assert 'id="why-1"' in (place / "report.html").read_text()


def test_json_is_json_and_nothing_else(place):
    done = paretune(place, "why", "toy", "1", "--json")
    told = json.loads(done.stdout)
    assert told["version"] == 1 and told["trial"] == 1
    assert {"operators", "steps", "layers", "flips", "advice"} <= told.keys()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("toy", "99"), "no finished trial 99"),
        (("toy", "bset"), "did you mean 'best'"),
        (("toy", "0"), "is the baseline"),
        (("tow", "1"), "did you mean 'toy'"),
    ],
)
def test_wrong_names_get_a_sentence(place, words, part):
    done = paretune(place, "why", *words)
    assert done.returncode == 1 and part in done.stderr
    assert "Traceback" not in done.stderr


def test_a_task_of_another_process_has_to_be_given(place, tmp_path):
    shutil.copytree(place / "store", tmp_path / "store")
    with sqlite3.connect(tmp_path / "store" / "studies.db") as database:
        changed = "json_set(spec, '$.reference', NULL)"
        database.execute(f"UPDATE studies SET spec = {changed}")
    study = api.load("toy", tmp_path / "store")
    with pytest.raises(StoreError, match="task="):
        api.why(study, "1", store=tmp_path / "store")


def test_another_task_is_refused(place):
    study = api.load("toy", place / "store")
    with pytest.raises(StoreError, match="is not what study 'toy'"):
        api.why(study, "1", task=SignalNet(), store=place / "store")
