"""The axes of a frontier, the default store, and how long a training may be."""

from pathlib import Path

import pytest

from paretune import studies
from paretune.core.errors import BudgetError
from paretune.options import Options, epochs_of, slots


def test_the_first_quality_metric_is_always_an_axis():
    axes = studies.objectives(("size", "accuracy"), {"accuracy": "higher"})
    assert axes == [["accuracy", "higher"], ["size", "lower"]]


def test_a_second_quality_metric_may_be_one():
    axes = studies.objectives(("loss",), {"accuracy": "higher", "loss": "lower"})
    assert axes[1] == ["loss", "lower"]


def test_an_unknown_axis_names_the_nearest():
    with pytest.raises(BudgetError, match="did you mean 'latency_p50'"):
        studies.objectives(("latency_p5",), {"accuracy": "higher"})


def test_the_store_is_the_users_own(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert studies.default_store() == Path("/somewhere/paretune")
    monkeypatch.delenv("XDG_DATA_HOME")
    assert studies.default_store().parts[-3:] == (".local", "share", "paretune")


def test_more_time_means_longer_trainings_within_reason():
    some = [epochs_of(Options(seconds=s), 10.0, 2) for s in (60, 600, 6000, 60000)]
    assert some == sorted(some) and some[0] >= 1 and some[-1] == 30
    assert epochs_of(Options(), 10.0, 2) == 5


def test_debugging_in_process_has_one_slot():
    assert slots(Options(worker="in_process", workers=4)) == 1
    assert slots(Options(workers=3)) == 3
