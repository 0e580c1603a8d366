from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from paretune.compression.low_rank_factorization import LowRankFactorization
from paretune.compression.structured_pruning import StructuredPruning
from paretune.core.candidate import Candidate
from paretune.core.errors import MeasurementError, UnsupportedError
from paretune.core.recipe import Recipe
from paretune.core.technique import Run
from paretune.engine.realise import Prefixes
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.formats._units import Units, plan
from paretune.learning.fine_tuning import FineTuning
from paretune.store.cache import Cache
from tests.compression import models
from tests.toys import TOYS, Classes, ConvNet, PairNet, ResNet, TextNet

EVERY = [lambda m=m: models.task(m) for m in models.ALL] + list(TOYS.values())
NAMES = [m.__name__ for m in models.ALL] + list(TOYS)


def pruned(task, model=None, **parameters):
    model = task.model() if model is None else model
    return StructuredPruning(**parameters).on_torch(model, Run(task))


def answers(model, task):
    inputs = torch_format.tensors(next(iter(task.batches("validation")))[0])
    with torch.no_grad():
        return torch_format.call(model, inputs)


def weights(model):
    return sum(p.numel() for p in model.parameters())


def sizes(model):
    return {
        name: getattr(module, "out_channels", getattr(module, "out_features", None))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
    }


@pytest.mark.parametrize("make", EVERY, ids=NAMES)
@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_every_kind_of_model_gets_smaller_and_still_loads(
    make, importance, scope, tmp_path
):
    task = make()
    model = task.model()
    small = pruned(task, importance=importance, scope=scope)
    assert weights(small) < weights(model)
    assert dict(small.named_modules()).keys() == dict(model.named_modules()).keys()
    assert not small.training
    torch_format.save(Candidate(small, "torch"), task, tmp_path)
    again = torch_format.load(tmp_path, task).model
    got, loaded = answers(small, task), answers(again, task)
    for a, b in zip(
        got.values() if isinstance(got, dict) else [got],
        loaded.values() if isinstance(loaded, dict) else [loaded],
        strict=True,
    ):
        assert torch.equal(a, b)


def test_dead_channels_of_a_plain_network_are_the_ones_that_go():
    task = ConvNet()
    model = task.model()
    with torch.no_grad():
        for layer, norm, reader in ((0, 1, 4), (4, 5, 9)):
            dead = slice(1, None, 2)
            model[layer].weight[dead] = 0
            model[norm].weight[dead] = 0
            model[reader].weight[:, dead] = 0
    small = pruned(task, model, ratio=0.5)
    assert sizes(small) == {"0": 8, "4": 16, "9": 3}
    torch.testing.assert_close(answers(small, task), answers(model, task))


def test_dead_heads_and_units_of_an_encoder_are_the_ones_that_go():
    task = TextNet()
    model = task.model()
    with torch.no_grad():
        for layer, dead in zip(model.layers, (0, 2), strict=True):
            rows = torch.arange(dead * 8, dead * 8 + 8)
            for part in range(3):
                layer.attention.qkv.weight[part * 32 + rows] = 0
            layer.attention.proj.weight[:, rows] = 0
            layer.mlp[0].weight[::4] = 0
            layer.mlp[2].weight[:, ::4] = 0
    small = pruned(task, model, ratio=0.25, round_to=16)
    left = small.layers[0].attention
    assert (left.num_heads, left.head_dim) == (3, 8)
    assert (left.qkv.out_features, left.proj.in_features) == (72, 24)
    assert small.layers[0].mlp[0].out_features == 48
    torch.testing.assert_close(answers(small, task), answers(model, task))


@pytest.mark.parametrize(
    ("model", "path", "attribute"),
    [(models.Separate, "", "n_heads"), (models.ByHead, "", "heads")],
)
def test_heads_leave_however_the_projections_are_laid_out(model, path, attribute):
    task = models.task(model)
    small = pruned(task, ratio=0.5)
    assert getattr(small.get_submodule(path), attribute) == 2
    assert small.out.in_features == 16


def test_heads_can_be_left():
    small = pruned(TextNet(), heads=False)
    assert small.layers[0].attention.num_heads == 4
    assert small.layers[0].attention.qkv.out_features == 96
    assert small.layers[0].mlp[0].out_features == 32


