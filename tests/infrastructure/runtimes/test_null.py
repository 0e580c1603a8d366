"""Its latency is known, and it answers whatever the file says."""

import json
import time

import numpy as np
import pytest

from paretune.core.candidate import Artifact
from paretune.core.target import Target
from paretune.infrastructure.runtimes.null import Null


def load(path, content):
    path.write_bytes(content)
    return Null().load(Artifact(path, "onnx", "0" * 64, len(content)), Target())


def test_outputs_are_as_the_file_says(tmp_path):
    settings = {"outputs": {"value": [1], "label": [3, 2]}}
    run = load(tmp_path / "m.onnx", json.dumps(settings).encode())
    got = run({"input": np.ones((5, 4))})
    assert {k: v.shape for k, v in got.items()} == {"value": (5, 1), "label": (5, 3, 2)}
    assert not got["label"].any()


@pytest.mark.parametrize("content", [b"\x08\x0a\xff junk", b"", b"[1, 2]", b"{}"])
def test_any_other_file_gives_one_zero_a_sample(content, tmp_path):
    run = load(tmp_path / "m.onnx", content)
    assert run({"input": np.ones((5, 4))})["output"].shape == (5, 1)


@pytest.mark.parametrize("wait_s", [0.001, 0.005])
def test_it_takes_exactly_as_long_as_told(wait_s, tmp_path):
    run = load(tmp_path / "m.onnx", json.dumps({"sleep_s": wait_s}).encode())
    inputs, taken = {"input": np.ones((1, 4))}, []
    for _ in range(30):
        start = time.perf_counter()
        run(inputs)
        taken.append(time.perf_counter() - start)
    assert wait_s <= min(taken) < wait_s + 50e-6
