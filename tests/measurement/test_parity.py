"""Artifacts that are wrong are refused, and good ones are not."""

from __future__ import annotations

import re
import time

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from paretune.catalog import usable_runtime
from paretune.compression.post_training_quantization import PostTrainingQuantization
from paretune.core.candidate import Candidate
from paretune.core.errors import ParityError
from paretune.core.target import Target
from paretune.core.task import as_arrays
from paretune.core.technique import Run
from paretune.measurement._parity import Graphs, agreement, check
from tests.measurement.artifacts import Numbers, artifact, network, weights


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parity")
    runtime = usable_runtime("onnxruntime")

    def loaded(content: bytes, name: str = "model"):
        return runtime.load(artifact(folder, content, name), Target())

    return loaded


def samples():
    return [as_arrays(inputs, "input") for inputs, _ in Numbers().batches("validation")]


class Changed:
    """A session whose outputs are changed afterwards."""

    def __init__(self, session, change) -> None:
        self.session, self.change = session, change

    def __call__(self, inputs):
        return self.change(inputs, self.session(inputs))

    def close(self): ...


def scaled(values, name, factor):
    return {**values, name: values[name] * np.float32(factor)}


MUTATIONS = {
    "scaled weight": scaled(weights(), "w1", 1.01),
    "scaled weight of one output": scaled(weights(), "w3", 0.98),
    "one weight": {
        **weights(),
        "w2": weights()["w2"] + np.eye(16, 3, dtype=np.float32) * 0.05,
    },
    "dropped bias": scaled(weights(), "b1", 0.0),
    "dropped output bias": scaled(weights(), "b2", 0.0),
    "transposed": {**weights(), "w1": weights()["w1"].reshape(16, 8).T.copy()},
    "other weights": weights(1),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("quantized", [False, True])
def test_wrong_weights_are_refused(load, mutation, quantized):
    source = load(network(weights()))
    wrong = load(network(MUTATIONS[mutation]), "wrong")
    if quantized and mutation not in ("transposed", "other weights"):
        assert check(source, wrong, samples(), quantized=True)["relative"] > 0.005
        return
    with pytest.raises(ParityError, match="output 's"):
        check(source, wrong, samples(), quantized)


def test_swapped_outputs_are_refused(load):
    source = load(network(weights()))
    swapped = load(network(weights(), ("sides", "scores")), "swapped")
    for quantized in (False, True):
        with pytest.raises(ParityError, match="output"):
            check(source, swapped, samples(), quantized)


@pytest.mark.parametrize("seed", range(5))
def test_a_good_artifact_passes_and_is_measured(load, seed):
    source, same = load(network(weights(seed))), load(network(weights(seed)), "same")
    found = check(source, same, samples(), quantized=False)
    assert found["max_abs"] <= 1e-5
    assert found["relative"] <= 1e-6
    assert found["agreement"] == 1.0


def test_a_quantized_artifact_passes_with_its_error_told(load):
    def rounded(values):
        return {
            name: (np.round(v / (s := np.abs(v).max() / 127)) * s).astype(np.float32)
            for name, v in values.items()
        }

    source, int8 = load(network(weights())), load(network(rounded(weights())), "int8")
    with pytest.raises(ParityError, match=r"limit 0.0001"):
        check(source, int8, samples(), quantized=False)
    found = check(source, int8, samples(), quantized=True)
    assert 1e-3 < found["relative"] < 0.05
    assert 0.9 < found["agreement"] <= 1.0
    assert found["max_abs"] > 0


def nan_at(inputs, outputs):
    return {n: np.where(np.arange(3) == 1, np.nan, a) for n, a in outputs.items()}


def garbage_when_large(inputs, outputs):
    if len(next(iter(inputs.values()))) < 100:
        return outputs
    return {n: a[::-1] for n, a in outputs.items()}


def nan_on_zeros(inputs, outputs):
    with np.errstate(all="ignore"):
        return {
            n: a + 0 * np.log(np.abs(inputs["input"]).sum()) for n, a in outputs.items()
        }


def fails_when_odd(inputs, outputs):
    if len(inputs["input"]) == 3:
        raise RuntimeError("a reshape to 4")
    return outputs


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (nan_at, "'scores' is NaN or infinite in 1 of 3 places on batch size 1"),
        (garbage_when_large, "batch size"),
        (nan_on_zeros, "inputs of zeros"),
        (fails_when_odd, "fails on batch size 3.*reshape to 4"),
        (lambda i, o: {"scores": o["scores"]}, "no output 'sides'"),
        (lambda i, o: {n: a[:, :2] for n, a in o.items()}, r"has shape \(1, 2\)"),
    ],
)
def test_what_is_wrong_at_one_input_is_named(load, change, says, quantized):
    source = load(network(weights()))
    with pytest.raises(ParityError, match=says):
        check(source, Changed(source, change), samples(), quantized)


