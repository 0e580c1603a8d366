"""Why a trial is as it is: on real toy models, in the real runtime."""

import json

import numpy as np
import onnx
import pytest

from paretune import catalog
from paretune.core.candidate import Artifact
from paretune.core.errors import UnsupportedError
from paretune.core.measurement import Measurement
from paretune.core.target import Target
from paretune.core.trial import Trial
from paretune.engine.bench import Bench
from paretune.engine.explain._advice import proposals
from paretune.engine.explain._operators import Layer, _note
from paretune.engine.explain._steps import flips
from paretune.infrastructure.formats import _parts, _profile
from paretune.infrastructure.runtimes.onnxruntime import OnnxRuntime
from tests.toys import ConvNet

INT8 = {"technique": "post_training_quantization"}
DYNAMIC = {**INT8, "scheme": "dynamic_int8"}
PRUNE = {"technique": "structured_pruning", "ratio": 0.5}
TRAIN = {"technique": "fine_tuning", "epochs": 1}
PARTS = {"operators", "total", "steps", "layers", "flips", "advice"}


def finished(bench, fingerprint, number, steps):
    told = bench.realise(steps, fingerprint)
    figures = {k: Measurement.from_json(m) for k, m in told["measurements"].items()}
    return Trial(
        number,
        tuple(catalog.recipe(steps).to_json()),
        "ok",
        figures,
        artifact=told["artifact"],
        format=told["format"],
        trace=tuple(told["trace"]),
    )


