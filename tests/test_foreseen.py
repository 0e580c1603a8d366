"""A tight budget on a real model: what is passed over would have missed it."""

import io

import pytest

from paretune import api
from paretune.compression.structured_pruning import StructuredPruning
from paretune.core.recipe import Recipe
from paretune.core.target import Target
from paretune.engine.bench import Bench
from paretune.engine.tasks import find_task
from paretune.report.page import page
from paretune.report.records import records
from paretune.store.latencies import Latencies

LIMIT = 1 / 16
RATIOS = (0.2, 0.35, 0.5, 0.65, 0.1, 0.25)

# Each structure waits for a quiet machine before it is timed.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def study(store):
    listed = tuple(Recipe((StructuredPruning(ratio=r),)) for r in RATIOS)
    return api.optimize(
        "fashion",
        store=store,
        require=f"latency_p50<=baseline*{LIMIT}",
        strategy="sweep",
        recipes=listed,
        quick=True,
        epochs=1,
        worker="in_process",
    )


@pytest.fixture(scope="module")
def foreseen(study):
    return [t for t in study.trials if t.foreseen]


def test_some_are_passed_over_and_the_first_ones_are_not(study, foreseen):
    assert len(study.trials) == len(RATIOS) + 1
    assert 1 <= len(foreseen) <= len(RATIOS) - 4
    for trial in foreseen:
        assert "predicted to miss latency_p50<=baseline*" in trial.error
        assert (trial.cost, trial.artifact, trial.measurements) == ({}, None, {})


def test_those_that_were_passed_over_do_miss_the_budget(study, foreseen, store):
    bench = Bench(find_task("fashion"), Target(), store)
    base = study.baseline.artifact
    made = [bench.realise(t.steps, "later", judge=False) for t in foreseen]
    files = [m["artifact"] for m in made]
    taken = bench.measure(files, base, ["latency"])["measurements"]
    for figures in taken:
        ratios = figures["latency_p50"]["ratios"]
        assert min(ratios) > LIMIT


def test_what_was_measured_is_kept_for_later_studies(study, foreseen, store):
    lines = Latencies(store).path.read_text().splitlines()
    assert len(lines) == len(study.trials) - len(foreseen)
    assert study.forecasts["points"] == len(lines)


def test_reports_count_them_and_say_how_good_the_model_was(study, foreseen):
    told = records(study)["trials"]
    assert told["foreseen"] == len(foreseen) <= told["infeasible"]
    out = io.StringIO()
    page(study, out)
    assert "Latency model" in out.getvalue()
    assert f"learned from {study.forecasts['points']:.0f} structures" in out.getvalue()
    assert "never exported" in out.getvalue()