def test_a_quantized_artifact_with_random_decisions_is_refused(load):
    source = load(network(weights()))

    def second_best(inputs, outputs):
        order = {n: a.argsort(1) for n, a in outputs.items()}
        swapped = {n: o[:, [0, 2, 1]] for n, o in order.items()}
        found = {n: np.empty_like(a) for n, a in outputs.items()}
        for n, a in outputs.items():
            values = np.take_along_axis(a, order[n], 1)
            np.put_along_axis(found[n], swapped[n], values, 1)
        return found

    with pytest.raises(ParityError, match="of decisions"):
        check(source, Changed(source, second_best), samples(), quantized=True)


def test_a_dynamically_quantized_artifact_may_vary_with_the_batch(load):
    source = load(network(weights()))

    def varies(inputs, outputs):
        return {n: a * (1 + 0.1 / len(a)) for n, a in outputs.items()}

    artifact_ = Changed(source, varies)
    check(source, artifact_, samples(), quantized=True)
    with pytest.raises(ParityError, match="differs from itself"):
        check(source, artifact_, samples(), quantized=True, consistency=0.05)


def test_half_precision_is_let_through_by_its_tolerance(load):
    source = load(network(weights()))

    def half(inputs, outputs):
        return {n: a.astype(np.float16) for n, a in outputs.items()}

    with pytest.raises(ParityError):
        check(source, Changed(source, half), samples(), quantized=False)
    check(source, Changed(source, half), samples(), quantized=False, tolerance=2e-3)


