"""Two files side by side."""

import dataclasses

import numpy as np
import pytest

from paretune.catalog import usable_runtime
from paretune.core.errors import MeasurementError, StoreError, TaskError
from paretune.core.target import Target
from paretune.engine import launches
from paretune.engine.comparison import RandomInputs, side_by_side, signature
from paretune.infrastructure.runtimes.null import Null
from paretune.measurement import _protocol
from tests.measurement.artifacts import Numbers, artifact, network, weights


@pytest.fixture
def brief(monkeypatch):
    quick = dataclasses.replace(
        _protocol.FULL, launches=3, rounds=2, warmup_s=0.05, settle_s=0.5, most=0
    )
    monkeypatch.setitem(_protocol.PROTOCOLS, "full", quick)


def test_random_inputs_fit_the_file_that_they_were_made_for(tmp_path):
    file = artifact(tmp_path, network(weights()))
    told = signature(file.path)
    assert told == {"input": ("float32", (None, 8))}
    task = RandomInputs(told)
    ((inputs, targets), *_) = task.batches("validation")
    assert inputs["input"].shape == (task.batch, 8)
    assert len(targets) == task.batch
    session = usable_runtime("onnxruntime").load(file, Target())
    assert session(inputs)["scores"].shape == (task.batch, 3)


def test_whole_numbers_are_rows_of_any_table():
    task = RandomInputs(
        {"tokens": ("int64", (None, None)), "mask": ("bool", (None, 4))}
    )
    ((inputs, _), *_) = task.batches("validation")
    assert set(np.unique(inputs["tokens"])) == {0, 1}
    assert inputs["tokens"].shape[1] == 64
    assert inputs["mask"].dtype == bool
    with pytest.raises(TaskError, match="no model"):
        task.model()


def test_a_damaged_file_is_one_sentence(tmp_path):
    file = artifact(tmp_path, b"no graph")
    with pytest.raises(StoreError, match="candidate-corrupt"):
        signature(file.path)


def test_both_have_figures_and_the_second_has_ratios_to_the_first(tmp_path, brief):
    target = Target()
    launches.write_inputs(Numbers(), target, tmp_path / "inputs.npz")
    inputs = RandomInputs({"input": ("float32", (None, 8))})
    small, large = (
        launches.subject(
            usable_runtime("onnxruntime"),
            artifact(tmp_path, network(weights(seed)), str(seed)),
            target,
            inputs,
            tmp_path / "inputs.npz",
        )
        for seed in (0, 1)
    )
    first, second, floor = side_by_side(small, large)
    assert first.keys() == second.keys()
    assert {"size", "transfer_size", "macs", "latency_p50", "peak_memory"} <= set(first)
    assert "accuracy" not in first
    assert floor == first["latency_p50"].floor
    assert second["latency_p50"].ratio is not None
    assert 0.2 < second["latency_p50"].ratio[0] < 5


def test_a_target_that_cant_be_served_is_refused_before_anything_runs():
    class Single(Null):
        scenarios = ("single_stream",)

    launches.check_target(Single(), Target(runtime="null"))
    with pytest.raises(
        MeasurementError, match=r"\[scenario\].*'offline'.*'single_stre"
    ):
        launches.check_target(Single(), Target(runtime="null", scenario="offline"))
    with pytest.raises(MeasurementError, match="at most"):
        launches.check_target(Single(), Target(runtime="null", threads=1024))
