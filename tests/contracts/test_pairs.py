"""Every two techniques that may follow one another make an artifact that is right."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch
from torch import nn

from paretune.catalog import TECHNIQUES
from paretune.core.errors import RecipeError, UnsupportedError
from paretune.core.recipe import Recipe
from paretune.core.space import Integer
from paretune.core.target import Target
from paretune.core.technique import Technique
from paretune.engine.bench import Bench
from paretune.engine.path import path_of
from tests.toys import Classes


class Images(Classes):
    """A trained network that has something for each technique to work on."""

    name = "images"
    shape = (1, 12, 12)

    @staticmethod
    def untrained() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 3),
        )

    def model(self):
        model = self.untrained()
        model.load_state_dict(_weights())
        return model.eval()


@functools.cache
def _weights():
    task, model = Images(), Images.untrained().train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(4):
        for images, labels in task.batches("train"):
            loss = task.loss(model(torch.from_numpy(images)), torch.from_numpy(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.state_dict()


def brief(technique: type[Technique]) -> Technique:
    """With its defaults, but the least that numbers of passes and samples may be."""
    domains = technique.domains()
    low = {k: d.low for k, d in domains.items() if isinstance(d, Integer)}
    if technique.name() == "low_rank_factorization":
        low["round_to"] = 1
    if technique.name() == "mixed_precision":
        low["budget"] = 0.9  # names and scales are much of so small a file
    return technique(**low)


def allowed(*names: str) -> Recipe | None:
    made = Recipe(tuple(brief(TECHNIQUES[name]) for name in names))
    try:
        made.check()
        path_of(made, "onnx")
    except (RecipeError, UnsupportedError):
        return None  # the order is refused before any work
    return made


PAIRS = [
    pair
    for pair in itertools.product(TECHNIQUES, repeat=2)
    if allowed(*pair) is not None
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(Images(), Target(), tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_pairs_make_artifacts_that_pass_parity(names, bench):
    steps = allowed(*names).to_json()
    try:
        told = bench.realise(steps, "pairs")
    except UnsupportedError as error:
        # The first step may leave nothing to the second: that must be what it says.
        assert error.code == "not-applicable", error
        return
    assert told["parity"]["agreement"] >= 0.5
    assert told["measurements"]["size"]["values"][0] > 0
    assert [t["step"] for t in told["trace"] if t["step"] in names] == list(names)
