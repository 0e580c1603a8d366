"""Edits replay, weights come back bit by bit, ties hold."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paretune.core.candidate import Candidate
from paretune.core.errors import StoreError, TaskError, UnsupportedError
from paretune.infrastructure.formats import torch as torch_format
from tests.infrastructure.formats.zoo import (
    PRUNABLE,
    ZOO,
    Tied,
    TorchsModel,
    Zoo,
    pruned,
)
from tests.toys import ConvNet, PairNet


def run(model, task):
    with torch.inference_mode():
        outputs = torch_format.call(model, torch_format.sample(task))
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


def assert_same(model, other, task):
    for got, wanted in zip(run(model, task), run(other, task), strict=True):
        assert torch.equal(got, wanted)


def assert_kept(candidate, task, folder):
    torch_format.save(candidate, task, folder)
    loaded = torch_format.load(folder, task)
    assert (loaded.format, loaded.traits) == ("torch", candidate.traits)
    assert loaded.lineage == candidate.lineage
    assert not any(m.training for m in loaded.model.modules())
    assert_same(loaded.model, candidate.model, task)
    return loaded.model


@pytest.mark.parametrize("name", PRUNABLE)
def test_pruned_models_come_back(name, tmp_path):
    task = PRUNABLE[name]()
    model = pruned(task)
    changes = torch_format.edits(task.model(), model)
    assert changes == json.loads(json.dumps(changes))
    replayed = torch_format.replay(task.model(), changes)
    shapes = {k: v.shape for k, v in model.state_dict().items()}
    assert {k: v.shape for k, v in replayed.state_dict().items()} == shapes
    assert torch_format.edits(model, replayed) == []
    candidate = Candidate(model, "torch", frozenset({"pruned"}), ('{"a": 1}',))
    assert_kept(candidate, task, tmp_path)


@pytest.mark.parametrize("name", ZOO)
def test_unpruned_models_need_no_edits(name, tmp_path):
    task = ZOO[name]()
    model = torch_format.clone(task.model())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-3)
    assert torch_format.edits(task.model(), model) == []
    loaded = assert_kept(Candidate(model, "torch"), task, tmp_path)
    for ours, theirs in zip(loaded.parameters(), model.parameters(), strict=True):
        assert ours.requires_grad == theirs.requires_grad


@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    data=st.data(),
)
@settings(max_examples=30, deadline=None)
def test_any_narrowing_or_widening_replays(widths, data):
    def build(sizes):
        layers = []
        for before, after in zip([3, *sizes], [*sizes, 2], strict=True):
            layers += [nn.Linear(before, after), nn.LayerNorm(after)]
        return nn.Sequential(*layers)

    others = [data.draw(st.integers(1, 9)) for _ in widths]
    base, model = build(widths), build(others)
    replayed = torch_format.replay(
        build(widths), json.loads(json.dumps(torch_format.edits(base, model)))
    )
    assert torch_format.edits(model, replayed) == []
    assert replayed(torch.zeros(2, 3)).shape == (2, 2)
    assert isinstance(replayed[1].normalized_shape, tuple)


def narrow_tied(model, width):
    model.embed = nn.Embedding(20, width)
    model.inner = nn.Linear(width, width)
    model.out = nn.Linear(width, 20, bias=False)
    model.out.weight = model.embed.weight
    model.register_buffer("mask", torch.linspace(0, 1, width), persistent=False)
    return model.eval()


def test_shared_parameters_stay_shared(tmp_path):
    task = Tied()
    model = narrow_tied(task.model(), 5)
    loaded = assert_kept(Candidate(model, "torch"), task, tmp_path)
    assert loaded.out.weight is loaded.embed.weight
    counted = torch_format.count(Candidate(loaded, "torch"), task)
    assert counted["parameters"] == 20 * 5 + 5 * 5 + 5


def test_ties_may_be_cut_and_made(tmp_path):
    task = Tied()
    cut = task.model()
    cut.out.weight = nn.Parameter(cut.out.weight.detach() * 2)
    loaded = assert_kept(Candidate(cut, "torch"), task, tmp_path / "cut")
    assert loaded.out.weight is not loaded.embed.weight

    class Untied(Zoo):
        def build(self):
            return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))

        shape = (4,)

    made = Untied().model()
    made[1].weight = made[0].weight
    loaded = assert_kept(Candidate(made, "torch"), Untied(), tmp_path / "made")
    assert loaded[1].weight is loaded[0].weight


def test_recurrent_modules_use_their_new_weights(tmp_path):
    task = ZOO["recurrent"]()
    model = task.model()
    model.lstm = nn.LSTM(6, 5, batch_first=True)
    model.head = nn.Linear(5, 4)
    assert_kept(Candidate(model.eval(), "torch"), task, tmp_path)


def test_attention_heads_are_attributes(tmp_path):
    task = ZOO["torchs"]()
    model = task.model()
    for layer in model.encoder.layers:
        layer.self_attn.num_heads, layer.self_attn.head_dim = 2, 8
    changes = torch_format.edits(task.model(), model)
    assert changes[0]["attributes"] == {"num_heads": 2, "head_dim": 8}
    assert_kept(Candidate(model, "torch"), task, tmp_path)


def test_a_narrower_transformer_of_torchs_own_comes_back(tmp_path):
    task = ZOO["torchs"]()
    model = TorchsModel(width=6, heads=2).eval()
    loaded = assert_kept(Candidate(model, "torch"), task, tmp_path)
    attention = loaded.encoder.layers[0].self_attn
    assert (attention.embed_dim, attention.num_heads, attention.head_dim) == (6, 2, 3)


def test_memory_layout_comes_back(tmp_path):
    task = ConvNet()
    model = task.model().to(memory_format=torch.channels_last)
    loaded = assert_kept(Candidate(model, "torch"), task, tmp_path)
    assert loaded[4].weight.stride() == model[4].weight.stride()


def test_a_bias_may_go_and_a_dtype_may_change(tmp_path):
    task = ConvNet()
    model = task.model()
    model[9].bias = None
    assert_kept(Candidate(model, "torch"), task, tmp_path)
    half = task.model().bfloat16()
    torch_format.save(Candidate(half, "torch"), task, tmp_path / "half")
    loaded = torch_format.load(tmp_path / "half", task).model
    assert loaded[0].weight.dtype == torch.bfloat16


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.__setitem__(2, nn.Threshold(1, 2)),
        lambda m: m.append(nn.Identity()),
        lambda m: m[0].register_buffer("extra", torch.zeros(1)),
    ],
)
def test_what_is_no_resize_is_refused(change, tmp_path):
    task = ConvNet()
    model = task.model()
    change(model)
    with pytest.raises(UnsupportedError) as caught:
        torch_format.save(Candidate(model, "torch"), task, tmp_path)
    assert caught.value.code == "edit"


def trained(model):
    return {k: p.requires_grad for k, p in model.named_parameters()}


@pytest.mark.parametrize("way", ["save", "write"])
def test_what_is_frozen_stays_so(way, tmp_path):
    task = ConvNet()
    task.reference = "toys:convnet"
    model = task.model()
    wide, out = model[9].in_features, model[9].out_features
    model[9] = nn.Sequential(nn.Linear(wide, 2, bias=False), nn.Linear(2, out))
    model[9][0].weight.requires_grad_(False)
    model[4] = nn.Conv2d(16, 32, 3, padding=1, bias=True)  # it had no bias
    model[4].bias.requires_grad_(False)
    model[0].weight.requires_grad_(False)  # nothing else changed about it
    candidate = Candidate(model.eval(), "torch")
    if way == "save":
        loaded = assert_kept(candidate, task, tmp_path)
    else:
        artifact = torch_format.write(candidate, task, tmp_path / "a.safetensors")
        loaded = torch_format.open_artifact(artifact.path, lambda _: task).model
    assert sum(not v for v in trained(model).values()) == 3
    assert trained(loaded) == trained(model)


def test_what_the_task_froze_may_be_trained_again(tmp_path):
    class Frozen(ConvNet):
        def model(self):
            return super().model().requires_grad_(False)

    model = Frozen().model().requires_grad_(True)
    model[9].weight.requires_grad_(False)
    loaded = assert_kept(Candidate(model, "torch"), Frozen(), tmp_path)
    assert trained(loaded) == trained(model)


def test_damage_is_noticed(tmp_path):
    task = ConvNet()
    torch_format.save(Candidate(task.model(), "torch"), task, tmp_path)
    weights = tmp_path / "weights.safetensors"
    whole = weights.read_bytes()
    for content in (whole[:-1], whole[: len(whole) // 2], b"", b"\x80\x04."):
        weights.write_bytes(content)
        with pytest.raises(StoreError):
            torch_format.load(tmp_path, task)
    weights.write_bytes(whole)
    with pytest.raises(StoreError, match="task"):
        torch_format.load(tmp_path, PairNet())
    (tmp_path / "edits.json").write_text("[")
    with pytest.raises(StoreError):
        torch_format.load(tmp_path, task)


def test_artifacts_hold_all_but_the_task(tmp_path):
    task = ConvNet()
    task.reference = "toys:convnet"
    candidate = Candidate(pruned(task), "torch", frozenset({"pruned"}), ("{}",))
    artifact = torch_format.write(candidate, task, tmp_path / "a.safetensors")
    again = torch_format.write(candidate, task, tmp_path / "b.safetensors")
    assert artifact.sha256 == again.sha256
    assert artifact.size == artifact.path.stat().st_size
    asked = []
    opened = torch_format.open_artifact(
        artifact.path, lambda reference: asked.append(reference) or task
    )
    assert asked == ["toys:convnet"]
    assert (opened.traits, opened.lineage) == (candidate.traits, candidate.lineage)
    assert_same(opened.model, candidate.model, task)


def test_counts_are_the_textbook_ones():
    counted = torch_format.count(Candidate(ConvNet().model(), "torch"), ConvNet())
    assert counted == {
        "parameters": 16 * 9 + 32 + 32 * 16 * 9 + 64 + 32 * 3 + 3,
        "macs": 64 * 16 * 9 + 16 * 32 * 16 * 9 + 32 * 3,
    }


def test_fused_attention_is_counted():
    task = ZOO["torchs"]()
    tokens, width = 5, 16
    layer = 4 * width * width * tokens + 2 * tokens**2 * width + 2 * 32 * width * tokens
    total = 6 * width * tokens + 2 * layer + width * 4
    assert torch_format.count(Candidate(task.model(), "torch"), task)["macs"] == total


def test_recurrence_is_counted():
    task = ZOO["recurrent"]()
    steps, gates = 5, 4 * 8
    total = steps * gates * (6 + 8) + 8 * 4
    assert torch_format.count(Candidate(task.model(), "torch"), task)["macs"] == total


def test_weights_that_are_not_finite_are_named():
    model = ConvNet().model()
    torch_format.check_finite(model)
    with torch.no_grad():
        model[4].weight.view(-1)[:12] = torch.nan
    with pytest.raises(TaskError, match=r"4\.weight: 12 of 4,608 values are NaN"):
        torch_format.check_finite(model)
    model = ConvNet().model()
    model[1].running_var[3] = torch.inf
    with pytest.raises(TaskError, match="1 of 16 values are infinite"):
        torch_format.check_finite(model)


def test_arrays_become_tensors_wherever_they_are():
    frozen = np.arange(6.0).reshape(2, 3)
    frozen.flags.writeable = False
    tensor = torch.zeros(1)
    found = torch_format.tensors({"a": (frozen, tensor), "b": frozen[:, ::-1]})
    assert found["a"][1] is tensor
    assert np.array_equal(found["a"][0], frozen)
    assert np.array_equal(found["b"], frozen[:, ::-1])
    assert torch_format.tensors(np.float32(2.0)).shape == ()


def test_seeding_covers_all_three_generators():
    import random

    def draw():
        torch_format.seed(7)
        return random.random(), np.random.rand(), torch.rand(()).item()

    assert draw() == draw()


def test_clone_is_its_own(tmp_path):
    model = Tied().model().train()
    copy = torch_format.clone(model)
    assert not copy.training and model.training
    assert copy.out.weight is copy.embed.weight
    assert copy.out.weight is not model.out.weight
