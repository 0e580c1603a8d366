"""What is known of a structure before it is exported."""

import pytest

from paretune import catalog
from paretune.core.target import Target
from paretune.engine.bench import Bench
from paretune.engine.sketch import group, torch_part
from paretune.store.cache import Cache
from tests.toys import ConvNet, TextNet

PRUNED = {"technique": "structured_pruning", "ratio": 0.5, "round_to": 1}
INT8 = {"technique": "post_training_quantization"}
DYNAMIC = {**INT8, "scheme": "dynamic_int8"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(ConvNet(), Target(), tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def fingerprint(bench):
    return bench.preflight()["fingerprint"]


@pytest.mark.parametrize("task", [ConvNet(), TextNet()], ids=lambda t: t.name)
def test_layers_hold_all_that_the_model_counts(task, tmp_path):
    bench = Bench(task, Target(), tmp_path)
    told = bench.realise([], "f", judge=False)
    taken = {k: m["values"][0] for k, m in told["measurements"].items()}
    assert sum(layer[1] for layer in told["layers"]) == pytest.approx(
        taken["macs"], rel=0.02
    )
    assert sum(layer[2] for layer in told["layers"]) >= taken["parameters"]
    assert all(layer[1] >= 0 and layer[2] >= 0 for layer in told["layers"])


def test_a_sketch_exports_nothing(bench, fingerprint, monkeypatch):
    made = []
    put = Cache.put
    monkeypatch.setattr(Cache, "put", lambda *a, **k: made.append(a) or put(*a, **k))
    told = bench.sketch([PRUNED, INT8], fingerprint)
    assert told["group"] == INT8["technique"]
    assert told["cost"]["export_s"] == 0
    assert len(made) == 2  # the baseline and the pruned one, both in torch


def test_a_sketch_is_that_of_the_file(bench, fingerprint):
    for steps in ([], [PRUNED], [PRUNED, INT8], [DYNAMIC]):
        told = bench.sketch(steps, fingerprint)
        made = bench.realise(steps, fingerprint, judge=False)
        assert (made["layers"], made["group"]) == (told["layers"], told["group"])


def test_pruning_makes_layers_smaller(bench, fingerprint):
    before = bench.sketch([], fingerprint)["layers"]
    after = bench.sketch([PRUNED], fingerprint)["layers"]
    assert [layer[0] for layer in after] == [layer[0] for layer in before]
    assert all(a[1] <= b[1] for a, b in zip(after, before, strict=True))
    assert sum(a[1] for a in after) < sum(b[1] for b in before)


def test_groups_are_those_that_are_alike_in_speed():
    def of(*steps):
        recipe = catalog.recipe(steps)
        return group(catalog.recipe(steps[len(torch_part(recipe, "onnx").steps) :]))

    assert of(PRUNED) == of() == "float"
    assert of(PRUNED, {**INT8, "calibration": "entropy"}) == of(INT8)
    assert of(DYNAMIC) != of(INT8) != of()
    assert of({**INT8, "keep_float": "head"}) != of(INT8)
