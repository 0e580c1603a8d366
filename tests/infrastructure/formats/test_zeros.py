"""Zeros of a sparse matrix are still zeros after any training."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretune.core.technique import Run
from paretune.infrastructure.formats import _training
from paretune.infrastructure.formats._regime import Regime
from paretune.infrastructure.formats._zeros import zeros
from tests.toys import TOYS, ConvNet


def thinned(model, share, seed=0):
    """`model` with that share of every matrix set to 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                drawn = torch.rand(parameter.shape, generator=generator)
                parameter.masked_fill_(drawn < share, 0)
    return model


def fitted(task, model, **options):
    return _training.fit(
        model,
        lambda forward, x, y: task.loss(forward(x), y),
        Run(task),
        epochs=1,
        learning_rate=1e-2,
        **options,
    )


@pytest.mark.parametrize("name", TOYS)
def test_training_moves_the_others_alone(name):
    task = TOYS[name]()
    model = thinned(task.model(), 0.5)
    trained = fitted(task, model)
    for before, after in zip(model.parameters(), trained.parameters(), strict=True):
        if before.dim() > 1:
            assert torch.equal(before == 0, after == 0)
            assert not torch.equal(before, after)


@pytest.mark.parametrize(
    "regime",
    [
        Regime(average="ema"),
        Regime(average="swa", schedule="constant"),
        Regime(sharpness=0.1),
        Regime(patience=1),
    ],
)
def test_no_regime_brings_them_back(regime):
    task = ConvNet()
    model = thinned(task.model(), 0.7)

    def shaken(model, done, total):
        for parameter in model.parameters():
            parameter.add_(1e-3)

    trained = fitted(task, model, regime=regime, after_step=shaken)
    for before, after in zip(model.parameters(), trained.parameters(), strict=True):
        if before.dim() > 1:
            assert torch.equal(before == 0, after == 0)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_matrix_is_sparse_from_one_zero_in_a_hundred(rows, columns, share, seed):
    drawn = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed))
    parameter = torch.nn.Parameter((drawn + 1).masked_fill(drawn < share, 0))
    count = int((parameter == 0).sum())
    found = zeros([parameter])
    assert bool(found) == (count / (rows * columns) >= 0.01 and count < rows * columns)


def test_vectors_and_whole_zeros_may_move():
    vector, nothing = torch.zeros(8), torch.zeros(4, 4)
    vector[0] = 1.0
    assert not zeros([torch.nn.Parameter(vector), torch.nn.Parameter(nothing)])
