"""What a person sees while one recipe is applied, and what came of it."""

from paretune.cli._applying import Told, lines
from paretune.core.measurement import Measurement
from paretune.core.trial import OK, Trial


def made(number, size, trace=()):
    taken = Measurement("size", "byte", "lower", (size,), "exact")
    return Trial(number, (), OK, {"size": taken}, trace=trace)


def test_figures_stand_beside_the_baseline_after_what_each_step_left():
    trace = (
        {"step": "baseline", "quality": {"accuracy": 0.912}},
        {"step": "export"},
        {"step": "fine_tuning", "quality": {"accuracy": 0.9}},
    )
    told = list(lines(made(1, 2e5, trace), made(0, 1e6)))
    assert told == [
        "after baseline: accuracy about 0.912 (some of validation)",
        "after fine_tuning: accuracy about 0.900 (some of validation)",
        "size 200 kB  (baseline: size 1 MB)",
    ]
    assert list(lines(made(1, 2e5), None)) == ["size 200 kB"]


def test_a_step_is_told_when_it_begins_and_not_at_every_batch(capsys):
    told = Told()
    told.event("phase", {"what": "the recipe"})
    told.event("baseline", {"trial": made(0, 1e6)})
    for batch in range(100):
        told.slot(0, "fine_tuning", batch / 100)
    told.slot(0, "checking", 0.0)
    said = capsys.readouterr().err.splitlines()
    assert [line.split("s  ", 1)[1] for line in said] == [
        "the recipe",
        "fine_tuning",
        "checking",
    ]
    assert told.baseline.number == 0