def test_sizes_that_the_owner_remembers_are_right_afterwards():
    assert pruned(models.task(models.Separate)).inner == 16


def test_pytorchs_own_attention_is_left_alone_and_the_rest_pruned():
    said = []
    task = models.task(models.Builtin)
    run = Run(task, progress=lambda what, share: said.append((what, share)))
    small = StructuredPruning().on_torch(task.model(), run)
    assert sizes(small)["layers.layers.0.linear1"] == 32
    assert small.layers.layers[0].self_attn.embed_dim == 32
    told = "pruned; left alone: embed (nn.MultiheadAttention adds to it)"
    assert said[-1] == (told, 1.0)


def test_what_was_left_alone_is_said():
    said = []
    task = models.task(models.Hardcoded)
    run = Run(task, progress=lambda what, share: said.append(what))
    small = StructuredPruning().on_torch(task.model(), run)
    assert sizes(small) == {"first": 16, "hidden": 16, "head": 3}
    assert said[-1] == "pruned; left alone: first"


def test_the_embedding_can_be_left():
    small = pruned(TextNet(), ratio=0.5, embedding=False)
    assert small.embed.embedding_dim == 32
    assert small.position.shape == (1, 12, 32)
    for layer in small.layers:
        assert layer.attention.num_heads == 2
        assert sizes(layer.mlp) == {"0": 32, "2": 32}


def test_a_transformer_gets_narrower_everywhere():
    small = pruned(TextNet(), ratio=0.5)
    assert small.embed.weight.shape == (50, 16)
    assert small.position.shape == (1, 12, 16)
    assert small.norm.normalized_shape == (16,)
    assert small.head.in_features == 16
    for layer in small.layers:
        assert layer.norm1.normalized_shape == layer.norm2.normalized_shape == (16,)
        assert sizes(layer.attention) == {"qkv": 48, "proj": 16}
        assert sizes(layer.mlp) == {"0": 32, "2": 16}


def test_the_transformer_of_an_example_gets_narrower_with_its_mask():
    path = Path(__file__).parents[2] / "examples" / "sentiment" / "task.py"
    spec = importlib.util.spec_from_file_location("sentiment_example", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    class Masked(TextNet):
        def split(self, name):
            tokens, labels = super().split(name)
            padded = np.zeros((len(tokens), example.LENGTH), np.int64)
            padded[:, : tokens.shape[1]] = tokens + 1
            padded[::2, 6:] = 0
            return padded, labels % 2

        def model(self):
            torch.manual_seed(0)
            return example.Net().eval()

    task = Masked()
    small = pruned(task, ratio=0.5)
    assert small.embed.embedding_dim == small.norm.normalized_shape[0] == 48
    assert small.position.shape == (1, example.LENGTH, 48)
    for layer in small.layers:
        assert layer.attention.num_heads == 2
        assert sizes(layer.attention) == {"qkv": 144, "proj": 48}
        assert sizes(layer.mlp) == {"0": 192, "2": 48}
    assert weights(small) < 0.52 * weights(task.model())


@pytest.mark.parametrize("make", EVERY, ids=NAMES)
def test_rounds_come_to_the_same_sizes(make):
    once = pruned(make(), round_to=1, ratio=0.6)
    thrice = pruned(make(), round_to=1, ratio=0.6, rounds=3)
    assert sizes(thrice) == sizes(once)


@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_a_later_round_counts_what_went_before(scope):
    places = {
        "a": Units((1.0, 2.0, 3.0, 4.0, 9.0), first=10),
        "b": Units((5.0, 6.0, 7.0, 8.0), first=4),
    }
    gone = plan(places, 0.5, scope, 1)
    assert gone == ({"b": [0, 1]} if scope == "uniform" else {"a": [0, 1]})


def test_importance_is_taken_anew_on_what_is_left():
    """What only channels that are gone have read is of no importance any more."""
    task = ConvNet()
    model = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 8, bias=False),
        nn.ReLU(),
        nn.Linear(8, 8, bias=False),
        nn.ReLU(),
        nn.Linear(8, 3),
    ).eval()
    with torch.no_grad():
        model[1].weight[:] = 0.1
        model[3].weight[:] = 0.01
        # The first four are read by the last four, which matter least themselves.
        model[3].weight[4:, :4] = 1.0
        model[3].weight[:4, 4:] = 1.5
        model[5].weight[:, :4] = 10.0
        model[5].weight[:, 4:] = 0.001
    once = pruned(task, model, ratio=0.5, round_to=1)
    again = pruned(task, model, ratio=0.5, round_to=1, rounds=4)
    inputs = torch.rand(16, 1, 8, 8)
    with torch.no_grad():
        aim = model(inputs)
        assert (again(inputs) - aim).norm() <= (once(inputs) - aim).norm()
    assert sizes(again) == sizes(once)


