"""Factors moved between layers: equalisation, and SmoothQuant."""

from __future__ import annotations

import functools

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from paretune.compression._quantization import choice, equalise, smooth
from paretune.compression._quantization.weights import arrays
from tests.compression import models
from tests.compression.separable import (
    Clothes,
    accuracy,
    answers,
    exported,
    off,
    passes_parity,
    quantized,
    uneven,
)
from tests.toys import ConvNet, PairNet, ResNet, SignalNet, TextNet

ON = functools.partial(models.task, models.Depthwise)


def clothes():
    return Clothes(uneven)


@functools.cache
def source() -> onnx.ModelProto:
    return exported(clothes())


def equalised(model, kept=()):
    graph = choice.prepare(model)
    return graph, equalise.channels(graph, kept)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (clothes, 7),
        (ConvNet, 2),
        (ResNet, 2),  # within the blocks: what is added to is read twice
        (SignalNet, 2),
        (ON, 0),  # ReLU6 is no multiple of itself
        (functools.partial(models.task, models.Flattened), 3),
        (functools.partial(models.task, models.Grouped), 2),
        (functools.partial(models.task, models.Shuffled), 2),
        (functools.partial(models.task, models.Embedding), 1),
        (functools.partial(models.task, models.Reused), 1),
        (PairNet, 0),
    ],
)
def test_equalised_graphs_compute_the_same(make, count):
    task = make()
    model = exported(task)
    graph, found = equalised(model)
    assert found == count
    wanted = answers(model, task)
    apart = np.abs(answers(graph, task) - wanted).max()
    assert apart <= 1e-4 * np.abs(wanted).max()
    before = arrays(model, [i.name for i in model.graph.initializer])
    after = arrays(graph, before)
    changed = [
        k for k in after if k in before and not np.array_equal(after[k], before[k])
    ]
    assert bool(changed) == bool(count)


def test_channels_have_one_size_on_both_sides_of_a_pair():
    graph, _ = equalised(source())
    (pair, *_) = equalise.pairs(graph, ())
    held = arrays(graph, [pair.first.input[1], pair.second.input[1]])
    given, taken = (np.abs(a).reshape(len(a), -1).max(1) for a in held.values())
    large = given > 1e-3  # not those that a bias keeps large
    np.testing.assert_allclose(np.median(given[large] / taken[large]), 1, rtol=0.3)


def test_equalisation_brings_back_what_uneven_channels_cost():
    task = clothes()
    plain = quantized(task, source())
    even = quantized(task, source(), equalise=True)
    assert off(even, source(), task) < 0.5 * off(plain, source(), task)
    assert accuracy(even, task) >= accuracy(source(), task) - 0.02
    assert passes_parity(even, source(), task) >= 10


def test_equalised_weights_of_4_bits_pass_parity():
    task = clothes()
    model = quantized(task, source(), equalise=True, weight_bits=4, rounding="adaptive")
    assert passes_parity(model, source(), task) >= 10


def test_layers_kept_in_float_are_not_touched():
    graph, found = equalised(source(), {"features.0/Conv"})
    assert found == 6
    name = "features.0.weight"
    np.testing.assert_array_equal(
        arrays(graph, [name])[name], arrays(source(), [name])[name]
    )


def test_channels_without_weights_are_left_as_they_are():
    class Dead(ConvNet):
        def model(self):
            torch.manual_seed(0)
            model = nn.Sequential(
                *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)),
                *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            )
            with torch.no_grad():
                model[0].weight[2] = 0.0
                model[2].weight[:, 5] = 0.0
                model[0].weight[3] *= 1e-6
                model[0].bias[3] = 2.0
            return model.eval()

    task = Dead()
    model = exported(task)
    graph, found = equalised(model)
    assert found == 1
    held = arrays(graph, ["0.weight", "0.bias", "2.weight"])
    assert all(np.isfinite(a).all() for a in held.values())
    assert np.abs(held["0.bias"]).max() <= 2.0
    np.testing.assert_allclose(answers(graph, task), answers(model, task), atol=1e-5)


class Outliers(TextNet):
    """Some channels of the normalised activations are far larger than all others."""

    name = "outliers"

    def model(self):
        model = super().model()
        with torch.no_grad():
            for layer in model.layers:
                for norm, reader in (
                    (layer.norm1, layer.attention.qkv),
                    (layer.norm2, layer.mlp[0]),
                ):
                    norm.weight[[3, 17]] *= 60.0
                    norm.bias[[3, 17]] *= 60.0
                    reader.weight[:, [3, 17]] /= 60.0
        return model


@functools.cache
def outliers() -> onnx.ModelProto:
    return exported(Outliers())


def test_smoothing_brings_back_what_outliers_cost():
    task = Outliers()
    plain = off(quantized(task, outliers()), outliers(), task)
    model = quantized(task, outliers(), smooth=0.5)
    assert off(model, outliers(), task) < 0.3 * plain
    assert passes_parity(model, outliers(), task) >= 15
    weak = off(quantized(task, outliers(), smooth=0.1), outliers(), task)
    assert off(model, outliers(), task) < weak < plain


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (Outliers, 4),
        (functools.partial(models.task, models.Llama), 1),
        (functools.partial(models.task, models.Separate), 2),
        (functools.partial(models.task, models.Builtin), 0),  # norms come last
        (functools.partial(models.task, models.Inverted), 1),
        (ConvNet, 0),
    ],
)
def test_smoothed_graphs_compute_the_same(make, count):
    task = make()
    model = exported(task)
    graph = choice.prepare(model)
    spots = smooth.spots(graph, ())
    assert len(spots) == count
    rng = np.random.default_rng(0)
    sizes = arrays(graph, [s.scales[0] for s in spots])
    peaks = {s.value: rng.uniform(0, 9, sizes[s.scales[0]].shape) for s in spots}
    smooth.move(graph, spots, peaks, 0.7)
    wanted = answers(model, task)
    apart = np.abs(answers(graph, task) - wanted).max()
    assert apart <= 1e-4 * np.abs(wanted).max()


def test_smoothing_leaves_a_layer_that_is_kept_in_float():
    graph = choice.prepare(outliers())
    kept = choice.matching(graph, "layers.0.mlp")
    values = {s.value for s in smooth.spots(graph, ())}
    assert len(values - {s.value for s in smooth.spots(graph, kept)}) == 1
