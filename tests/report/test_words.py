"""Figures in words: no digit that isn't carried by the spread."""

from __future__ import annotations

import pytest

from paretune.core.measurement import Measurement
from paretune.report import _words as w
from paretune.report import table


def measured(*values, unit="s", kind="launches"):
    return Measurement("latency_p50", unit, "lower", values, kind)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (98_231.0, "byte", "98.2 kB"),
        (512.0, "byte", "512 B"),
        (1_652_480.0, "byte", "1.65 MB"),
        (411_000.0, "1", "411 k"),
        (7.0, "1", "7"),
        (0.0, "byte", "0 B"),
    ],
)
def test_exact_figures_have_three_digits(value, unit, shown):
    assert str(w.figure(measured(value, unit=unit, kind="exact"))) == shown


def test_a_spread_takes_the_digits_away():
    assert str(w.figure(measured(0.00030, 0.000312, 0.00032))) == "310 ± 30 µs"
    assert str(w.figure(measured(0.0003100, 0.0003101))) == "310.1 ± 0.6 µs"


def test_one_launch_has_no_interval_and_says_about():
    figure = w.figure(measured(0.0003123))
    assert str(figure) == "~310 µs"
    assert figure.interval == ""


def test_a_share_is_shown_per_cent():
    scores = Measurement(
        "accuracy", "1", "higher", (1.0,) * 90 + (0.0,) * 10, "samples"
    )
    assert w.figure(scores, share=True).unit == "%"
    assert w.figure(scores, share=True).value == "90"


def test_a_recipe_in_short():
    steps = [
        {"technique": "structured_pruning", "amount": 0.5213, "importance": "taylor"},
        {"technique": "fine_tuning", "epochs": 4},
        {"technique": "post_training_quantization", "scheme": "static_int8"},
    ]
    short = "pruning 0.52 → fine tuning 4 → quantization static int8"
    assert table.short(steps) == short
    assert table.short([]) == "baseline"