@pytest.mark.parametrize("task", [ConvNet(), ResNet(), TextNet()], ids=lambda t: t.name)
def test_what_was_pruned_can_be_pruned_again(task, tmp_path):
    prune = StructuredPruning(ratio=0.3, round_to=1)
    once = prune.apply(Candidate(task.model(), "torch"), Run(task))
    twice = prune.apply(once, Run(task))
    assert weights(twice.model) < weights(once.model) < weights(task.model())
    torch_format.save(twice, task, tmp_path)
    again = torch_format.load(tmp_path, task).model
    assert torch.equal(answers(again, task), answers(twice.model, task))


@pytest.mark.parametrize("task", [ConvNet(), ResNet(), TextNet()], ids=lambda t: t.name)
@pytest.mark.parametrize("scope", ["uniform", "macs"])
def test_chains_in_the_place_of_layers_are_pruned(task, scope, tmp_path):
    low_rank = LowRankFactorization(keep=0.6, round_to=4)
    candidate = low_rank.apply(Candidate(task.model(), "torch"), Run(task))
    chains = {
        n for n, m in candidate.model.named_modules() if isinstance(m, nn.Sequential)
    } - {n for n, m in task.model().named_modules() if isinstance(m, nn.Sequential)}
    assert chains
    prune = StructuredPruning(ratio=0.5, round_to=1, scope=scope)
    small = prune.apply(candidate, Run(task))
    assert weights(small.model) < 0.8 * weights(candidate.model)
    assert small.traits == {"factorized", "pruned"}
    torch_format.save(small, task, tmp_path)
    again = torch_format.load(tmp_path, task).model
    assert torch.equal(answers(again, task), answers(small.model, task))


def test_pruning_and_training_in_turns_share_their_beginnings(tmp_path):
    prune = StructuredPruning(ratio=0.3, round_to=1)
    tune = FineTuning(epochs=1)
    prefixes = Prefixes(Run(ConvNet()), "task", Cache(tmp_path))
    first = prefixes.realise(Recipe((prune, tune)), "torch")
    second = prefixes.realise(Recipe((prune, tune, prune, tune)), "torch")
    assert [t["cached"] for t in second.trace] == [True, True, True, False, False]
    assert second.trace[2]["parameters"] == first.trace[2]["parameters"]
    assert second.trace[4]["parameters"] < first.trace[2]["parameters"]


def test_channels_that_are_mixed_otherwise_are_left_alone():
    small = pruned(models.task(models.Averaging))
    assert sizes(small) == {"first": 16, "map": 1, "second": 16, "head": 3}


def test_layers_that_make_outputs_keep_their_features():
    small = pruned(PairNet(), ratio=0.9, round_to=1)
    assert sizes(small) == {"left": 2, "right": 2, "value": 1, "label": 3}
    small = pruned(models.task(models.Embedding))
    assert sizes(small) == {"wide": 32, "narrow": 32}
    assert small.embed.embedding_dim == 32


def test_tied_weights_stay_one():
    small = pruned(models.task(models.Separate))
    assert small.head.weight is small.embed.weight
    assert small.embed.weight.shape == (50, 16)


