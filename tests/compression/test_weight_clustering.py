from __future__ import annotations

import functools

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paretune.compression._clustering.sharing import centres, matrices, nearest_of
from paretune.compression.codebook_tuning import CodebookTuning
from paretune.compression.post_training_quantization import PostTrainingQuantization
from paretune.compression.weight_clustering import WeightClustering
from paretune.core.candidate import Candidate
from paretune.core.errors import RecipeError, UnsupportedError
from paretune.core.technique import Run
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.infrastructure.formats import torch as torch_format
from paretune.tasks.fashion import Fashion
from tests.compression import models
from tests.toys import TOYS, ConvNet, KeywordNet, TextNet


def clustered(task, model=None, **parameters) -> Candidate:
    candidate = Candidate(model or task.model(), "torch")
    return WeightClustering(**parameters).apply(candidate, Run(task))


def counts(model: nn.Module) -> dict[str, int]:
    return {name: len(torch.unique(w)) for name, w in matrices(model).items()}


def pruned(model: nn.Module, share: float) -> nn.Module:
    """Without the smallest weights of each matrix."""
    for weight in matrices(model).values():
        limit = weight.detach().abs().flatten().quantile(share)
        weight.data[weight.abs() <= limit] = 0
    return model


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([2, 4, 16, 64]), st.booleans())
def test_k_means_ends_where_nothing_can_move(seed, count, some_zero):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=2000).astype(np.float32) ** 3
    if some_zero:
        values[rng.random(2000) < 0.3] = 0
    table = centres(values, count)
    assert len(table) <= count
    assert (np.diff(table) > 0).all()
    moved = nearest_of(values, table)
    assert set(np.unique(moved)) <= set(table)
    if some_zero:
        assert 0 in table
        assert ((moved == 0) == (values == 0))[values == 0].all()
    else:
        np.testing.assert_array_equal(
            np.abs(values - moved), np.abs(values[:, None] - table).min(1)
        )
        for value in table:
            mine = values[moved == value].astype(np.float64)
            assert mine.mean() == pytest.approx(value, rel=1e-3, abs=1e-4)


def test_more_values_are_nearer():
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    errors = []
    for count in (4, 8, 16, 32, 64, 256):
        moved = nearest_of(values, centres(values, count))
        errors.append(float(np.mean((values - moved) ** 2)))
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.02  # the best that 16 values can do is 0.0095


@pytest.mark.parametrize("toy", ["convnet", "resnet", "signalnet", "textnet"])
@pytest.mark.parametrize("clusters", [4, 16])
def test_no_layer_has_more_values(toy, clusters):
    task = TOYS[toy]()
    made = clustered(task, clusters=clusters)
    assert made.traits == {"clustered"}
    assert max(counts(made.model).values()) <= clusters
    assert not any(isinstance(m, nn.BatchNorm2d) for m in made.model.modules())


@pytest.mark.parametrize("build", [models.Separate, models.Recurrent, models.Reused])
def test_shared_and_recurrent_weights(build):
    task = models.task(build)
    made = clustered(task, clusters=8).model
    assert max(counts(made).values()) <= 8
    if build is models.Separate:
        assert made.head.weight is made.embed.weight


def test_pruned_weights_stay_zero():
    task = ConvNet()
    before = pruned(task.model(), 0.6)
    after = clustered(task, before, clusters=4).model
    for name, weight in matrices(before).items():
        values = matrices(after)[name]
        assert torch.equal(values == 0, weight == 0)
        assert len(torch.unique(values)) <= 4


class Padded(TextNet):
    """A table whose first row is 0 and stands for padding."""

    def model(self):
        model = super().model()
        width = model.embed.embedding_dim
        model.embed = nn.Embedding(400, width, padding_idx=0).eval()
        return model


@pytest.mark.parametrize("clusters", [4, 16])
def test_few_zeros_stay_zero_too(clusters):
    task = Padded()
    before = task.model()
    assert 0 < float((before.embed.weight == 0).float().mean()) < 0.005
    after = clustered(task, before, clusters=clusters).model
    assert not after.embed.weight[0].any()
    assert max(counts(after).values()) <= clusters


