"""What the device allows, as a person says it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.budget import FOOTPRINT, Budget
from paretune.core.errors import BudgetError

METRICS = {"accuracy": "higher"}
BASE = {"size": 800_000.0, "latency_p50": 0.01, "accuracy": 0.9}


def limit(text):
    (constraint,) = Budget.parse(text, METRICS).constraints
    return constraint.limit(BASE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("latency_p50<=5ms", 0.005),
        ("latency_p50 <= 250 us", 0.00025),
        ("size<=200kB", 200_000),
        ("size<=1.5MiB", 1.5 * 2**20),
        ("size<=baseline/4", 200_000),
        ("size<=baseline*0.5", 400_000),
        ("size<=baseline-10%", 720_000),
        ("latency_p50<=baseline", 0.01),
        ("accuracy>=baseline-1pt", 0.89),
        ("accuracy>=90%", 0.9),
        ("accuracy>=0.85", 0.85),
        ("macs<=20M", 2e7),
        ("throughput>=100/s", 100),
    ],
)
def test_what_a_person_writes(text, value):
    assert limit(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("latncy_p50<=5ms", "'latency_p50'"),
        ("latency_p50<=5parsec", "parsec"),
        ("size<=5", "needs a unit"),
        ("size<=baseline/0", "can't be 0"),
        ("size<=baseline/4kB", "no unit"),
        ("accuracy>=basline-1pt", "'baseline'"),
        ("accuracy=0.9", "'<=' or '>='"),
        ("fast please", "METRIC<=VALUE"),
        ("size<=", "METRIC<=VALUE"),
    ],
)
def test_what_is_not_known_is_named(text, part):
    with pytest.raises(BudgetError) as raised:
        Budget.parse(text, METRICS)
    assert part in raised.value.message


def test_nothing_is_broken_for_want_of_a_figure_but_nothing_is_met_either():
    budget = Budget.parse("size<=1MB, peak_memory<=baseline", METRICS)
    assert not budget.broken({"size": 1.0, "peak_memory": 5.0}, BASE)
    assert not budget.meets({"size": 1.0, "peak_memory": 5.0}, BASE)
    assert not budget.meets({"size": 1.0}, BASE)


@given(st.text(max_size=40))
def test_any_text_gives_a_budget_or_a_sentence(text):
    try:
        Budget.parse(text, METRICS)
    except BudgetError as error:
        assert "\n" not in error.message.replace(repr(text), "")


@given(
    st.sampled_from(sorted(FOOTPRINT)),
    st.floats(1e-6, 1e6),
    st.floats(1e-6, 1e6),
)
def test_a_limit_parts_what_meets_it_from_what_does_not(metric, allowed, value):
    unit = {"byte": "B", "s": "s", "1": "", "1/s": "/s", "J": "J"}[FOOTPRINT[metric][0]]
    budget = Budget.parse(f"{metric}<={allowed!r}{unit}", METRICS)
    if math.isclose(value, allowed, rel_tol=1e-6):
        return
    assert budget.meets({metric: value}, {}) == (value <= allowed)