def test_rounding_near_zero_is_no_difference():
    """A scalar that happens to be tiny for one sample has the error of its terms."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(128, 8)).astype(np.float32)
    inputs[0] = 1e-7

    def total(given):
        return {"output": given["input"].sum(1, keepdims=True)}

    def rounded(given):
        return {"output": total(given)["output"] + np.float32(1e-6)}

    for quantized in (False, True):
        check(total, rounded, [{"input": inputs}], quantized)


def test_masked_scores_may_be_infinite_where_the_source_is():
    def masked(given):
        output = given["input"].copy()
        output[:, 0] = -np.inf
        return {"output": output}

    for quantized in (False, True):
        assert check(masked, masked, samples(), quantized)["relative"] == 0.0


def test_a_source_that_has_no_answer_to_zeros_does_not_condemn():
    def normed(given):
        with np.errstate(invalid="ignore"):
            return {"output": given["input"] / np.abs(given["input"]).max(1)[:, None]}

    check(normed, normed, samples(), quantized=False)


def test_other_shapes_are_compared_too():
    batches = [{"input": np.ones((64, n), np.float32)} for n in (8, 5, 12, 8)]

    def total(given):
        return {"output": given["input"].sum(1, keepdims=True)}

    def right_for_8(given):
        return {"output": given["input"].mean(1, keepdims=True) * 8}

    check(total, total, batches, quantized=False)
    with pytest.raises(ParityError, match=r"samples of shape \(5,\)"):
        check(total, right_for_8, batches, quantized=False)


@pytest.mark.parametrize("wrong", [4, 20])
def test_the_shortest_and_the_longest_are_tried_wherever_they_come(wrong):
    lengths = [8, 8, 8, 9, 4, 12, 20, 11]
    batches = [{"input": np.ones((64, n), np.float32)} for n in lengths]

    def total(given):
        return {"output": given["input"].sum(1, keepdims=True)}

    def fails(given):
        extra = given["input"].shape[1] == wrong
        return {"output": total(given)["output"] + np.float32(extra)}

    check(total, total, iter(batches), quantized=False)
    with pytest.raises(ParityError, match=rf"samples of shape \({wrong},\)"):
        check(total, fails, iter(batches), quantized=False)


def test_of_many_shapes_only_some_are_tried():
    batches = [{"input": np.ones((8, n), np.float32)} for n in range(5, 45)]
    shapes = set()

    def total(given):
        shapes.add(given["input"].shape[1])
        return {"output": given["input"].sum(1, keepdims=True)}

    check(total, total, batches, quantized=False)
    assert {5, 44} <= shapes and len(shapes) <= 9


@pytest.mark.parametrize("quantized", [False, True])
def test_each_of_several_outputs_has_figures_of_its_own(load, quantized):
    source = load(network(weights()))

    def nearly(inputs, outputs):
        return {**outputs, "sides": outputs["sides"] + np.float32(1e-5)}

    found = check(source, Changed(source, nearly), samples(), quantized)
    for key in ("max_abs", "relative"):
        assert found[f"{key}:scores"] == 0.0 < found[f"{key}:sides"] == found[key]
    assert found["agreement:scores"] == 1.0 == found["agreement:sides"]

    def total(given):
        return {"output": given["input"].sum(1, keepdims=True)}

    assert check(total, total, samples(), quantized).keys() == {
        *("max_abs", "relative", "agreement")
    }


class Real:
    """A toy task's artifacts, through the file and the runtime that serves it."""

    def __init__(self, folder) -> None:
        from paretune.infrastructure.formats import onnx as onnx_format
        from paretune.infrastructure.runtimes.torch_eager import TorchEager
        from tests.toys import ResNet

        self.task, self.folder = ResNet(), folder
        self.candidate = Candidate(self.task.model(), "torch")
        self.reference = TorchEager().session(self.candidate.model)
        self.float = onnx_format.from_torch(self.candidate, self.task).model
        technique = PostTrainingQuantization()
        self.int8 = technique.on_onnx(self.float, Run(self.task))

    def check(self, model, source, quantized, change=None, **how):
        from paretune.infrastructure.formats import onnx as onnx_format

        candidate = Candidate(model, "onnx")
        made = onnx_format.write(candidate, self.task, self.folder / "model.onnx")
        session = usable_runtime("onnxruntime").load(made, Target())
        if change:
            session = Changed(
                session, lambda i, o: {n: change(a) for n, a in o.items()}
            )
        batches = self.task.batches("validation")
        return check(
            self.reference,
            session,
            [as_arrays(inputs, "input") for inputs, _ in batches],
            quantized,
            graphs=Graphs(model, lambda: source),
            **how,
        )


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return Real(tmp_path_factory.mktemp("real"))


