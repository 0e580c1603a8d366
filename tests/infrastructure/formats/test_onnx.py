"""The exported graph is right at every size, named, folded, small and quiet."""

import functools
import logging

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from paretune.core.candidate import Candidate
from paretune.core.errors import StoreError, UnsupportedError
from paretune.core.target import Target
from paretune.core.task import as_arrays
from paretune.infrastructure.formats import onnx as onnx_format
from paretune.infrastructure.formats import torch as torch_format
from paretune.infrastructure.runtimes.onnxruntime import OnnxRuntime
from tests.infrastructure.formats.zoo import ZOO, Tied, TiedModel, Zoo, pruned
from tests.toys import Classes, ConvNet, PairNet, ResNet, TextNet


def exported(task, model=None):
    candidate = Candidate(model or task.model(), "torch", frozenset({"x"}), ("{}",))
    return onnx_format.from_torch(candidate, task)


@functools.cache
def plain(task_class):
    return exported(task_class())


def session(candidate, task, folder):
    artifact = onnx_format.write(candidate, task, folder / "model.onnx")
    return OnnxRuntime().load(artifact, Target())


def assert_agrees(run, model, inputs):
    with torch.inference_mode():
        wanted = as_arrays(
            torch_format.call(model, torch_format.tensors(inputs)), "output"
        )
    got = run(as_arrays(inputs, "input"))
    assert list(got) == list(wanted)
    for name, array in wanted.items():
        assert got[name].shape == array.shape
        error = np.abs(got[name] - array).max() / np.abs(array).max()
        assert error < 1e-4, (name, error)


@pytest.mark.parametrize("name", ZOO)
def test_models_of_many_kinds_agree(name, tmp_path):
    task = ZOO[name]()
    candidate = plain(ZOO[name])
    run = session(candidate, task, tmp_path)
    inputs, _ = task.split("test")
    for batch in (1, 3, 32, 128):
        rows = np.resize(inputs, (batch, *inputs.shape[1:]))
        assert_agrees(run, task.model(), rows)


class Operation(Zoo):
    """A task whose model is a function of its inputs."""

    arrays = ((6, 8),)
    vary = False

    def __init__(self, function, arrays=((6, 8),), vary=False, dtype=np.float32):
        self.function, self.arrays, self.vary = function, arrays, vary
        self.dtype = dtype

    def split(self, name):
        raise NotImplementedError

    def batches(self, split):
        for i in range(3):
            yield self.inputs(4, i if self.vary else 0), np.zeros(4, np.int64)

    def inputs(self, rows, longer=0):
        rng = np.random.default_rng(rows)
        found = tuple(
            rng.normal(size=(rows, first + longer, *rest)).astype(self.dtype)
            for first, *rest in self.arrays
        )
        return found if len(found) > 1 else found[0]

    def build(self):
        function = self.function

        class Layer(nn.Module):
            def forward(self, *arrays):
                return function(*arrays)

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = Layer()

            def forward(self, *arrays):
                return self.inner(*arrays)

        return Model()


def test_axes_that_vary_are_dynamic(tmp_path):
    def both(left, right):
        return left.sum(1) + right.mean(1), torch.cat((left, right), 1)

    task = Operation(both, arrays=((6, 8), (6, 8)), vary=True)
    candidate = exported(task)
    shapes = [
        [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*candidate.model.graph.input, *candidate.model.graph.output)
    ]
    assert shapes[:3] == [["batch", "input_0_axis_1", 8]] * 2 + [["batch", 8]]
    assert shapes[3][0] == "batch" and shapes[3][2] == 8
    run = session(candidate, task, tmp_path)
    for rows, longer in ((1, 0), (3, 1), (5, 40), (128, 2)):
        assert_agrees(run, task.model(), task.inputs(rows, longer))


def test_dict_inputs_follow_their_names_not_their_order(tmp_path):
    class Swapped(PairNet):
        def split(self, name):
            inputs, targets = super().split(name)
            return {k: inputs[k] for k in ("right", "left")}, targets

    task = Swapped()
    run = session(exported(task), task, tmp_path)
    assert_agrees(run, task.model(), task.split("validation")[0])


def sdpa(**options):
    return lambda *x: nn.functional.scaled_dot_product_attention(*x[:3], **options)


