"""The strategy: a useful ladder first, then a search that never repeats itself."""

import subprocess
import sys
from dataclasses import replace

import moocore
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paretune import catalog
from paretune.automation._points import corner, points
from paretune.automation.samplers.nsga2 import NSGA2
from paretune.automation.samplers.random_search import RandomSearch
from paretune.core.budget import Budget
from paretune.core.recipe import canonical
from paretune.core.strategy import History, Objective, Sampler
from paretune.core.trial import HALTED, INFEASIBLE, Trial
from paretune.strategies.shrink_and_improve import (
    LADDER,
    RATIOS,
    WIDTHS,
    ShrinkAndImprove,
)
from tests.automation.histories import search, trial

OBJECTIVES = (
    Objective("accuracy", "higher"),
    Objective("size", "lower"),
    Objective("latency_p50", "lower"),
)
RNG = np.random.default_rng
THIRDS = ("early", "middle", "late")


def outcome(steps):
    """Figures that look like those of a small CNN."""
    accuracy, size, latency = 0.92, 1e6, 1e-3
    for step in steps:
        match step["technique"]:
            case "structured_pruning":
                kept = 1 - step["ratio"]
                harm = 0.14 if step["importance"] == "taylor" else 0.2
                accuracy -= harm * step["ratio"] ** 3
                size, latency = size * kept**2, latency * kept
            case "subnet":
                kept = sum(step[third] for third in THIRDS) / 3
                accuracy -= 0.2 * (1 - kept) ** 3
                size, latency = size * kept**2, latency * kept
            case "distillation" | "fine_tuning":
                accuracy += 0.5 * (0.92 - accuracy)
            case "post_training_quantization":
                share = {"static_int8": 0.26, "dynamic_int8": 0.9, "float16": 0.5}
                size *= share[step["scheme"]]
                latency *= 0.5 if step["scheme"] == "static_int8" else 1.0
                accuracy -= 0.001
    return {"accuracy": accuracy, "size": size, "latency_p50": latency}


# One proposal of it takes a second; the contract of samplers covers it.
QUICK = [name for name in catalog.SAMPLERS if name != "gaussian_process"]


def run(strategy, trials, seed=0, require="", outcome=outcome):
    return search(strategy.next, outcome, trials, seed, OBJECTIVES, require)


def ratios(history):
    return [
        step["ratio"]
        for t in history.trials
        for step in t.steps
        if step["technique"] == "structured_pruning"
    ]


def last(step_of):
    return step_of.steps[-1] if step_of.steps else {}


def test_ten_trials_give_a_frontier_over_the_whole_range():
    history = run(ShrinkAndImprove(), 10)
    untrained = history.trials[1].steps
    assert [s["technique"] for s in untrained] == ["post_training_quantization"]
    assert len(set(ratios(history))) >= 4
    assert min(ratios(history)) <= 0.3
    assert max(ratios(history)) >= 0.8
    sizes = sorted(t.values["size"] for t in history.trials)
    assert sizes[0] < 1e6 / 30
    assert any(1e6 / 10 < s < 1e6 / 5 for s in sizes)


@pytest.mark.parametrize("sampler", QUICK)
def test_nothing_is_proposed_twice_and_everything_can_be_applied(sampler):
    strategy = ShrinkAndImprove(sampler=catalog.SAMPLERS[sampler](), epochs=2)
    history = run(strategy, 45)
    assert len(history.trials) == 46
    texts = {str(t.steps) for t in history.trials}
    assert len(texts) == len(history.trials)
    for t in history.trials[1:]:
        recipe = catalog.recipe(t.steps)
        assert not recipe.space
        recipe.check()


@settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.integers(1, 100), st.integers(0, 1000))
def test_every_effort_and_seed_gives_recipes_in_the_space(epochs, seed):
    strategy = ShrinkAndImprove(sampler=RandomSearch(), epochs=epochs)
    recipe = strategy.sampler.next(strategy.recipes(), History(OBJECTIVES), RNG(seed))
    assert not recipe.space
    assert all(1 <= step.get("epochs", 1) <= epochs for step in recipe.to_json())
    recipe.check()


def test_it_is_a_function_of_the_history():
    history = run(ShrinkAndImprove(), 20, seed=3)
    for cut in (1, 4, 9, 15, 20):
        until = History(OBJECTIVES, history.trials[:cut])
        first = ShrinkAndImprove().next(until, RNG(7))
        second = ShrinkAndImprove().next(until, RNG(7))
        assert first.digest == second.digest


