"""Calibration from what batch normalisation keeps, no split of the task at hand."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

from paretune.compression._quantization import distilled
from paretune.compression.post_training_quantization import PostTrainingQuantization
from paretune.core.errors import TaskError, UnsupportedError
from paretune.core.technique import Run, Stage
from tests.compression.separable import (
    Clothes,
    accuracy,
    exported,
    off,
    passes_parity,
    quantized,
)
from tests.toys import ConvNet, KeywordNet, PairNet, SignalNet, TextNet


class Secret(Clothes):
    """Its data must not be looked at."""

    def batches(self, split):
        raise AssertionError(f"{split} was read")


@functools.cache
def without(**parameters):
    source = exported(Clothes())
    return source, quantized(
        Secret(), source, calibration_data="bn_statistics", **parameters
    )


def test_it_does_about_as_well_as_with_data_and_reads_none():
    source, free = without()
    task = Clothes()
    calibrated = quantized(task, source)
    assert accuracy(free, task) >= accuracy(calibrated, task) - 0.02
    assert off(free, source, task) < 0.15
    assert passes_parity(free, source, task) >= 10


def test_the_inputs_have_the_statistics_of_training():
    task, source = Clothes(), exported(Clothes())
    run = distilled.without_data(Run(Secret()), source, 32)
    (batch, targets), *_ = run.task.batches("calibration")
    assert targets is None and batch["input"].shape == (32, 1, 28, 28)
    model = task.model()
    norm, layer = model.features[4], model.features[:4]

    def apart(images):
        with torch.no_grad():
            value = layer(torch.as_tensor(images))
        mean = value.mean((0, 2, 3)) - norm.running_mean
        return float((mean / norm.running_var.sqrt()).abs().mean())

    noise = np.random.default_rng(0).normal(size=batch["input"].shape)
    assert apart(batch["input"]) < 0.5 * apart(noise.astype(np.float32))
    with pytest.raises(TaskError, match="'train'"):
        run.task.batches("train")


def test_layers_may_be_called_by_keyword():
    made = []
    for task in (ConvNet(), KeywordNet()):
        run = distilled.without_data(Run(task), exported(ConvNet()), 4)
        made += [batch["input"] for batch, _ in run.task.batches("calibration")]
    assert np.array_equal(*made)


def test_the_last_torch_model_of_the_recipe_is_the_one_that_counts():
    asked = []

    class Other(SignalNet):
        def model(self):
            asked.append("task")
            return super().model()

    def stage(name, model):
        def fetch():
            asked.append(name)
            return model

        return Stage(name, False, fetch)

    source = exported(SignalNet())
    stages = (
        stage("baseline", SignalNet().model()),
        stage("fine_tuning", SignalNet().model()),
        stage("export", source),
    )
    technique = PostTrainingQuantization(calibration_data="bn_statistics", samples=16)
    technique.on_onnx(source, Run(Other(), stages=stages))
    assert asked == ["export", "fine_tuning"]


@pytest.mark.parametrize("make", [ConvNet, SignalNet])
def test_it_gives_way_and_repeats_itself(make):
    source, ways, said = exported(make()), [], []
    technique = PostTrainingQuantization(calibration_data="bn_statistics", samples=16)
    run = Run(
        make(),
        give_way=lambda: ways.append(1),
        progress=lambda what, share: said.append((what, share)),
    )
    first = technique.on_onnx(source, run).SerializeToString(deterministic=True)
    assert len(ways) > distilled.STEPS
    assert all(0 <= share <= 1 for _, share in said)
    again = technique.on_onnx(source, Run(make()))
    assert again.SerializeToString(deterministic=True) == first


@pytest.mark.parametrize(
    ("make", "reason"), [(TextNet, "batch normalisation"), (PairNet, "normalisation")]
)
def test_a_model_that_keeps_no_statistics_is_refused(make, reason):
    with pytest.raises(UnsupportedError, match=reason):
        quantized(make(), exported(make()), calibration_data="bn_statistics")


def test_inputs_that_can_not_be_made_up_are_refused():
    class Words(TextNet):
        def model(self):
            torch.manual_seed(0)
            return nn.Sequential(
                *(nn.Embedding(50, 12), nn.Conv1d(12, 8, 1), nn.BatchNorm1d(8)),
                *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3)),
            ).eval()

    with pytest.raises(UnsupportedError, match="'input'"):
        quantized(Words(), exported(Words()), calibration_data="bn_statistics")
