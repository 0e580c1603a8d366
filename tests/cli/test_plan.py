"""`paretune plan`, and `optimize` with the same file: what is told, and what is run."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paretune.cli._planned import lines, tree

ROOT = Path(__file__).parents[2]
TASK = "from tests.toys import ConvNet\n\ntask = ConvNet()\n"
RECIPES = """
- - {technique: structured_pruning, ratio: {choice: [0.3, 0.5]}}
  - {technique: fine_tuning, epochs: 1}
- recipe:
  - {technique: structured_pruning, ratio: 0.5}
  - {technique: fine_tuning, epochs: 1}
  - {technique: post_training_quantization}
"""
BEFORE = """
baseline
├── pruning 0.3: about N s (a guess: none was seen yet)
│   └── fine tuning 1: about N s (by the time of an epoch)
└── pruning 0.5: about N s (a guess: none was seen yet), shared by 2
    └── fine tuning 1: about N s (by the time of an epoch), shared by 2
        └── quantization static int8: about N s (a guess: none was seen yet)
order:
    1  pruning 0.5 → fine tuning 1
    2  pruning 0.3 → fine tuning 1
    3  pruning 0.5 → fine tuning 1 → quantization static int8
N s without sharing, N s with it and what is cached; about N s on 1 worker. Exporting, \
measuring and judging come on top.
"""
TWICE = """
baseline
├── pruning 0.3: cached
│   └── fine tuning 1: cached
└── pruning 0.5: cached, shared by 2
    └── fine tuning 1: cached, shared by 2
        └── quantization static int8: cached
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    (folder / "toy.py").write_text(TASK)
    (folder / "recipes.yaml").write_text(RECIPES)
    return folder


def paretune(place, *words):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    told = subprocess.run(
        [sys.executable, "-m", "paretune.cli.main", *words, "--store", "store"],
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_a_plan_comes_true(place):
    asked = ("toy.py", "--recipes", "recipes.yaml", "--workers", "1")
    told = paretune(place, "plan", *asked)
    assert re.sub(r"\d+\.\d s\b", "N s", told) == BEFORE.lstrip()
    ran = paretune(place, "optimize", *asked, "--quick", "--json")
    assert json.loads(ran)["trials"]["done"] == 4
    after = json.loads(paretune(place, "plan", *asked, "--json"))
    assert all(node["cached"] for node in after["nodes"])
    assert after["shared_s"] == after["wall_s"] == 0 < after["alone_s"]
    assert {node["known"] for node in after["nodes"]} == {"trials"}
    text = io.StringIO()
    from rich.console import Console

    Console(file=text, width=80).print(tree(after))
    assert text.getvalue() == TWICE.lstrip()


def test_what_is_told_of_workers_and_of_the_order():
    steps = [{"technique": "fine_tuning", "epochs": 2}]
    told = {"recipes": [steps], "order": [0], "alone_s": 4.0, "shared_s": 2.0}
    *order, total = lines({**told, "wall_s": 1.0, "workers": 2})
    assert order == ["order:", "    1  fine tuning 2"]
    assert total.startswith(
        "4.0 s without sharing, 2.0 s with it and what is cached; about 1.0 s on 2 "
        "workers."
    )