def masked(q, k, v, mask):
    return nn.functional.scaled_dot_product_attention(q, k, v, mask)


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        (sdpa(), [(2, 5, 8), (2, 7, 8), (2, 7, 8)]),
        (sdpa(scale=0.3), [(5, 8)] * 3),
        (sdpa(is_causal=True), [(2, 5, 8)] * 3),
        (sdpa(enable_gqa=True), [(4, 5, 8), (2, 5, 8), (2, 5, 8)]),
        (masked, [(2, 5, 8), (2, 7, 8), (2, 7, 8), (2, 5, 7)]),
        (
            lambda q, k, v, mask: masked(q, k, v, mask > 0.3),
            [(2, 5, 8), (2, 7, 8), (2, 7, 8), (1, 5, 7)],
        ),
        (  # the first query sees nothing
            lambda q, k, v, mask: masked(
                q, k, v, (mask < 9) & (torch.arange(5)[:, None] > 0)
            ),
            [(2, 5, 8), (2, 7, 8), (2, 7, 8), (1, 5, 7)],
        ),
    ],
)
def test_attention_agrees(function, arrays, tmp_path):
    task = Operation(function, arrays)
    run = session(exported(task), task, tmp_path)
    for rows in (1, 3, 32):
        assert_agrees(run, task.model(), task.inputs(rows))


def test_attention_takes_no_shapes_from_the_data():
    operators = {n.op_type for n in plain(TextNet).model.graph.node}
    assert not operators & {"Shape", "Concat"}


def test_batch_normalisation_is_folded():
    for task in (ConvNet, ResNet, ZOO["depthwise"], ZOO["upsampling"]):
        graph = plain(task).model.graph
        assert "BatchNormalization" not in {n.op_type for n in graph.node}


def test_nodes_and_weights_bear_their_layers_names():
    graph = plain(ResNet).model.graph
    assert "3.conv1/Conv" in {n.name for n in graph.node}
    assert {"3.conv1.weight", "7.weight"} <= {i.name for i in graph.initializer}
    graph = plain(TextNet).model.graph
    names = [n.name for n in graph.node]
    assert len(set(names)) == len(names)
    assert "layers.0.attention.qkv/MatMul" in names
    assert "layers.0.attention.qkv.weight" in {i.name for i in graph.initializer}


def test_the_graph_is_valid_and_all_shapes_are_known():
    for task in (ResNet, TextNet, PairNet):
        model = plain(task).model
        onnx.checker.check_model(model, full_check=True)
        known = {v.name for v in (*model.graph.value_info, *model.graph.output)}
        assert all(o in known for n in model.graph.node for o in n.output)


def test_traits_and_lineage_go_along():
    candidate = plain(ConvNet)
    assert candidate.format == "onnx"
    assert (candidate.traits, candidate.lineage) == (frozenset({"x"}), ("{}",))