def explained(bench, fingerprint, steps):
    """(trial, baseline, explanation), all of which survive JSON."""
    base = finished(bench, fingerprint, 0, [])
    trial = finished(bench, fingerprint, 1, steps)
    records = (json.loads(json.dumps(t.to_json())) for t in (trial, base))
    told = bench.explain(*records, fingerprint)["explanation"]
    return trial, base, json.loads(json.dumps(told, allow_nan=False))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(ConvNet(), Target(), tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def fingerprint(bench):
    return bench.preflight()["fingerprint"]


@pytest.fixture(scope="module")
def quantized(bench, fingerprint):
    return explained(bench, fingerprint, [INT8])


@pytest.fixture(scope="module")
def trained(bench, fingerprint):
    return explained(bench, fingerprint, [PRUNE, TRAIN, INT8])


def test_every_part_is_there_and_none_is_unavailable(quantized, trained):
    for _, _, told in (quantized, trained):
        assert told.keys() >= PARTS
        for part in PARTS - {"advice", "steps"}:
            assert "unavailable" not in told[part], told[part]


def test_times_are_matched_with_the_layers_of_the_model(quantized):
    _, _, told = quantized
    layers = {x["layer"]: x for x in told["operators"]["layers"]}
    assert {"0", "3", "4", "9"} <= layers.keys()
    for name in ("0", "4"):
        assert layers[name]["dtype"] == "int8" and layers[name]["weighted"]
        assert layers[name]["member_s"] > 0 and layers[name]["baseline_s"] > 0
    assert not told["operators"]["member"]["unmatched"]
    assert not told["operators"]["baseline"]["unmatched"]


def test_operators_and_what_lies_outside_add_up_to_a_call(quantized):
    _, _, told = quantized
    for arm in ("member", "baseline"):
        parts = told["operators"][arm]
        assert parts["total_s"] + parts["outside_s"] == pytest.approx(parts["call_s"])
        assert sum(parts["kinds"].values()) == pytest.approx(parts["total_s"])
        assert sum(o["seconds"] for o in parts["ops"]) == pytest.approx(
            parts["total_s"]
        )
        assert sum(parts["dtypes"].values()) == pytest.approx(parts["kinds"]["compute"])


def test_the_float_twin_of_a_pruned_and_quantized_model_is_pruned(trained):
    _, _, told = trained
    twin = told["operators"]["twin"]
    assert twin["dtypes"].keys() == {"float32"}
    assert all(x["twin_s"] for x in told["operators"]["layers"] if x["weighted"])


def test_steps_begin_and_end_with_the_figures_of_the_study(trained):
    trial, base, told = trained
    steps = told["steps"]
    assert [s["step"] for s in steps] == [
        "baseline",
        "structured_pruning",
        "fine_tuning",
        "post_training_quantization",
    ]
    assert [s["judged"] for s in steps] == ["runtime", "torch", "torch", "runtime"]
    assert steps[0]["quality"]["accuracy"]["value"] == base.values["accuracy"]
    assert steps[-1]["quality"]["accuracy"]["value"] == trial.values["accuracy"]
    moves = [s["change"]["accuracy"]["value"] for s in steps[1:]]
    whole = trial.values["accuracy"] - base.values["accuracy"]
    assert sum(moves) == pytest.approx(whole)
    assert told["total"]["accuracy"]["value"] == pytest.approx(whole)


def test_layers_are_judged_one_at_a_time(quantized, trained):
    _, _, told = quantized
    found = told["layers"]["quantized"]["layers"]
    assert {x["layer"] for x in found} == {"0", "4", "9"}
    ratios = [x["sqnr_db"] for x in found]
    assert ratios == sorted(ratios) and ratios[0] > 10
    assert all("accuracy" in x["effect"] for x in found)
    _, _, told = trained
    cut = {x["layer"]: x for x in told["layers"]["pruned"]["layers"]}
    assert (cut["0"]["before"], cut["0"]["after"]) == (16, 8)
    assert (cut["4"]["before"], cut["4"]["after"]) == (32, 16)
    assert "9" not in cut, "the outputs keep all their features"


def test_flips_agree_with_the_scores(quantized):
    trial, base, told = quantized
    now, before = (np.array(t.measurements["accuracy"].values) for t in (trial, base))
    lost, won = told["flips"]["lost"], told["flips"]["won"]
    assert lost["count"] == int((now < before).sum())
    assert won["count"] == int((now > before).sum())
    assert all(before[i] == 1 and now[i] == 0 for i in lost["samples"])
    classes = told["flips"]["classes"]
    assert sum(c["samples"] for c in classes) == len(now)
    assert sum(c["lost"] for c in classes) == lost["count"]


def test_every_proposal_is_a_recipe_with_a_reason(quantized, trained):
    for trial, _, told in (quantized, trained):
        for proposal in told["advice"]:
            recipe = catalog.recipe(proposal["recipe"])
            recipe.check()
            assert recipe.to_json() == proposal["steps"] != list(trial.steps)
            assert proposal["why"].endswith(".")
            if not recipe.trains:
                assert proposal["helps"] in (True, False)


def test_static_is_proposed_for_convolutions_that_stay_in_float(bench, fingerprint):
    _, _, told = explained(bench, fingerprint, [DYNAMIC])
    layers = {x["layer"]: x for x in told["operators"]["layers"]}
    assert layers["4"]["note"] == "float" and layers["4"]["dtype"] == "float32"
    assert layers["9"]["dtype"] == "int8"
    (static,) = [p for p in told["advice"] if p["recipe"] == [INT8]]
    assert "convolutions in float" in static["why"] and "call_s" in static


def test_nothing_is_trained_where_the_cache_has_lost_it(bench, fingerprint):
    base = finished(bench, fingerprint, 0, [])
    trial = finished(bench, fingerprint, 1, [PRUNE, TRAIN, INT8])
    other = Bench(ConvNet(), Target(), bench.root)
    told = other.explain(trial.to_json(), base.to_json(), "another")["explanation"]
    assert [s["judged"] for s in told["steps"]] == [
        "runtime",
        "torch",
        "trace",
        "runtime",
    ]
    noted = told["steps"][2]["quality"]["accuracy"]
    assert noted["samples"] == 1024
    assert noted["value"] == trial.trace[2]["quality"]["accuracy"]
    assert "trains nothing" in told["layers"]["quantized"]["unavailable"]
    assert told["layers"]["pruned"]["layers"], "channels need no training"
    names = {x["layer"] for x in told["operators"]["layers"] if x["weighted"]}
    assert {"0", "4", "9"} <= names, "named after the baseline's layers"


def test_a_runtime_without_a_profiler_leaves_the_rest(bench, fingerprint):
    base = finished(bench, fingerprint, 0, [])
    trial = finished(bench, fingerprint, 1, [PRUNE])
    null = Bench(ConvNet(), Target("null"), bench.root)
    told = null.explain(trial.to_json(), base.to_json(), fingerprint)["explanation"]
    assert told["operators"].keys() == {"unavailable"}
    assert "null" in told["operators"]["unavailable"]
    assert told["steps"][-1]["step"] == "structured_pruning"
    assert told["layers"]["pruned"]["layers"]


def test_pytorch_tells_the_time_of_its_modules(fingerprint, tmp_path):
    task = ConvNet()
    task.reference = "tests/toys.py:ConvNet"
    bench = Bench(task, Target("torch_eager"), tmp_path)
    _, _, told = explained(bench, fingerprint, [PRUNE])
    names = {x["layer"] for x in told["operators"]["layers"]}
    assert {"0", "1", "4", "9"} <= names
    assert "ONNX" in told["layers"]["pruned"]["unavailable"]


# The parts


def test_a_profile_names_values_of_the_file(bench, fingerprint):
    told = bench.realise([INT8], fingerprint)
    path = bench.root / "artifacts" / told["artifact"] / "model.onnx"
    artifact = Artifact(path, "onnx", told["artifact"], path.stat().st_size)
    inputs = [{"input": ConvNet().split("validation")[0][:1]}]
    operators = OnnxRuntime().profile(artifact, Target(), inputs, 30)
    graph = onnx.load(path).graph
    known = {v for n in graph.node for v in (*n.input, *n.output)}
    assert all(v in known for o in operators for v in o.values)
    assert all(o.seconds >= o.least_s > 0 for o in operators)
    kinds = {o.op: (o.dtype, o.kind) for o in operators}
    assert kinds["QLinearConv"] == ("int8", "compute")
    assert kinds["QuantizeLinear"][1] == "quantize"


def test_a_runtime_says_that_it_has_no_profiler():
    artifact = Artifact(path=None, format="onnx", sha256="", size=0)
    with pytest.raises(UnsupportedError, match="null doesn't tell"):
        catalog.RUNTIMES["null"]().profile(artifact, Target("null"), [], 1)


def test_the_weakest_channels_are_silenced(bench, fingerprint):
    told = bench.realise([], fingerprint)
    path = bench.root / "artifacts" / told["artifact"] / "model.onnx"
    model = onnx.load(path)
    part = _parts.channels(model, _parts.names(model))["4"]
    cut = _parts.without(model, part, 10)
    node = cut.graph.node[part.node]
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in cut.graph.initializer}
    silent = ~weights[node.input[1]].reshape(32, -1).any(axis=1)
    assert silent.sum() == 10
    assert part.norms[silent].max() <= part.norms[~silent].min()
    assert not any(weights[bias][silent].any() for bias in node.input[2:])
    assert model.graph.node[part.node].input[1] in weights, "the original is kept"


