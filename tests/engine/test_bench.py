"""What a worker does, on a real toy task with the real runtime."""

import pytest

from paretune.core.errors import RecipeError
from paretune.core.target import Target
from paretune.engine.bench import Bench
from tests.toys import ConvNet

INT8 = {"technique": "post_training_quantization"}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(ConvNet(), Target(), tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def fingerprint(bench):
    return bench.preflight()["fingerprint"]


def test_preflight_counts_and_fingerprints(bench, fingerprint):
    found = bench.preflight()
    assert found["samples"] == ConvNet.counts
    assert found["fingerprint"] == fingerprint
    assert found["epoch_s"] > 0
    assert found["warnings"], "an untrained model must be warned of"


def test_the_baseline_is_exported_checked_and_judged(bench, fingerprint):
    told = bench.realise([], fingerprint)
    taken = told["measurements"]
    assert {"size", "parameters", "macs", "accuracy"} <= taken.keys()
    assert taken["accuracy"]["split"] == "validation"
    assert told["parity"]["relative"] < 1e-4
    assert [t["step"] for t in told["trace"]] == ["baseline", "export"]


def test_a_second_time_costs_no_export(bench, fingerprint):
    bench.realise([INT8], fingerprint)
    told = bench.realise([INT8], fingerprint)
    assert all(t["cached"] for t in told["trace"])


def test_quantized_is_smaller_and_reported_against_its_float_source(bench, fingerprint):
    base = bench.realise([], fingerprint)
    told = bench.realise([INT8], fingerprint)
    size = {
        k: r["measurements"]["size"]["values"][0] for k, r in (("b", base), ("q", told))
    }
    assert size["q"] < size["b"]
    assert 0.5 <= told["parity"]["agreement"] <= 1.0


def test_latency_is_measured_in_fresh_processes(bench, fingerprint):
    artifact = bench.realise([], fingerprint)["artifact"]
    told = bench.measure([artifact], artifact, ["latency", "peak_memory"])
    (taken,) = told["measurements"]
    assert taken["latency_p50"]["values"][0] > 0
    assert taken["latency_p50"]["ratios"]
    assert taken["peak_memory"]["values"][0] > 0


def test_certify_reads_the_test_split(bench, fingerprint):
    artifact = bench.realise([], fingerprint)["artifact"]
    (taken,) = bench.certify([artifact])["measurements"]
    assert taken["accuracy"]["split"] == "test"


def test_an_impossible_order_is_refused(bench, fingerprint):
    with pytest.raises(RecipeError, match="can't follow"):
        bench.realise([INT8, INT8], fingerprint)


def test_every_operation_tells_its_processor_time(bench, fingerprint):
    assert 0 <= bench.do("describe", {})["cost"]["cpu_s"] < 1.0
    told = bench.do("realise", {"steps": [], "fingerprint": fingerprint})
    assert told["cost"]["cpu_s"] > 0 and "export_s" in told["cost"]
    artifact = told["artifact"]
    asked = {"artifacts": [artifact], "baseline": artifact, "meters": ["peak_memory"]}
    spent = bench.do("measure", asked)["cost"]["cpu_s"]
    assert spent > 0.3, "that of the launches, which are processes of their own"


def test_a_meter_is_told_its_settings(bench, fingerprint):
    artifact = bench.realise([], fingerprint)["artifact"]
    told = bench.measure(
        [artifact], artifact, ["energy"], settings={"energy": {"source": "estimate"}}
    )
    (taken,) = told["measurements"]
    assert taken["energy"]["flags"][0] == "energy: estimated, ±50 %"
    assert taken["energy"]["values"][0] > 0
