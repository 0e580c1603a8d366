"""A delegate is the other task in everything that it doesn't change."""

import numpy as np

from paretune.core.delegate import Delegate
from tests.toys import ConvNet, PairNet


def test_it_answers_as_the_other():
    task = PairNet()
    task.unlabelled = True
    task.teachers = {"big": task.model}
    delegate = Delegate(task)
    assert delegate.metrics == {"r2": "higher", "accuracy": "higher"}
    assert delegate.unlabelled and list(delegate.teachers) == ["big"]
    assert delegate.counts is task.counts  # whatever else the task has
    mine, its = (next(iter(t.batches("test"))) for t in (delegate, task))
    assert np.array_equal(mine[0]["left"], its[0]["left"])


def test_what_neither_has_is_missing():
    assert not hasattr(Delegate(ConvNet()), "nothing")
