"""The task's metrics on the artifact's own outputs, and metrics that are wrong."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from paretune.catalog import usable_runtime
from paretune.core.errors import MeasurementError, TaskError
from paretune.core.meter import Subject
from paretune.core.target import Target
from paretune.measurement.quality import RESAMPLES, Quality, outputs_of, scores
from tests.measurement.artifacts import Numbers, artifact, network, weights


class Lone(Numbers):
    """Takes the first of the network's two outputs."""

    def quality(self, outputs, targets):
        return {"accuracy": outputs["scores"].argmax(-1) == targets}


class Both(Lone):
    """A mean of samples, and one that is none."""

    metrics: ClassVar = {"accuracy": "higher", "worst_class": "higher"}

    def quality(self, outputs, targets):
        right = outputs["scores"].argmax(-1) == targets
        worst = min(right[targets == label].mean() for label in (0, 1, 2))
        return {"worst_class": worst, "accuracy": right}


class Session:
    """Answers with the sum of what it gets, under these names."""

    def __init__(self, *names: str, width: int = 2) -> None:
        self.names, self.width = names, width

    def __call__(self, inputs):
        total = sum(a.reshape(len(a), -1).sum(1) for a in inputs.values())
        return {n: np.repeat(total[:, None], self.width, 1) for n in self.names}

    def close(self): ...


def subject(tmp_path, task) -> Subject:
    file = artifact(tmp_path, network(weights()))
    runtime = usable_runtime("onnxruntime")
    return Subject(
        file, Target(), task, lambda: runtime.load(file, Target()), lambda _: None
    )


def expected(task, split):
    inputs, targets = task.split(split)
    w = weights()
    hidden = np.maximum(inputs @ w["w1"] + w["b1"], 0)
    return (hidden @ w["w2"] + w["b2"]).argmax(-1) == targets


@pytest.mark.parametrize("split", ["validation", "test"])
def test_accuracy_is_that_of_the_file_with_a_score_per_sample(tmp_path, split):
    task = Lone()
    ((measured,),) = Quality(split).measure([subject(tmp_path, task)], None)
    assert measured.kind == "samples"
    assert measured.values == tuple(expected(task, split).astype(float))
    assert (measured.split, measured.unit, measured.better) == (split, "1", "higher")
    assert len(measured.detail["outputs_sha256"]) == 64


def test_a_metric_that_is_no_mean_keeps_resamples_that_candidates_share(tmp_path):
    one = subject(tmp_path, Both())
    first, second = Quality().measure([one, one], None)
    accuracy, worst = first
    assert (accuracy.metric, worst.metric) == ("accuracy", "worst_class")
    assert worst.kind == "resamples"
    assert len(worst.values) == 1 + RESAMPLES
    assert worst.interval.low <= worst.value <= worst.interval.high
    assert worst.interval.low < worst.interval.high
    assert second[1].values == worst.values


def test_a_resample_without_a_class_counts_as_the_whole(tmp_path):
    class Rare(Lone):
        metrics: ClassVar = {"rare": "higher"}

        def quality(self, outputs, targets):
            rows = [0] if len(set(map(float, outputs["scores"][:, 0]))) == 160 else []
            if not rows:
                raise ZeroDivisionError
            return {"rare": 0.5}

    ((measured,),) = Quality().measure([subject(tmp_path, Rare())], None)
    assert set(measured.values) == {0.5}


@pytest.mark.parametrize(
    ("returned", "code", "says"),
    [
        ({"accuracy": float("nan")}, "metric-type", "nan"),
        ({"accuracy": np.array(np.inf)}, "metric-type", "finite"),
        ({"accuracy": np.array([1.0, np.nan, 0.0])}, "metric-type", "1 of 3 samples"),
        ({"accuracy": "good"}, "metric-type", "str 'good'"),
        ({"accuracy": None}, "metric-type", "NoneType"),
        ({"accuracy": True}, "metric-type", "bool"),
        ({"accuracy": 1j}, "metric-type", "complex"),
        ({"accuracy": [1, 0, 1]}, "metric-type", "numpy array"),
        ({"accuracy": np.array(["a"] * 3)}, "metric-type", "float"),
        ({"accuracy": np.ones(2)}, "metric-type", r"\(2,\) for 3 samples"),
        ({"accuracy": np.ones((3, 1))}, "metric-type", r"\(3, 1\) for 3 samples"),
        ({"acuracy": 1.0}, "metric-missing", "'accuracy'.*'acuracy'"),
        ({}, "metric-missing", "nothing"),
        (
            {"accuracy": 1.0, "acuracy": 1.0},
            "metric-unknown",
            "did you mean 'accuracy'",
        ),
        (0.9, "metric-type", "a dict of 'accuracy'"),
        (None, "metric-type", "NoneType"),
    ],
)
def test_what_is_no_metric_is_refused_in_one_sentence(returned, code, says):
    class Wrong(Numbers):
        def quality(self, outputs, targets):
            return returned

    with pytest.raises(TaskError, match=says) as caught:
        scores(Wrong(), np.zeros((3, 2)), np.zeros(3))
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_a_tensor_is_no_metric():
    import torch

    class Wrong(Numbers):
        def quality(self, outputs, targets):
            return {"accuracy": torch.ones(3)}

    with pytest.raises(TaskError, match=r"Tensor of shape \(3,\)"):
        scores(Wrong(), np.zeros((3, 2)), np.zeros(3))


def test_an_error_in_the_users_metric_says_where():
    class Wrong(Numbers):
        def quality(self, outputs, targets):
            return {"accuracy": outputs + targets}

    with pytest.raises(TaskError, match=r"ValueError at test_quality.py:\d+") as caught:
        scores(Wrong(), np.zeros((3, 2)), np.zeros(3))
    assert caught.value.code == "metric-raises"


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array(0.5), 1, np.int64(1)])
def test_any_real_number_is_a_metric(value):
    class Right(Numbers):
        def quality(self, outputs, targets):
            return {"accuracy": value}

    assert scores(Right(), np.zeros((3, 2)), np.zeros(3)) == {"accuracy": float(value)}


def test_outputs_have_the_structure_of_the_model():
    batches = [(np.ones((2, 3)), (np.zeros(2), np.ones(2)))] * 2
    lone, targets = outputs_of(Session("output"), batches)
    assert lone.shape == (4, 2)
    assert [len(t) for t in targets] == [4, 4]
    pair, _ = outputs_of(Session("output_0", "output_1"), batches)
    assert isinstance(pair, tuple)
    named, _ = outputs_of(Session("logits", "value"), batches)
    assert list(named) == ["logits", "value"]


def test_batches_that_cannot_be_put_together_are_refused():
    class Growing(Session):
        def __call__(self, inputs):
            self.width += 1
            return super().__call__(inputs)

    batches = [(np.ones((2, 3)), np.zeros(2))] * 2
    with pytest.raises(TaskError, match="pad them"):
        outputs_of(Growing("output"), batches)


def test_an_empty_split_is_refused():
    with pytest.raises(TaskError, match="empty"):
        outputs_of(Session("output"), [])


def test_an_unknown_split_is_named():
    with pytest.raises(MeasurementError, match="did you mean 'validation'"):
        Quality("validaton")


def test_the_session_is_closed_when_the_metric_raises(tmp_path):
    closed = []

    class Closing(Session):
        def close(self):
            closed.append(True)

    class Wrong(Numbers):
        def batches(self, split):
            raise TaskError("data-empty", "none")

    one = Subject(None, Target(), Wrong(), lambda: Closing("output"), None)
    with pytest.raises(TaskError):
        Quality().measure([one], one)
    assert closed