def test_profiled_operators_inside_others_are_not_counted_twice():
    events = [
        {"cat": "Node", "name": "loop_kernel_time", "ts": 0, "dur": 10},
        {"cat": "Node", "name": "body_kernel_time", "ts": 2, "dur": 3},
        {"cat": "Node", "name": "next_kernel_time", "ts": 10, "dur": 1},
    ]
    found = [e["name"] for e in _profile._outermost(events)]
    assert found == ["loop_kernel_time", "next_kernel_time"]


def layer(seconds, dtype="int8", spread=0.0):
    low, high = seconds * (1 - spread), seconds * (1 + spread)
    return Layer(seconds, low, high, dtype, "Conv", True)


@pytest.mark.parametrize(
    ("own", "twin", "narrow", "note"),
    [
        (layer(20e-6), layer(5e-6, "float32"), True, "slower"),
        (layer(20e-6, spread=0.9), layer(15e-6, "float32"), True, "no faster"),
        (layer(5e-6), layer(20e-6, "float32"), True, ""),
        (layer(5e-6, "float32"), layer(5e-6, "float32"), True, "fell back"),
        (layer(5e-6, "float32"), layer(5e-6, "float32"), False, "float"),
        (layer(0.3e-6), layer(0.3e-6, "float32"), True, "small"),
    ],
)
def test_notes_need_more_than_noise(own, twin, narrow, note):
    assert _note(own, twin, twin, narrow, 0.2e-6) == note


