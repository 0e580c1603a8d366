"""Zeros without training: how many, where, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from paretune import catalog
from paretune.compression._sparsity import inputs, masks, second_order
from paretune.compression._sparsity.weights import Weight, find
from paretune.compression.magnitude_pruning import MagnitudePruning
from paretune.core.candidate import Candidate
from paretune.core.errors import RecipeError, TaskError, UnsupportedError
from paretune.core.target import Target
from paretune.core.technique import Run
from paretune.engine.bench import Bench
from paretune.infrastructure.formats import _columns
from paretune.infrastructure.formats import torch as torch_format
from paretune.tasks.fashion import Fashion
from tests.compression import models
from tests.toys import TOYS, ConvNet, KeywordNet, SignalNet, TextNet

CRITERIA = ["magnitude", "wanda", "sparsegpt"]


def pruned(task, model=None, **parameters):
    model = task.model() if model is None else model
    return MagnitudePruning(**parameters).on_torch(model, Run(task))


def zeros(weight):
    return int((weight.tensor == 0).sum())


class Few(Fashion):
    """Some of the images."""

    def split(self, name):
        images, labels = super().split(name)
        count = 128 if name == "calibration" else 512
        return images[:count], labels[:count]


def accuracy(task, model):
    images, labels = task.split("validation")
    with torch.no_grad():
        right = model(torch.from_numpy(images)).argmax(-1).numpy() == labels
    return float(right.mean())


@pytest.mark.parametrize("toy", TOYS)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_each_tensor_has_as_many_zeros_as_asked_for(toy, criterion):
    task = TOYS[toy]()
    model = task.model()
    before = {n: p.clone() for n, p in model.named_parameters() if p.dim() < 2}
    sparse = pruned(task, model, sparsity=0.7, scope="uniform", criterion=criterion)
    for weight in find(sparse):
        assert zeros(weight) == round(0.7 * weight.tensor.numel()), weight.name
    vectors = {n: p for n, p in sparse.named_parameters() if p.dim() < 2}
    assert all(torch.equal(vectors[n], p) for n, p in before.items())
    assert not any(m._forward_pre_hooks for m in sparse.modules())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_global_share_is_met_by_all_together(criterion):
    task = ConvNet()
    sparse = pruned(task, sparsity=0.8, scope="global", criterion=criterion)
    weights = find(sparse)
    total = sum(w.tensor.numel() for w in weights)
    assert sum(map(zeros, weights)) == round(0.8 * total)
    shares = [zeros(w) / w.tensor.numel() for w in weights]
    assert max(shares) - min(shares) > 0.05
    share = torch_format.zeros(Candidate(sparse, "torch"))
    assert share == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize(("pattern", "size"), masks.PATTERNS.items())
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("model", [models.Grouped, models.Hourglass, models.Builtin])
def test_no_group_along_the_inputs_has_too_many_weights(
    pattern, size, criterion, model
):
    task = models.task(model)
    sparse = pruned(task, pattern=pattern, criterion=criterion)
    seen = 0
    for weight in find(sparse):
        if not weight.inputs:
            assert zeros(weight) == 0
            continue
        matrix = weight.matrix(weight.tensor.detach())
        for start in range(0, matrix.shape[-1], weight.inputs):
            for part in matrix[..., start : start + weight.inputs].split(size, -1):
                assert int((part != 0).sum(-1).max()) <= size // 2
                seen += part.shape[-1] == size
    assert seen > 0


def test_the_input_axis_of_a_convolution_is_that_of_its_channels():
    model = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Flatten()).eval()
    (weight,) = find(model)
    weight.clear(masks.by_group(weight.matrix(weight.tensor).abs(), 8, 4))
    kept = (model[0].weight != 0).int()
    assert (kept[:, :4].sum(1) == 2).all() and (kept[:, 4:].sum(1) == 2).all()


layers = st.sampled_from(
    [
        nn.Linear(6, 5),
        nn.Conv1d(6, 4, 3, groups=2),
        nn.Conv2d(4, 6, (2, 3)),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.Conv3d(2, 3, 2),
        nn.ConvTranspose2d(4, 6, 3, groups=2),
        nn.Embedding(7, 5),
        nn.LSTM(3, 4),
    ]
)


@given(layers)
def test_a_matrix_is_the_tensor_in_another_order(layer):
    for weight in find(layer):
        matrix = weight.matrix(weight.tensor)
        assert torch.equal(weight.back(matrix), weight.tensor)
        assert matrix.shape[0] == weight.groups


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(6, 5), (2, 3, 6)),
        (nn.Conv1d(6, 4, 3, groups=2, stride=2, padding=1), (3, 6, 9)),
        (nn.Conv2d(4, 6, (2, 3), dilation=2, padding="same"), (2, 4, 7, 8)),
        (nn.Conv2d(6, 6, 3, groups=6, padding=1, padding_mode="reflect"), (2, 6, 5, 5)),
    ],
)
def test_columns_times_the_matrix_are_what_the_layer_computes(layer, shape):
    given_ = torch.randn(shape)
    (weight,) = find(layer)
    (columns,) = inputs._unfolded(layer, given_)
    made = columns @ weight.matrix(weight.tensor).mT
    with torch.no_grad():
        wanted = layer(given_) - _bias(layer)
    if isinstance(layer, nn.Linear):
        made = made.reshape(wanted.shape)
    else:
        split = made.reshape(made.shape[0], shape[0], -1, made.shape[-1])
        made = split.permute(1, 0, 3, 2).reshape(wanted.shape)
    torch.testing.assert_close(made, wanted)


def _bias(layer):
    return layer.bias.view(-1, *[1] * (layer.weight.dim() - 2))


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9), st.data())
def test_rows_lose_alike(groups, rows, columns, data):
    total = groups * rows * columns
    count = data.draw(st.integers(0, total - 1))
    scores = torch.randn(groups, rows, columns)
    gone = masks.lowest_by_row(scores, count)
    assert int(gone.sum()) == count
    each = gone.flatten(0, 1).sum(1)
    assert int(each.max() - each.min()) <= 1
    kept = scores.masked_fill(gone, torch.inf).amin(-1)
    assert (scores.masked_fill(~gone, -torch.inf).amax(-1) <= kept).all()


@given(
    st.integers(1, 3), st.integers(1, 20), st.sampled_from([4, 8]), st.integers(1, 3)
)
def test_groups_lose_their_lowest_half(rows, inner, size, axes):
    scores = torch.randn(1, rows, inner * axes)
    gone = masks.by_group(scores, inner, size)
    for start in range(0, inner * axes, inner):
        axis = slice(start, start + inner)
        parts, lost_ = (each[..., axis].split(size, -1) for each in (scores, gone))
        for part, mask in zip(parts, lost_, strict=True):
            left = min(size // 2, part.shape[-1])
            assert (mask.shape[-1] - mask.sum(-1) == left).all()
            lost = part.masked_fill(~mask, -torch.inf).amax(-1)
            assert (lost <= part.masked_fill(mask, torch.inf).amin(-1)).all()


@given(st.floats(0.05, 0.98), st.integers(0, 99))
def test_a_global_ranking_does_not_mind_the_scale_of_a_tensor(sparsity, seed):
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(n, generator=generator) for n in (50, 200)]
    found = masks.counts(tensors, sparsity, "global")
    assert found == masks.counts([tensors[0] * 1024, tensors[1]], sparsity, "global")
    assert sum(found) <= round(sparsity * 250)
    assert all(n < len(t) for n, t in zip(found, tensors, strict=True))


def test_wanda_looks_at_what_comes_in():
    class Loud(ConvNet):
        shape = (8,)

        def split(self, name):
            images, labels = super().split(name)
            return images * np.arange(1, 9, dtype=np.float32), labels

    model = nn.Linear(8, 4).eval()
    with torch.no_grad():
        model.weight.copy_(torch.linspace(2, 1, 8).repeat(4, 1))
    by_size = pruned(Loud(), model, scope="uniform")
    by_input = pruned(Loud(), model, scope="uniform", criterion="wanda")
    assert (by_size.weight[:, 4:] == 0).all()
    assert (by_input.weight[:, :4] == 0).all()
    assert torch.equal(by_input.weight[:, 4:], model.weight[:, 4:])


def test_inputs_that_have_nothing_in_common_leave_nothing_to_make_up_for():
    matrix = torch.randn(1, 6, 10)
    solved = second_order.solve(
        matrix,
        torch.eye(10, dtype=torch.double)[None],
        [(0, 10)],
        lambda scores, _: masks.lowest(scores, 30),
    )
    gone = masks.lowest(matrix.abs(), 30)
    torch.testing.assert_close(solved, matrix.masked_fill(gone, 0))


def test_an_input_that_another_repeats_is_taken_over_by_it():
    """Of two equal inputs one can go, whatever its weight, at no cost."""
    data = torch.randn(200, 5)
    data = torch.cat([data, data[:, :1]], 1).double()
    matrix = torch.randn(1, 3, 6)
    solved = second_order.solve(
        matrix,
        (data.mT @ data)[None],
        [(0, 6)],
        lambda scores, _: torch.zeros_like(scores, dtype=torch.bool).index_fill(
            -1, torch.tensor([0]), True
        ),
    )
    made, wanted = (data @ m[0].double().mT for m in (solved, matrix))
    assert (solved[..., 0] == 0).all()
    assert float((made - wanted).norm() / wanted.norm()) < 0.05


@pytest.fixture(scope="module")
def fashion():
    task = Few()
    return task, task.model()


def test_second_order_changes_a_layers_output_less_on_real_images(fashion):
    task, model = fashion
    images = torch.from_numpy(next(iter(task.batches("validation")))[0])
    names = [w.name.removesuffix(".weight") for w in find(model)]
    others = [name for name in names if name != "features.4"]
    errors = {}
    for criterion in CRITERIA:
        sparse = pruned(
            task, model, sparsity=0.7, criterion=criterion, skip=",".join(others)
        )
        with torch.no_grad():
            given_ = model.features[:4](images)
            made, wanted = sparse.features[4](given_), model.features[4](given_)
        errors[criterion] = float((made - wanted).norm() / wanted.norm())
    assert errors["sparsegpt"] < 0.75 * errors["magnitude"]
    assert errors["sparsegpt"] < errors["wanda"]


def test_what_zeros_cost_on_real_images(fashion):
    task, model = fashion
    base = accuracy(task, model)
    ways = {
        "stale": {"settle": False},
        "magnitude": {},
        "sparsegpt": {"criterion": "sparsegpt"},
    }
    found = {
        name: accuracy(task, pruned(task, model, sparsity=0.85, **parameters))
        for name, parameters in ways.items()
    }
    assert found["sparsegpt"] > base - 0.04
    assert found["sparsegpt"] > found["magnitude"] > found["stale"] + 0.2


def test_zeros_that_were_there_stay_and_count():
    task = TextNet()
    first = pruned(task, sparsity=0.5, scope="uniform")
    for criterion in CRITERIA:
        again = pruned(task, first, sparsity=0.75, scope="uniform", criterion=criterion)
        for old, new in zip(find(first), find(again), strict=True):
            assert zeros(new) == round(0.75 * new.tensor.numel())
            assert (new.tensor[old.tensor == 0] == 0).all()
        less = pruned(task, first, sparsity=0.2, scope="uniform", criterion=criterion)
        for old, new in zip(find(first), find(less), strict=True):
            assert torch.equal(old.tensor == 0, new.tensor == 0)


def test_layers_can_be_left_alone():
    sparse = pruned(TextNet(), skip="Embedding, head,layers.0.*", scope="uniform")
    shares = {w.name: zeros(w) / w.tensor.numel() for w in find(sparse)}
    alone = {n for n, share in shares.items() if share == 0}
    assert {"embed.weight", "head.weight", "layers.0.mlp.0.weight"} <= alone
    assert shares["layers.1.mlp.0.weight"] == 0.5
    with pytest.raises(UnsupportedError, match=r"\[skip\].*'haed'.*'head'"):
        pruned(TextNet(), skip="haed")


def test_a_tied_weight_is_pruned_once_and_stays_one():
    task = models.task(models.Separate)
    for criterion in CRITERIA:
        sparse = pruned(task, sparsity=0.6, scope="uniform", criterion=criterion)
        assert sparse.head.weight is sparse.embed.weight
        names = [w.name for w in find(sparse)]
        assert len(names) == len(set(names))
        tied = next(w for w in find(sparse) if w.tensor is sparse.head.weight)
        assert zeros(tied) == round(0.6 * tied.tensor.numel())
    left = pruned(task, skip="Embedding")
    assert (left.head.weight != 0).all()


def test_what_has_no_inputs_to_look_at_goes_by_magnitude_and_is_named():
    said = []
    task = models.task(models.Builtin)
    run = Run(task, progress=lambda what, share: said.append(what))
    step = MagnitudePruning(criterion="sparsegpt", scope="uniform")
    sparse = step.on_torch(task.model(), run)
    assert "by magnitude: " in said[-1] and "self_attn.in_proj_weight" in said[-1]
    assert "linear1" not in said[-1]
    assert all(zeros(w) == round(0.5 * w.tensor.numel()) for w in find(sparse))


def test_more_columns_than_fit_go_by_magnitude(monkeypatch):
    monkeypatch.setattr(_columns, "MOST", 20)
    said = []
    task = ConvNet()
    run = Run(task, progress=lambda what, share: said.append(what))
    MagnitudePruning(criterion="sparsegpt").on_torch(task.model(), run)
    assert said[-1] == "pruned; by magnitude: 4.weight, 9.weight"


class OneByOne(SignalNet):
    """Batches of one sample."""

    batch = 1


class Plain(OneByOne):
    """Without batch normalisation."""

    def model(self):
        torch.manual_seed(0)
        layers = (nn.Flatten(), nn.Linear(96, 8), nn.ReLU(), nn.Linear(8, 3))
        return nn.Sequential(*layers).eval()


@pytest.mark.parametrize("criterion", CRITERIA[1:])
def test_batches_of_one_are_enough_where_nothing_settles(criterion):
    sparse = pruned(Plain(), criterion=criterion, scope="uniform")
    assert all(zeros(w) == w.tensor.numel() // 2 for w in find(sparse))
    task = OneByOne()
    with pytest.raises(TaskError, match=r"2 or more samples.*set settle: false\.$"):
        pruned(task, criterion=criterion)
    sparse = pruned(task, criterion=criterion, scope="uniform", settle=False)
    assert all(zeros(w) == w.tensor.numel() // 2 for w in find(sparse))


@pytest.mark.parametrize("criterion", CRITERIA[1:])
def test_layers_may_be_called_by_keyword(criterion):
    one = pruned(ConvNet(), criterion=criterion).state_dict()
    other = pruned(KeywordNet(), criterion=criterion).state_dict()
    assert all(torch.equal(other[name], tensor) for name, tensor in one.items())


def test_recurrent_weights_are_found_and_their_biases_are_not():
    model = nn.ModuleList([nn.LSTM(4, 8), nn.GRUCell(8, 3), nn.BatchNorm1d(3)])
    assert [w.name for w in find(model)] == [
        "0.weight_ih_l0",
        "0.weight_hh_l0",
        "1.weight_ih",
        "1.weight_hh",
    ]
    assert all(isinstance(w, Weight) for w in find(model))


def test_a_model_that_it_can_do_nothing_for_is_told_so():
    nothing = nn.Sequential(nn.Flatten(), nn.ReLU()).eval()
    with pytest.raises(UnsupportedError, match=r"\[not-applicable\].*leave this step"):
        pruned(ConvNet(), nothing)
    thin = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten()).eval()
    with pytest.raises(UnsupportedError, match=r"\[not-applicable\].*unstructured"):
        pruned(ConvNet(), thin, pattern="2:4")


@pytest.mark.parametrize("trait", ["quantized", "clustered"])
def test_it_comes_before_other_numbers(trait):
    step = MagnitudePruning()
    assert step.traits_after(frozenset({"pruned"})) == {"pruned", "sparse"}
    with pytest.raises(RecipeError, match=r"\[recipe-order\]"):
        step.traits_after(frozenset({trait}))


class Wide(ConvNet):
    """Weights that are worth a shorter form."""

    def model(self):
        torch.manual_seed(0)
        layers = nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 3)
        return nn.Sequential(*layers).eval()


def test_the_file_is_smaller_and_the_record_knows_of_the_zeros(tmp_path):
    step = {"technique": "magnitude_pruning", "sparsity": 0.9}
    bench = Bench(Wide(), Target(), tmp_path)
    told = [bench.realise(steps, "wide", judge=False) for steps in ([], [step])]
    sizes = [t["measurements"]["size"]["values"][0] for t in told]
    assert sizes[1] < 0.5 * sizes[0]
    assert told[1]["trace"][0]["zeros"] == 0.0
    assert told[1]["trace"][1]["zeros"] == pytest.approx(0.9, abs=1e-3)


def test_a_step_that_trains_has_the_size_of_what_stands_in_for_it(tmp_path):
    step = {"technique": "gradual_pruning", "sparsity": 0.9, "epochs": 1}
    recipe = catalog.recipe([step])
    bench = Bench(Wide(), Target(), tmp_path)
    sizes = [
        bench.realise(r.to_json(), "wide", judge=False)["measurements"]["size"]
        for r in (recipe, recipe.structure())
    ]
    trained, untrained = (size["values"][0] for size in sizes)
    assert abs(trained - untrained) < 0.05 * untrained
