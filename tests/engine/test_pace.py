"""A recipe at a rung: its state is kept by share, found again, and may be evicted."""

import shutil

import numpy as np
import pytest
import torch

from paretune.core.recipe import Recipe
from paretune.core.technique import Run
from paretune.engine import pace
from paretune.engine.pace import Part
from paretune.engine.realise import Prefixes
from paretune.learning.distillation import Distillation
from paretune.learning.fine_tuning import FineTuning
from paretune.store.cache import Cache
from tests.toys import ConvNet

RECIPE = Recipe((FineTuning(epochs=1), Distillation(epochs=4)))


def prefixes(root, task=None):
    return Prefixes(Run(task or ConvNet()), "task", Cache(root))


def bits(realised):
    return realised.candidate.model.state_dict()


def same(one, other):
    return all(torch.equal(v, other[k]) for k, v in one.items())


def climbed(root, shares=(0.25, 0.5)):
    work = prefixes(root)
    found = [
        pace.rung(work, RECIPE, share, shares[:n]) for n, share in enumerate(shares)
    ]
    return work, found


def test_rungs_tell_how_good_it_is_and_lead_to_the_very_same_model(tmp_path):
    whole = prefixes(tmp_path / "whole").realise(RECIPE, "torch")
    work, found = climbed(tmp_path / "paced")
    assert [r.facts["share"] for r in found] == [0.25, 0.5]
    assert [r.facts["epochs"] for r in found] == [1.0, 2.0]
    assert all(0.3 < r.facts["quality"]["accuracy"] <= 1 for r in found)
    assert all(r.facts["seconds"] > 0 for r in found)
    state = pace.resumed(work, RECIPE, (0.25, 0.5))
    assert state is not None
    assert same(bits(whole), bits(work.realise(RECIPE, "torch", state)))
    assert pace.rung(work, RECIPE, 0.75, (0.25, 0.5)) == 0.0  # it is all there


def test_the_latest_pause_is_gone_on_from(tmp_path):
    work, _ = climbed(tmp_path)
    kept = [pace.resumed(work, RECIPE, some) for some in ((0.25,), (0.25, 0.5), ())]
    assert kept[0] != kept[1]
    assert kept[2] is None


def test_a_rung_is_trained_once_whoever_asks(tmp_path):
    _, (first, _) = climbed(tmp_path)
    again = pace.rung(prefixes(tmp_path), RECIPE, 0.25)
    assert again.facts == first.facts
    assert again.cost["train_s"] == 0.0


def test_an_evicted_state_starts_over_and_gives_the_same(tmp_path):
    _, (_, second) = climbed(tmp_path)
    shutil.rmtree(tmp_path / "cache")
    work = prefixes(tmp_path)
    assert pace.resumed(work, RECIPE, (0.25, 0.5)) is None
    again = pace.rung(work, RECIPE, 0.5, (0.25,))
    assert again.facts["quality"] == second.facts["quality"]


@pytest.mark.parametrize("recipe", [Recipe(), Recipe((FineTuning(epochs=2),))])
def test_a_short_training_is_not_paused(recipe, tmp_path):
    assert pace.rung(prefixes(tmp_path), recipe, 0.5) == 0.0


def test_a_training_that_ends_before_the_rung_is_kept_as_the_whole(tmp_path):
    recipe = Recipe((FineTuning(epochs=50, patience=1, learning_rate=0.1),))
    work = prefixes(tmp_path)
    spent = pace.rung(work, recipe, 0.9)
    assert isinstance(spent, float) and spent > 0
    assert work.realise(recipe, "torch").trace[-1]["cached"]


def test_rungs_over_data_see_a_share_of_the_samples(tmp_path):
    work = prefixes(tmp_path)
    found = pace.rung(work, RECIPE, 0.25, over="data")
    assert 0.3 < found.facts["quality"]["accuracy"] <= 1
    assert pace.resumed(work, RECIPE, (0.25,)) is None  # each starts over
    assert found.facts != pace.rung(work, RECIPE, 0.25).facts


def test_less_data_is_a_part_of_more():
    def seen(share):
        torch.manual_seed(0)
        batches = list(Part(ConvNet(), share, 0).batches("train"))
        return {x.tobytes() for inputs, _ in batches for x in np.asarray(inputs)}

    some, more = seen(0.25), seen(0.5)
    assert some < more
    assert len(some) == pytest.approx(64, abs=3)
    whole = sum(len(x) for x, _ in Part(ConvNet(), 1.0, 0).batches("train"))
    assert whole == 256