class Scored(ConvNet):
    """A task whose metric is an error of each sample."""

    metrics = {"error": "lower"}

    def quality(self, outputs, targets):
        return {"error": np.abs(outputs[:, 0] - targets)}


def scored(values, kind="samples"):
    m = Measurement("error", "1", "lower", tuple(values), kind, split="validation")
    return Trial(1, (), "ok", {"error": m})


def test_scores_that_are_no_hits_are_listed_by_how_much_they_changed():
    before, now = np.ones(128), np.ones(128)
    now[[3, 7]], now[5] = (4.0, 9.0), 0.5
    found = flips(Scored(), scored(now), scored(before))
    assert found["worse"]["samples"] == [7, 3] and found["worse"]["after"] == [9, 4]
    assert found["better"]["samples"] == [5]
    assert "lost" not in found


def test_a_metric_without_scores_has_no_flips():
    found = flips(Scored(), scored([0.5], "resamples"), scored([0.4], "resamples"))
    assert "no score for each sample" in found["unavailable"]


def facts(**changes):
    """Steps of a recipe with these certain changes of accuracy."""
    steps = [{"step": "baseline", "change": {}}]
    for step, value in changes.items():
        change = {"value": value, "verdict": -1 if value < 0 else 1}
        steps.append({"step": step, "change": {"accuracy": change}})
    total = {"value": sum(changes.values()), "verdict": -1}
    return {"steps": steps, "total": {"accuracy": total}}


def proposed(found, steps):
    return proposals(found, steps, "accuracy", frozenset({"float32", "int8"}), True)


def test_no_advice_without_a_fact():
    steps = catalog.recipe([PRUNE, TRAIN, INT8]).to_json()
    assert proposed({}, steps) == []
    assert proposed({"operators": {"unavailable": "none."}}, steps) == []


def test_pruning_without_training_is_to_be_trained():
    steps = catalog.recipe([PRUNE, INT8]).to_json()
    (found,) = proposed(facts(structured_pruning=-0.2), steps)
    techniques = [s["technique"] for s in found["steps"]]
    assert techniques == ["structured_pruning", "distillation", INT8["technique"]]
    assert "−20.0 pt" in found["why"]


def test_less_pruning_is_proposed_where_training_does_not_mend_it():
    steps = catalog.recipe([PRUNE, TRAIN]).to_json()
    found = proposed(facts(structured_pruning=-0.2, fine_tuning=0.1), steps)
    assert [p["aim"] for p in found] == ["better"] * 3
    assert found[0]["recipe"][1] == {"technique": "distillation", "epochs": 1}
    assert found[1]["steps"][1]["epochs"] == 2
    assert found[2]["steps"][0]["ratio"] == 0.35


def test_zeros_that_cost_are_to_be_made_up_for():
    zeros = {"technique": "magnitude_pruning"}
    steps = catalog.recipe([zeros, INT8]).to_json()
    found = proposed(facts(magnitude_pruning=-0.2), steps)
    assert found[0]["steps"][0]["criterion"] == "sparsegpt"
    techniques = [s["technique"] for s in found[1]["steps"]]
    assert techniques == ["magnitude_pruning", "distillation", INT8["technique"]]
    trained = catalog.recipe([{**zeros, "criterion": "sparsegpt"}, TRAIN]).to_json()
    assert proposed(facts(magnitude_pruning=-0.2), trained) == []


def test_a_sensitive_layer_is_kept_in_float_beside_those_that_were():
    kept = {**INT8, "keep_float": "head"}
    effect = {"accuracy": {"value": -0.05, "verdict": -1}}
    layers = {"quantized": {"layers": [{"layer": "stem", "effect": effect}]}}
    found = facts(post_training_quantization=-0.06) | {"layers": layers}
    gentler, entropy, half = proposed(found, catalog.recipe([kept]).to_json())
    assert gentler["steps"][0]["keep_float"] == "head,stem"
    assert entropy["steps"][0]["calibration"] == "entropy"
    assert half["steps"][0]["scheme"] == "float16"
