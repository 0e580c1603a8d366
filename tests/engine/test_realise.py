"""Nodes are computed once, and by nobody who keeps the others waiting."""

import threading
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import ClassVar

import numpy as np
import pytest
import torch

from paretune import catalog
from paretune.core.candidate import Candidate
from paretune.core.quiet import Quiet
from paretune.core.recipe import Recipe
from paretune.core.technique import Run, Technique
from paretune.engine.path import libraries
from paretune.engine.realise import Prefixes
from paretune.infrastructure.formats import torch as torch_format
from paretune.store.cache import Cache
from tests.toys import ConvNet, SignalNet


def test_who_waits_for_a_node_lets_a_measurement_through(tmp_path):
    """B computes and gives way to C, who measures; A waits for what B computes."""
    computing, waiting, measured = (threading.Event() for _ in range(3))

    class Slow(ConvNet):
        def __init__(self, give_way):
            self.give_way = give_way

        def model(self):
            if not computing.is_set():
                computing.set()
                assert waiting.wait(20)
                while not measured.wait(0.01):
                    self.give_way()
            return super().model()

    def work(in_the_room):
        with Quiet(tmp_path / "quiet").working() as give_way:
            in_the_room.set()
            run = Run(Slow(give_way), give_way=give_way)
            Prefixes(run, "task", Cache(tmp_path)).realise(Recipe(), "torch")

    def measure():
        with Quiet(tmp_path / "quiet").measuring():
            measured.set()

    b = threading.Thread(target=work, args=(threading.Event(),), daemon=True)
    a = threading.Thread(target=work, args=(waiting,), daemon=True)
    c = threading.Thread(target=measure, daemon=True)
    b.start()
    assert computing.wait(20)
    a.start()
    assert waiting.wait(20)
    c.start()
    for thread in (c, b, a):
        thread.join(20)
        assert not thread.is_alive(), "each waits for another"


@pytest.mark.parametrize("value", [np.nan, "good", None, 1 / 3])
def test_a_quality_that_is_only_shown_fails_no_trial(tmp_path, value):
    class Odd(ConvNet):
        def quality(self, outputs, targets):
            return {"accuracy": value}

    prefixes = Prefixes(Run(Odd()), "task", Cache(tmp_path))
    (node,) = prefixes.realise(Recipe(), "torch").trace
    assert node["quality"] == ({"accuracy": value} if value == 1 / 3 else {})


def test_a_quality_that_raises_fails_no_trial(tmp_path):
    class Raising(ConvNet):
        def quality(self, outputs, targets):
            raise ZeroDivisionError

    prefixes = Prefixes(Run(Raising()), "task", Cache(tmp_path))
    (node,) = prefixes.realise(Recipe(), "torch").trace
    assert node["quality"] == {}


def test_what_is_kept_hangs_on_our_own_version_and_on_the_code_of_formats():
    assert f"paretune=={version('paretune')}" in libraries()
    assert any(name.startswith("formats==") for name in libraries())


INT8 = catalog.recipe([{"technique": "post_training_quantization"}])


@pytest.mark.parametrize("cached", [False, True])
def test_the_float_source_of_a_quantized_candidate_is_there_when_asked_for(
    tmp_path, cached
):
    if cached:
        Prefixes(Run(ConvNet()), "task", Cache(tmp_path)).realise(INT8, "onnx")
    prefixes = Prefixes(Run(ConvNet()), "task", Cache(tmp_path))
    realised = prefixes.realise(INT8, "onnx")
    alone = prefixes.realise(Recipe(), "onnx").candidate
    exported = realised.exported
    assert exported.model.SerializeToString() == alone.model.SerializeToString()
    assert "quantized" in realised.candidate.traits - exported.traits
    assert realised.exported is exported


def test_an_unquantized_candidate_is_its_own_export_and_torch_has_none(tmp_path):
    prefixes = Prefixes(Run(ConvNet()), "task", Cache(tmp_path))
    realised = prefixes.realise(Recipe(), "onnx")
    assert realised.exported is realised.candidate
    assert prefixes.realise(Recipe(), "torch").exported is None


@pytest.mark.parametrize(("sparsity", "worth"), [(0.1, False), (0.9, True)])
def test_it_is_noted_what_zeros_spare(tmp_path, sparsity, worth):
    steps = [
        {"technique": "magnitude_pruning", "sparsity": sparsity},
        {"technique": "post_training_quantization"},
    ]
    realised = Prefixes(Run(ConvNet()), "task", Cache(tmp_path)).realise(
        catalog.recipe(steps), "onnx"
    )
    first, *_, last = realised.trace
    assert first["zeros"] < 0.01 and "spared" not in first
    assert (last["spared"] > 0) == worth
    assert "zeros" not in last


class PartlyFrozen(ConvNet):
    def model(self):
        model = super().model()
        model[4].weight.requires_grad_(False)
        return model


def test_a_result_does_not_hang_on_whether_its_beginning_was_kept(tmp_path):
    steps = [
        {"technique": "low_rank_factorization", "keep": 0.5, "round_to": 1},
        {"technique": "fine_tuning", "epochs": 1, "learning_rate": 0.01},
    ]
    whole, begun = (catalog.recipe(steps[:n]) for n in (2, 1))
    run = Run(PartlyFrozen())
    Prefixes(run, "task", Cache(tmp_path / "kept")).realise(begun, "torch")
    found = [
        Prefixes(run, "task", Cache(tmp_path / name)).realise(whole, "torch")
        for name in ("kept", "fresh")
    ]
    assert [r.trace[1]["cached"] for r in found] == [True, False]
    kept, fresh = (dict(r.candidate.model.named_parameters()) for r in found)
    assert "4.weight" not in fresh  # it was taken apart
    assert kept.keys() == fresh.keys()
    for name, parameter in fresh.items():
        assert torch.equal(kept[name], parameter), name


@dataclass(frozen=True)
class Halving(Technique):
    """Halves every weight, and tells what it was given; later steps get a new task."""

    source = "of its own"
    trains = True
    seen: ClassVar[list[Run]] = []

    def sets(self, run):
        return replace(run, task=SignalNet())

    def on_torch(self, model, run):
        self.seen.append(run)
        made = torch_format.clone(model)
        for parameter in made.parameters():
            parameter.data /= 2
        return made


@pytest.mark.parametrize("engine", [True, False])
def test_a_step_knows_what_the_recipe_came_to_before_it(tmp_path, engine):
    Halving.seen.clear()
    run, recipe = Run(ConvNet()), Recipe((Halving(), Halving(), Halving()))
    if engine:
        Prefixes(run, "task", Cache(tmp_path)).realise(recipe, "torch")
    else:
        recipe.apply(Candidate(ConvNet().model(), "torch"), run, lambda c, *_: c)
    assert [type(r.task) for r in Halving.seen] == [ConvNet, SignalNet, SignalNet]
    stages = Halving.seen[2].stages
    assert [s.teaches for s in stages] == [False, True, True]
    weights = [s.model()[0].weight for s in stages]
    assert torch.equal(weights[1], weights[0] / 2)
    assert torch.equal(weights[2], weights[0] / 4)
