"""Artifacts that are wrong are refused, and good ones are not."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.catalog import usable_runtime
from paretune.core.errors import ParityError
from paretune.core.target import Target
from paretune.core.task import as_arrays
from paretune.measurement._parity import agreement, check
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