def test_what_is_under_way_is_not_proposed_again():
    strategy = ShrinkAndImprove()
    pending = []
    for _ in range(12):
        history = History(OBJECTIVES, (trial(0, (), outcome(())),), tuple(pending))
        steps = tuple(strategy.next(history, RNG(0)).to_json())
        assert steps not in pending
        pending.append(steps)


def test_ratios_that_can_not_meet_the_budget_are_passed_over():
    tight = run(ShrinkAndImprove(), 9, require="size<=baseline/25")
    tried = ratios(tight)
    assert tried[0] == LADDER[0]
    assert all(r > LADDER[0] for r in tried[1:5])
    strict = run(ShrinkAndImprove(), 5, require="accuracy>=baseline-0.5pt")
    assert all(r < LADDER[0] for r in ratios(strict)[1:])


def test_ratios_beyond_one_whose_quality_is_lost_at_a_rung_are_passed_over():
    def pruned(number, ratio, quality, final=None):
        steps = tuple(
            catalog.recipe(
                [
                    {"technique": "structured_pruning", "ratio": ratio},
                    {"technique": "distillation", "epochs": 5},
                    {"technique": "post_training_quantization"},
                ]
            ).to_json()
        )
        figures = outcome(steps)
        figures["accuracy"] = final
        if final is None:
            del figures["accuracy"]
        made = trial(number, steps, figures, "ok" if final else HALTED)
        rung = {"share": 0.1, "epochs": 0.5, "quality": {"accuracy": quality}}
        return replace(made, rungs=(rung,))

    first = trial(0, (), outcome(()))
    budget = Budget.parse("accuracy>=baseline-3pt", ["accuracy"])
    ended, lost = pruned(1, 0.5, 0.85, 0.9), pruned(2, 0.7, 0.5)
    history = History(OBJECTIVES, (first, ended, lost), (), budget)
    opening = list(ShrinkAndImprove().opening(history))
    tried = {r.steps[0].ratio for r in opening if len(r.steps) == 3}
    assert max(tried) == 0.6
    near = pruned(2, 0.7, 0.8)  # which may yet be as good
    history = History(OBJECTIVES, (first, ended, near), (), budget)
    opening = list(ShrinkAndImprove().opening(history))
    assert 0.85 in {r.steps[0].ratio for r in opening if len(r.steps) == 3}


def test_the_number_format_that_does_better_is_used_from_there_on():
    def transformer(steps):
        figures = outcome(steps)
        for step in steps:
            if step.get("scheme") == "dynamic_int8":
                figures["latency_p50"] *= 0.4
                figures["size"] *= 0.25
        return figures

    history = run(ShrinkAndImprove(), 8, outcome=transformer)
    ladder = [t for t in history.trials if ratios(History((), (t,)))]
    assert {last(t)["scheme"] for t in ladder} == {"dynamic_int8"}
    plain = run(ShrinkAndImprove(), 8)
    ladder = [t for t in plain.trials if ratios(History((), (t,)))]
    assert {last(t)["scheme"] for t in ladder} == {"static_int8"}


def test_a_format_that_fails_gives_way_to_the_other():
    strategy = ShrinkAndImprove()
    base = trial(0, (), outcome(()))
    static = tuple(strategy.next(History(OBJECTIVES, (base,)), RNG(0)).to_json())
    failed = trial(1, static, {}, "failed:parity")
    known = History(OBJECTIVES, (base, failed))
    dynamic = tuple(strategy.next(known, RNG(0)).to_json())
    known = History(OBJECTIVES, (base, failed, trial(2, dynamic, outcome(dynamic))))
    assert strategy.next(known, RNG(0)).to_json()[-1]["scheme"] == "dynamic_int8"


def test_beginnings_are_shared():
    history = run(ShrinkAndImprove(), 40)
    trained = {
        recipe.digest
        for t in history.trials
        for recipe in catalog.recipe(t.steps).prefixes()
        if recipe.steps and recipe.steps[-1].trains
    }
    asked = sum(catalog.recipe(t.steps).trains for t in history.trials)
    assert len(trained) < 0.9 * asked