def test_layers_may_be_called_by_keyword():
    one, other = (clustered(task).model for task in (ConvNet(), KeywordNet()))
    tensors = other.state_dict()
    assert all(torch.equal(tensors[k], v) for k, v in one.state_dict().items())


def test_layers_that_are_named_are_left():
    task = ConvNet()
    made = clustered(task, clusters=4, skip="Linear, 0").model
    left = {name for name, count in counts(made).items() if count > 4}
    assert left == {"0.weight", "9.weight"}
    with pytest.raises(UnsupportedError, match="no layer matches 'haed'"):
        clustered(task, skip="haed")


def test_there_must_be_something_to_do():
    task = ConvNet()
    once = clustered(task, clusters=16)
    with pytest.raises(RecipeError, match="clustered"):
        WeightClustering().apply(once, Run(task))
    with pytest.raises(UnsupportedError, match="leave this step out"):
        clustered(task, once.model, clusters=256)


class Few(Fashion):
    """Some of fashion, for a test of seconds."""

    def split(self, name):
        images, labels = super().split(name)
        return images[:1500], labels[:1500]


@functools.cache
def base() -> Candidate:
    return Candidate(Few().model(), "torch")


def accuracy(path) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    images, labels = Few().split("validation")
    (name,) = (i.name for i in session.get_inputs())
    outputs = [
        session.run(None, {name: images[i : i + 300]})[0] for i in range(0, 1500, 300)
    ]
    return float((np.concatenate(outputs).argmax(-1) == labels).mean())


def written(candidate: Candidate, path):
    if candidate.format == "torch":
        candidate = onnx_format.from_torch(candidate, Few())
    return onnx_format.write(candidate, Few(), path)


SIZE = 4 * 426_602  # bytes of the baseline's weights


def test_it_makes_files_smaller_on_real_data(tmp_path):
    small = written(clustered(Few(), clusters=16), tmp_path / "small.onnx")
    assert small.size < SIZE / 7.5
    assert accuracy(small.path) > right(base().model) - 0.06


def test_with_pruning_before_and_eight_bits_after(tmp_path):
    model = pruned(Few().model(), 0.3)
    candidate = clustered(Few(), model, clusters=32)
    exported = onnx_format.from_torch(candidate, Few())
    sparse = written(exported, tmp_path / "sparse.onnx")
    assert sparse.size < SIZE / 4.3
    assert accuracy(sparse.path) > right(model) - 0.03
    quantization = PostTrainingQuantization(samples=64)
    both = written(quantization.apply(exported, Run(Few())), tmp_path / "both.onnx")
    assert both.size < SIZE / 4.3
    assert accuracy(both.path) > right(model) - 0.03


def right(model: nn.Module) -> float:
    """The accuracy of a torch model."""
    x, y = torch_format.tensors(Few().split("validation"))
    with torch.no_grad():
        return float((model(x).argmax(-1) == y).float().mean())


def loss(model: nn.Module) -> float:
    x, y = torch_format.tensors(Few().split("validation"))
    with torch.no_grad():
        return float(Few().loss(model(x), y))


@pytest.fixture(scope="module")
def tuned():
    model = pruned(Few().model(), 0.5)
    before = clustered(Few(), model, clusters=8)
    return before, CodebookTuning(epochs=2, learning_rate=2e-3).apply(
        before, Run(Few())
    )


def test_tuning_improves_what_clustering_lost(tuned):
    before, after = tuned
    assert loss(after.model) < 0.8 * loss(before.model)


def test_tuning_keeps_equal_weights_equal_and_zeros_zero(tuned):
    before, after = tuned
    for name, weight in matrices(before.model).items():
        given, made = weight.detach().flatten(), matrices(after.model)[name].flatten()
        assert torch.equal(given == 0, made == 0)
        for value in torch.unique(given):
            assert len(torch.unique(made[given == value])) == 1
        assert not torch.equal(given, made)
    assert type(after.model.features[0]) is nn.Conv2d
    assert [n for n, _ in after.model.named_modules()] == [
        n for n, _ in before.model.named_modules()
    ]
