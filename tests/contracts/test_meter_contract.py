"""What every meter promises, whichever it is."""

from __future__ import annotations

import pytest

from paretune.catalog import METERS, usable_runtime
from paretune.core.budget import FOOTPRINT
from paretune.core.measurement import Measurement
from paretune.core.meter import Meter
from paretune.core.target import Target
from paretune.engine import launches
from paretune.measurement._protocol import Protocol
from tests.measurement.artifacts import Numbers, artifact, network, weights

BRIEF = Protocol("screening", launches=2, rounds=2, warmup_s=0.05, settle_s=0.2)


class Task(Numbers):
    def quality(self, outputs, targets):
        return {"accuracy": outputs["scores"].argmax(-1) == targets}


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    folder = tmp_path_factory.mktemp("meters")
    task, target = Task(), Target()
    launches.write_inputs(task, target, folder / "inputs.npz")
    return [
        launches.subject(
            usable_runtime("onnxruntime"),
            artifact(folder, network(weights(seed)), str(seed)),
            target,
            task,
            folder / "inputs.npz",
        )
        for seed in (0, 1)
    ]


def brief(name: str) -> Meter:
    meter = METERS[name]()
    if meter.alone:
        meter.protocol = BRIEF
    return meter


def test_every_footprint_metric_has_one_meter():
    given = [metric for name in METERS for metric in METERS[name].metrics]
    assert sorted(given) == sorted(FOOTPRINT)


@pytest.mark.parametrize("name", METERS)
def test_a_meter_measures_real_artifacts(name, subjects):
    meter = brief(name)
    taken = meter.measure(subjects, subjects[0])
    assert len(taken) == len(subjects)
    for subject, measurements in zip(subjects, taken, strict=True):
        metrics = tuple(m.metric for m in measurements)
        assert metrics == (meter.metrics or tuple(subject.task.metrics))
        for m in measurements:
            unit, better, _ = FOOTPRINT.get(m.metric, ("1", "higher", ""))
            assert (m.unit, m.better) == (unit, better)
            assert m.value > 0
            assert m.interval.low <= m.value <= m.interval.high
            assert Measurement.from_json(m.to_json()) == m
            assert (m.split is None) == (m.metric in FOOTPRINT)


@pytest.mark.parametrize("name", METERS)
def test_a_meter_of_nothing_is_quick(name, subjects):
    assert brief(name).measure([], subjects[0]) == []


@pytest.mark.parametrize("name", METERS)
def test_a_meter_that_must_be_alone_takes_a_protocol(name):
    if METERS[name].alone:
        assert METERS[name]("full").protocol.launches == 6