def doubled(model, name):
    """The weights, or the scale, of one channel."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensor = next(i for i in copy.graph.initializer if i.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values[5] *= 2
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    return copy


def test_a_refusal_names_output_inputs_error_limit_and_layer(real):
    with pytest.raises(ParityError) as caught:
        real.check(doubled(real.float, "4.conv1.weight"), real.float, quantized=False)
    assert re.search(
        r"output 'output' differs from its source by 0\.\d+ of its size on batch "
        r"size 1 \(limit 0\.0001\); first differs at 4\.conv1/Conv, channel 5: ",
        caught.value.message,
    )
    wrong = doubled(real.int8, "3.conv2.weight_scale")
    with pytest.raises(ParityError) as caught:
        real.check(wrong, real.float, quantized=True)
    assert re.search(
        r"output 'output' has an L2 error of 0\.\d+ of its size on batch size 128.*"
        r"first differs at 3\.conv2/Conv, channel 5: .* rounding explains 0\.0",
        caught.value.message,
    )


def test_a_good_int8_artifact_is_judged_in_every_layer(real):
    found = real.check(real.int8, real.float, quantized=True)
    assert found["layers"] == 10 and found["relative"] < 0.02
    assert "layers" not in real.check(real.float, real.float, quantized=False)


def test_a_fault_that_the_float_source_has_too_is_refused(real):
    """As when it is the exporter that is wrong: nothing but torch can tell."""
    wrong = doubled(real.float, "0.weight")
    int8 = PostTrainingQuantization().on_onnx(wrong, Run(real.task))
    with pytest.raises(
        ParityError, match=r"the float graph before quantizing.*0\.0001"
    ):
        real.check(int8, wrong, quantized=True)
    # And if the fresh export has it as well, no layer can be named.
    with pytest.raises(ParityError, match="the exporter or the runtime"):
        real.check(wrong, wrong, quantized=False)


def test_without_a_float_source_the_outputs_decide(real):
    assert "layers" not in real.check(real.int8, None, quantized=True)
    wrong = doubled(real.int8, "3.conv2.weight_scale")
    assert real.check(wrong, None, quantized=True)["relative"] > 0.01


def test_layers_that_are_each_well_and_a_sum_that_is_poor(real):
    """A sum of small errors is refused by the outputs, and the worst layer is said."""
    technique = PostTrainingQuantization(scheme="dynamic_int8")
    model = technique.on_onnx(real.float, Run(real.task))
    with pytest.raises(ParityError, match=r"from itself.*most of all 7/Gemm: 0\.00\d"):
        real.check(model, real.float, quantized=True, consistency=1e-6)


def test_a_nan_is_followed_to_where_it_comes_from(real):
    wrong = onnx.ModelProto()
    wrong.CopyFrom(real.float)
    bias = next(i for i in wrong.graph.initializer if i.name == "4.conv2.weight")
    values = numpy_helper.to_array(bias).copy()
    values[3] = np.nan
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))
    for quantized in (False, True):
        with pytest.raises(ParityError, match=r"NaN.*first differs at 4\.conv2/Conv"):
            real.check(wrong, real.float, quantized)


def test_a_file_that_is_not_the_graph_is_refused(real):
    with pytest.raises(ParityError, match="graph that was written"):
        real.check(real.int8, real.float, quantized=True, change=lambda a: -a / 2)
    with pytest.raises(ParityError, match="of the file isn't that of the graph"):
        real.check(real.float, real.float, quantized=False, change=lambda a: a * 1.01)


def test_whole_numbers_are_compared_as_they_are():
    def label(given):
        return {"label": (given["input"].sum(1) > 0).astype(np.int64)}

    def never(given):
        return {"label": np.zeros(len(given["input"]), np.int64)}

    for quantized in (False, True):
        assert check(label, label, samples(), quantized)["agreement"] == 1.0
    with pytest.raises(ParityError, match="'label'"):
        check(label, never, samples(), quantized=False)


def test_no_sample_is_an_error():
    with pytest.raises(ParityError, match="no sample"):
        check(None, None, [], quantized=False)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.5))
def test_agreement_falls_as_outputs_move_apart(seed, amount):
    rng = np.random.default_rng(seed)
    wanted = rng.normal(size=(50, 4))
    assert agreement(wanted, wanted) == 1.0
    near = agreement(wanted, wanted + amount * 1e-6 * rng.normal(size=wanted.shape))
    assert near >= 0.96
    assert 0.0 <= agreement(wanted, rng.normal(size=wanted.shape)) <= 0.6


def test_it_takes_less_than_a_second_for_a_small_cnn():
    from paretune.infrastructure.runtimes.torch_eager import TorchEager
    from tests.toys import ResNet

    task = ResNet()
    session = TorchEager().session(task.model())
    batches = [as_arrays(inputs, "input") for inputs, _ in task.batches("validation")]
    check(session, session, batches, quantized=False)
    begin = time.process_time()
    check(session, session, batches, quantized=False)
    assert time.process_time() - begin < 1.0
