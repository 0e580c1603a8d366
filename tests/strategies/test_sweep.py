"""A sweep proposes its list in order, each once, and ends."""

import numpy as np
import pytest

from paretune.catalog import recipe
from paretune.core.errors import RecipeError
from paretune.core.strategy import History, Objective
from paretune.strategies.sweep import Sweep

LISTED = tuple(
    recipe([{"technique": "structured_pruning", "ratio": r}]) for r in (0.5, 0.3)
)


def test_the_list_in_order_and_then_nothing():
    pending, found = (), []
    for _ in range(3):
        history = History((Objective("accuracy", "higher"),), (), pending)
        found.append(Sweep(listed=LISTED).next(history, np.random.default_rng(0)))
        if found[-1] is not None:
            pending = (*pending, tuple(found[-1].to_json()))
    assert found == [*LISTED, None]


def test_an_empty_list_is_refused():
    with pytest.raises(RecipeError, match="--recipes"):
        Sweep()