def test_the_source_is_left_alone():
    task = ResNet()
    model = task.model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    exported(task, model)
    assert not any(m.training for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_file_is_little_more_than_its_weights(tmp_path):
    task, candidate = ResNet(), plain(ResNet)
    artifact = onnx_format.write(candidate, task, tmp_path)
    weights = sum(
        onnx.numpy_helper.to_array(i).nbytes for i in candidate.model.graph.initializer
    )
    assert artifact.size - weights < 100 * len(candidate.model.graph.node)
    assert artifact.path == tmp_path / "model.onnx"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert onnx_format.write(candidate, task, tmp_path).sha256 == artifact.sha256


def test_candidates_come_back_as_they_were(tmp_path):
    task, candidate = ConvNet(), plain(ConvNet)
    onnx_format.save(candidate, task, tmp_path)
    assert onnx_format.load(tmp_path, task) == candidate
    whole = (tmp_path / "model.onnx").read_bytes()
    for content in (b"", b"junk", whole[: len(whole) // 2]):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(StoreError):
            onnx_format.load(tmp_path, task)


@pytest.mark.parametrize("toy", [ConvNet, ResNet, TextNet, PairNet])
def test_counts_are_those_of_the_source(toy):
    task = toy()
    model = pruned(task)
    source = torch_format.count(Candidate(model, "torch"), task)
    counted = onnx_format.count(exported(task, model), task)
    assert counted["macs"] == source["macs"]
    assert 0.9 < counted["parameters"] / source["parameters"] <= 1.0


@pytest.mark.parametrize(
    ("function", "arrays", "macs"),
    [
        (torch.matmul, [(5, 8), (8, 6)], 5 * 8 * 6),
        (lambda a, b: torch.einsum("bihj,bkhj->bhik", a, b), [(5, 2, 8)] * 2, 5 * 80),
        (
            lambda x: nn.functional.conv2d(x, torch.ones(4, 2, 3, 3), groups=2),
            [(4, 8, 8)],
            36 * 4 * 2 * 9,
        ),
        (
            lambda x: nn.functional.conv_transpose2d(x, torch.ones(4, 3, 2, 2)),
            [(4, 8, 8)],
            64 * 4 * 3 * 4,
        ),
    ],
)
def test_multiply_accumulates_are_the_textbook_ones(function, arrays, macs):
    task = Operation(function, arrays)
    assert onnx_format.count(exported(task), task)["macs"] == macs
    source = Candidate(task.model(), "torch")
    assert torch_format.count(source, task)["macs"] == macs


@pytest.mark.parametrize("name", ZOO)
def test_counts_are_the_same_from_the_bare_file(name, tmp_path):
    task, candidate = ZOO[name](), plain(ZOO[name])
    artifact = onnx_format.write(candidate, task, tmp_path)
    opened = onnx_format.open_artifact(artifact.path, None)
    counted = onnx_format.count(candidate, task)
    assert onnx_format.count(opened, task) == counted
    source = torch_format.count(Candidate(task.model(), "torch"), task)
    assert counted["macs"] == source["macs"]


def test_tied_weights_are_stored_once(tmp_path):
    class Wide(Zoo):
        split = Tied.split

        def build(self):
            model = TiedModel(64)
            nn.init.normal_(model.embed.weight)
            return model

    task = Wide()
    candidate = exported(task)
    artifact = onnx_format.write(candidate, task, tmp_path)
    assert artifact.size < 4 * (20 * 64 + 64 * 64 + 64 + 64) + 2000
    run = OnnxRuntime().load(artifact, Target())
    assert_agrees(run, task.model(), task.split("test")[0])


@pytest.mark.parametrize("how", ["static", "dynamic"])
@pytest.mark.parametrize("toy", [ConvNet, TextNet])
def test_counts_outlive_quantization(toy, how, tmp_path):
    from onnxruntime import quantization as ortq

    task, candidate = toy(), plain(toy)

    class Reader(ortq.CalibrationDataReader):
        def __init__(self):
            self.batches = iter(task.batches("calibration"))

        def get_next(self):
            batch = next(self.batches, None)
            return None if batch is None else as_arrays(batch[0], "input")

    onnx.save(candidate.model, tmp_path / "float.onnx")
    paths = str(tmp_path / "float.onnx"), str(tmp_path / "int8.onnx")
    if how == "static":
        ortq.quantize_static(*paths, Reader(), per_channel=True)
    else:
        ortq.quantize_dynamic(*paths, per_channel=True)
    quantized = Candidate(onnx.load(paths[1]), "onnx")
    before, after = (onnx_format.count(c, task) for c in (candidate, quantized))
    assert after["macs"] == before["macs"]
    assert after["parameters"] == pytest.approx(before["parameters"], rel=0.01)
    artifact = onnx_format.write(quantized, task, tmp_path)
    assert onnx_format.count(onnx_format.open_artifact(artifact.path, None), task) == (
        after
    )
    inputs = as_arrays(task.split("validation")[0], "input")
    written = OnnxRuntime().load(artifact, Target())(inputs)["output"]
    import onnxruntime

    (wanted,) = onnxruntime.InferenceSession(paths[1]).run(None, inputs)
    assert np.array_equal(written, wanted)


def refused(function, **options):
    with pytest.raises(UnsupportedError) as caught:
        exported(Operation(function, **options))
    return caught.value


def test_an_unknown_operator_is_named_with_its_layer():
    error = refused(torch.special.bessel_j0)
    assert error.code == "unsupported-op"
    assert "bessel_j0" in error.message and "'inner'" in error.message


def test_a_branch_on_the_data_is_pointed_at():
    error = refused(lambda x: x * 2 if x.sum() > 0 else x)
    assert error.code == "unsupported-op"
    assert __file__ in error.message


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 2 if x.shape[0] > 2 else x,
        lambda x: x.reshape(3, 6, 8),
        lambda x: x.sum(1) + torch.ones(3, 8),
    ],
)
def test_code_that_depends_on_the_batch_is_refused(function):
    error = refused(function)
    assert error.code == "shape-dynamic"
    assert "batch" in error.message


def test_export_says_nothing(capfd, recwarn, caplog):
    exported(TextNet())
    refused(lambda x: x * 2 if x.sum() > 0 else x)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert not [r for r in caplog.records if r.levelno > logging.DEBUG]


def test_a_task_with_one_sample_is_enough(tmp_path):
    class Single(Classes):
        counts = dict.fromkeys(Classes.counts, 1)
        model = ConvNet.model

    task = Single()
    run = session(exported(task), task, tmp_path)
    assert_agrees(run, task.model(), ConvNet().split("test")[0])