@pytest.mark.parametrize("round_to", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_channels_come_in_multiples(round_to, scope):
    model = nn.Sequential(
        nn.Conv2d(1, 64, 3),
        nn.ReLU(),
        nn.Conv2d(64, 96, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, 3),
    ).eval()
    small = pruned(ConvNet(), model, ratio=0.37, round_to=round_to, scope=scope)
    assert small[0].out_channels % round_to == 0
    assert small[2].out_channels % round_to == 0
    left = small[0].out_channels + small[2].out_channels
    assert abs(left - 0.63 * 160) <= round_to


def test_a_global_ranking_leaves_a_tenth_of_each_layer():
    task = ConvNet()
    model = task.model()
    with torch.no_grad():
        for part in (model[0], model[1]):
            part.weight *= 1e-4
        model[4].weight *= 1e-4
        model[5].weight[:] = 100
    small = pruned(
        task, model, ratio=0.5, scope="global", round_to=1, importance="bn_scale"
    )
    assert sizes(small)["0"] == 2
    assert sizes(small)["4"] == 22


def test_taylor_drops_large_weights_that_the_loss_does_not_feel():
    task = ConvNet()
    model = task.model()
    with torch.no_grad():
        model[0].weight[:8] *= 100
        model[4].weight[:, :8] = 0
        model[4].weight[16:] *= 100
        model[9].weight[:, 16:] = 0
    by_loss = pruned(task, model, importance="taylor")
    torch.testing.assert_close(answers(by_loss, task), answers(model, task))
    by_size = pruned(task, model, importance="magnitude")
    assert not torch.allclose(answers(by_size, task), answers(model, task), atol=1e-3)


def test_bn_scale_drops_the_smallest_factors():
    task = ConvNet()
    model = task.model()
    with torch.no_grad():
        model[1].weight[:] = torch.arange(16) + 1.0
    small = pruned(task, model, importance="bn_scale")
    torch.testing.assert_close(small[1].weight, model[1].weight[8:])


def test_bn_scale_needs_batch_normalisation():
    with pytest.raises(UnsupportedError, match=r"\[not-applicable\].*magnitude"):
        pruned(TextNet(), importance="bn_scale")


def test_a_model_without_hidden_channels_can_not_be_pruned():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    with pytest.raises(UnsupportedError, match=r"\[not-applicable\]"):
        pruned(ConvNet(), model)


def test_a_ratio_that_rounds_to_nothing_says_so():
    with pytest.raises(UnsupportedError, match="raise ratio or lower round_to"):
        pruned(ConvNet(), ratio=0.05, round_to=16)


def test_a_loss_that_is_not_finite_is_told():
    class Broken(ConvNet):
        def loss(self, outputs, targets):
            return outputs.sum() * math.nan

    with pytest.raises(MeasurementError, match=r"\[nan\]"):
        pruned(Broken(), importance="taylor")


def test_frozen_weights_stay_frozen():
    task = ConvNet()
    model = task.model()
    model[0].weight.requires_grad_(False)
    small = pruned(task, model)
    assert not small[0].weight.requires_grad
    assert small[4].weight.requires_grad
    assert all(p.grad is None for p in small.parameters())
    assert all(p.requires_grad for n, p in model.named_parameters() if n != "0.weight")


def test_outputs_that_no_gradient_reaches():
    class Hard(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 3)

        def forward(self, x):
            return self.layer(x.flatten(1)).argmax(-1)

    class Task(Classes):
        def model(self):
            return Hard().eval()

    with pytest.raises(UnsupportedError, match=r"\[not-applicable\].*output"):
        pruned(Task())


places = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(
        lambda scores, copies: Units(tuple(scores), copies),
        st.lists(st.floats(0, 10), min_size=1, max_size=40),
        st.sampled_from([1, 2, 4]),
    ),
    min_size=1,
)


@given(
    places,
    st.floats(0.05, 0.95),
    st.sampled_from(["uniform", "global"]),
    st.sampled_from([1, 2, 4, 8, 16]),
)
def test_plans_drop_the_least_important_and_never_all(places, ratio, scope, round_to):
    for name, drop in plan(places, ratio, scope, round_to).items():
        units = places[name]
        kept = [s for i, s in enumerate(units.scores) if i not in set(drop)]
        assert kept and drop == sorted(set(drop))
        assert max(units.scores[i] for i in drop) <= min(kept)
        assert len(kept) * units.copies % round_to == 0


@given(places, st.floats(0.05, 0.95))
def test_a_global_plan_removes_the_share_that_was_asked_for(places, ratio):
    total = sum(len(u.scores) * u.copies for u in places.values())
    removed = sum(
        len(drop) * places[name].copies
        for name, drop in plan(places, ratio, "global", 1).items()
    )
    assert removed <= ratio * total + 2
