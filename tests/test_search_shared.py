"""Nodes that recipes share are computed once: by any process, and after any kill."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from paretune.catalog import recipe
from paretune.core.technique import Run
from paretune.engine.path import keys_of, path_of
from paretune.engine.realise import Prefixes
from paretune.store.cache import Cache
from paretune.store.trials import Trials
from paretune.strategies.sweep import Sweep
from tests.searching import Making, queue, search
from tests.toys import ConvNet

ROOT = Path(__file__).parents[1]
PRUNE = {"technique": "structured_pruning", "ratio": 0.5}
TUNE = {"technique": "fine_tuning", "epochs": 1}
INT8 = {"technique": "post_training_quantization"}
LISTED = tuple(
    recipe(steps)
    for steps in (
        [PRUNE, TUNE],
        [PRUNE, {**TUNE, "epochs": 2}],
        [{**PRUNE, "ratio": 0.3}, TUNE],
    )
)
WORK = """
import os, signal, sys
from pathlib import Path
from tests.test_search_shared import run

root, name, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def hear(kind, facts):
    if kind == "trial" and facts["trial"].number == last:
        os.kill(os.getpid(), signal.SIGKILL)

run(root, name, hear)
"""


def run(root, name, on_event=lambda *_: None):
    """One search of the recipes, in this process."""
    made = search(
        root,
        Sweep(listed=LISTED),
        [Making(root)],
        on_event=on_event,
        name=name,
        queue=queue(root),
    )
    made.run()
    made.course.store.release(made.course.lease)


def start(root, name, last=-1):
    """The same in a process of its own, which is killed after one of its trials."""
    words = [sys.executable, "-c", WORK, str(root), name, str(last)]
    return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def ended(process):
    _, told = process.communicate(timeout=120)
    return process.returncode, told


def computed(root):
    return Counter((root / "computed").read_text().split())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A store in which one search has run all."""
    root = tmp_path_factory.mktemp("alone")
    run(root, "alone")
    return root


def test_one_search_computes_each_node_once(root):
    found = computed(root)
    assert len(found) == 6 and set(found.values()) == {1}  # the baseline is one


def test_two_processes_on_one_store_compute_each_node_once(tmp_path, root):
    codes = [ended(p) for p in [start(tmp_path, "one"), start(tmp_path, "other")]]
    assert codes == [(0, ""), (0, "")]
    assert computed(tmp_path) == computed(root)
    for name in ("one", "other"):
        trials = Trials.open(tmp_path).trials(name)
        assert len(trials) == 4 and all(t.ok for t in trials)


def test_a_search_that_was_killed_goes_on_without_a_node_twice(tmp_path, root):
    assert ended(start(tmp_path, "cut", last=1))[0] == -signal.SIGKILL
    assert 0 < len(computed(tmp_path)) < 6
    run(tmp_path, "cut")
    assert computed(tmp_path) == computed(root)
    trials = Trials.open(tmp_path).trials("cut")
    assert len(trials) == 4 and all(t.ok for t in trials)


def test_a_queue_looks_for_nodes_where_they_are_kept(root):
    for listed in LISTED:
        keys = queue(root).name(listed)
        assert len(keys) == len(listed.steps)
        assert all(Cache(root).has(key) for key in keys)


def test_nor_is_one_that_left_torch_looked_for_elsewhere(tmp_path):
    work = Prefixes(Run(ConvNet(), seed=2), "task", Cache(tmp_path))
    quantized = recipe([PRUNE, INT8])
    last = [n for n in path_of(quantized, "onnx") if n.step != "export"][-2:]
    expected = tuple(work.key(node) for node in last)
    assert keys_of(quantized, "onnx", "task", 2) == expected