class _Stuck(Sampler):
    """Always proposes the same."""

    source = "a test"

    def next(self, recipes, history, rng):
        recipe = recipes[0]
        return recipe.bind({k: d.sample(RNG(0)) for k, d in recipe.space.items()})


def test_a_sampler_that_repeats_itself_does_not_end_the_search():
    history = run(ShrinkAndImprove(sampler=_Stuck()), 30)
    assert len(history.trials) == 31


def test_it_ends_when_all_was_tried():
    class Tiny(ShrinkAndImprove):
        def recipes(self):
            return (super().recipes()[-1],)

    history = run(Tiny(), 60)
    openings = sum(1 for _ in Tiny().opening(history))
    assert len(history.trials) < 60
    tried = {str(t.steps) for t in history.trials[1:]}
    calibrations = {
        t.steps[0]["calibration"] for t in history.trials[1:] if len(t.steps) == 1
    }
    assert calibrations == {"minmax", "percentile", "entropy"}
    assert len(tried) == openings + 2


def test_the_search_beats_its_opening():
    def volume(history, count):
        ended = [t.values for t in history.trials[: count + 1] if t.ok]
        return moocore.hypervolume(points(ended, history), ref=corner(history))

    for seed in range(4):
        history = run(ShrinkAndImprove(), 40, seed, "accuracy>=baseline-2pt")
        assert volume(history, 40) > 1.01 * volume(history, 10)


def test_importing_it_loads_no_framework():
    code = (
        "import sys; from paretune.catalog import STRATEGIES;"
        "STRATEGIES['shrink_and_improve'](); heavy = {'torch', 'onnx', 'onnxruntime',"
        "'optuna', 'torch_pruning'}; sys.exit(bool(heavy & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert isinstance(ShrinkAndImprove().sampler, NSGA2)


def test_with_a_supernet_the_ladder_climbs_on_nets_out_of_one_training():
    history = run(ShrinkAndImprove(supernet=True, epochs=5), 10)
    steps = [t.steps for t in history.trials if len(t.steps) == 4]
    assert len(steps) >= 4
    assert len({canonical(dict(s[0])) for s in steps}) == 1  # trained once
    assert {s[1]["technique"] for s in steps} == {"subnet"}
    assert {s[2]["epochs"] for s in steps} == {1}
    widths = [s[1]["early"] for s in steps if len({s[1][k] for k in THIRDS}) == 1]
    assert widths[:4] == list(WIDTHS[:4])


def test_a_supernet_adds_to_the_space_and_nothing_is_there_without_it():
    plain, more = (ShrinkAndImprove(supernet=on).recipes() for on in (False, True))
    assert set(map(str, plain)) < set(map(str, more))
    assert not any("supernet" in str(r) for r in plain)


@pytest.mark.parametrize("sampler", QUICK)
def test_subnets_are_never_proposed_twice(sampler):
    strategy = ShrinkAndImprove(sampler=catalog.SAMPLERS[sampler](), supernet=True)
    history = run(strategy, 30)
    assert len({canonical([dict(s) for s in t.steps]) for t in history.trials}) == 31


def test_widths_that_can_not_meet_the_budget_are_passed_over():
    strategy = ShrinkAndImprove(supernet=True)
    history = run(strategy, 6, require="size<=50kB")
    tried = [s["early"] for t in history.trials for s in t.steps if "early" in s]
    assert tried[0] == 0.5
    assert 0.75 not in tried


def test_what_was_predicted_to_be_too_slow_is_no_reason_to_prune_less():
    distil = {"technique": "distillation", "epochs": 5}
    bits = {"technique": "post_training_quantization"}
    pruned = [{"technique": "structured_pruning", "ratio": r} for r in RATIOS]
    gone = [
        catalog.recipe((step, distil, bits)).to_json()
        for step in pruned
        if step["ratio"] <= 0.6
    ]
    told = [
        Trial(n, tuple(s), INFEASIBLE, error="predicted to miss latency_p50<=100us")
        for n, s in enumerate(gone, 1)
    ]
    budget = Budget.parse("latency_p50<=100us", ["accuracy"])
    base = trial(0, (), outcome(()))
    history = History(OBJECTIVES, (base, *told), (), budget)
    opening = [r.to_json() for r in ShrinkAndImprove().opening(history)]
    left = [s["ratio"] for r in opening for s in r if "ratio" in s]
    assert left
    assert min(left) > 0.6
