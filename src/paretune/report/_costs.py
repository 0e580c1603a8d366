"""What the search cost, and after how many inferences its result repays that."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import Frontier
from paretune.report import _figures as f
from paretune.report import _words as w
from paretune.report._html import duration, facts, text
from paretune.report.verdict import pick

SPENT = ("wall_s", "train_s", "measure_s", "overhead_s")
SOURCES = ("estimate", "metered", "nvml", "rapl")  # the least certain first
APART = ("wall_s", "cpu_s")  # no parts of the work
JOULES_PER_KWH = 3.6e6
GUESS = (
    "Energy of a call is estimated, ±50 %: latency times watts of the processor, so it "
    "says nothing that latency doesn't."
)


@dataclass(frozen=True)
class BreakEven:
    """Inferences after which what each one saves adds up to what the search took.

    Attributes:
        inferences: samples, not calls.
        low: at the better end of the 95 % interval of the saving.
        high: at its worse end; infinite if that end saves nothing.
        by: what is compared: "cpu_s" or "energy".
    """

    inferences: float
    low: float
    high: float
    by: str

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        return {k: v if v != math.inf else None for k, v in record.items()}


def break_even(study: Study, trial: Trial) -> BreakEven | None:
    """When a trial repays the search: by joules if both were counted, else by time.

    A call is taken to keep all threads of the target busy. Estimated joules are
    processor time multiplied by a constant, so by them it would be the same figure.

    Returns:
        None if never, since the trial is not certainly better than the baseline; or if
        what the search took is not known.
    """
    joules, source = energy(study)
    counted = joules and source != "estimate"
    if counted and all(_source(t) == source for t in (trial, study.baseline)):
        return _repaid(study, trial, "energy", joules, 1.0, "energy")
    spent, threads = study.cost.get("cpu_s", 0.0), float(study.target.threads)
    return _repaid(study, trial, "latency_p50", spent, threads, "cpu_s")


def _repaid(
    study: Study, trial: Trial, metric: str, spent: float, times: float, by: str
) -> BreakEven | None:
    """From what a call saves of `metric`, `times` over."""
    base = study.baseline
    change = f.change(study, trial, metric)
    if base is None or change is None or change.verdict <= 0 or not spent > 0:
        return None
    each = base.values[metric] * times / study.target.batch
    ratios = (change.amount, change.interval.low, change.interval.high)
    saved = [each * (1.0 - ratio) for ratio in ratios]
    if saved[0] <= 0:
        return None
    middle, low, high = (spent / s if s > 0 else math.inf for s in saved)
    return BreakEven(middle, low, high, by)


def _source(trial: Trial | None) -> str:
    m = trial.measurements.get("energy") if trial else None
    return str(m.detail.get("source", "")) if m else ""


def energy(study: Study) -> tuple[float, str]:
    """Joules of the whole search, and the least certain of their sources.

    Example:
        >>> from paretune.core.target import Target
        >>> energy(Study("a", "b", {}, Target(), "c", (), cost={"rapl_j": 5.0}))
        (5.0, 'rapl')
    """
    taken = {s: study.cost[f"{s}_j"] for s in SOURCES if study.cost.get(f"{s}_j")}
    return float(sum(taken.values())), next(iter(taken), "none")


def spent(study: Study) -> dict[str, Any]:
    """The "cost" of the JSON contract; see `records`."""
    seconds = (k for k in (*SPENT, *study.cost) if k.endswith("_s"))
    joules, source = energy(study)
    grid = _grid(study)
    return {
        **{k: _finite(study.cost.get(k, 0.0)) for k in dict.fromkeys(seconds)},
        "energy_j": _finite(joules) if joules else None,
        "energy_source": source,
        "co2e_g": _finite(_grams(joules, grid)) if grid and joules else None,
        "grid": grid,
    }


def sentences(study: Study, found: Frontier) -> list[str]:
    """For a terminal: when the chosen trial repays the search, and what is a guess."""
    chosen = pick(study, found)
    return [line for line in (repaid(study, chosen), guess(study)) if line]


def repaid(study: Study, trial: Trial | None) -> str:
    """When a trial repays the search, in a sentence; empty where nothing is known."""
    taken = study.cost.get("cpu_s", 0.0)
    if trial is None or not trial.number or not taken > 0:
        return ""
    even = break_even(study, trial)
    if even is None:
        return (
            f"It can't be said that trial {trial.number} ever repays the search's "
            f"{cpu_time(taken)}: it is not certainly cheaper a call than the baseline."
        )
    what = cpu_time(taken)
    if even.by == "energy":
        what = _joules(energy(study)[0])
    return (
        f"The search's {what} are repaid after {many(even.inferences)} inferences of "
        f"trial {trial.number}."
    )


def guess(study: Study) -> str:
    """That energy is an estimate, if it is."""
    sources = {_source(t) for t in study.trials}
    return GUESS if "estimate" in sources else ""


def cpu_time(seconds: float) -> str:
    """Processor time for people.

    Example:
        >>> cpu_time(41.2), cpu_time(366.0), cpu_time(7.3e4)
        ('41 CPU-seconds', '6.1 CPU-minutes', '20 CPU-hours')
    """
    for size, unit in ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds")):
        if seconds >= 2 * size or size == 1:
            return f"{w.digits(seconds / size, 2)} CPU-{unit}"
    raise AssertionError("a size of 1 fits all")


def many(count: float, significant: int = 2) -> str:
    """A large count for people, in few digits.

    Example:
        >>> many(1_312_000.0), many(412.0), many(float("inf"))
        ('1.3 M', '410', 'never')
    """
    if not math.isfinite(count):
        return "never"
    power = math.floor(math.log10(max(count, 1.0))) + 1 - significant
    rounded = round(count, -power)
    size, unit = w.scale(rounded, "1")
    return f"{w.digits(rounded / size, significant)} {unit}".strip()


def costs(study: Study) -> str:
    """The page's section: time by what it went to, energy, carbon and break-even."""
    parts = {
        k.removesuffix("_s"): v
        for k, v in study.cost.items()
        if k.endswith("_s") and k not in APART and v > 0
    }
    total = sum(parts.values())
    if not total:
        return '<p class="note">Nothing was recorded.</p>'
    at, bars, legend = 0.0, [], []
    for i, (name, seconds) in enumerate(sorted(parts.items(), key=lambda p: -p[1])):
        width = 1000 * seconds / total
        fill = f"f{min(i, 6)}"
        bars.append(
            f'<rect class="{fill}" x="{at:.2f}" width="{width:.2f}" height="22">'
            f"<title>{text(name)}: {duration(seconds)}</title></rect>"
        )
        legend.append(
            f'<li><svg viewBox="0 0 14 14" aria-hidden="true"><rect class="{fill}" '
            f'width="14" height="14" rx="3"/></svg>{text(name)} {duration(seconds)}, '
            f"{w.percent(seconds / total)}</li>"
        )
        at += width
    wall = study.cost.get("wall_s", 0.0)
    said = f"{duration(wall)} of wall time" if wall else ""
    if wall and total > 1.05 * wall:
        said += f", {duration(total)} of work: workers ran side by side"
    said = f"<p>{said}.</p>" if said else ""
    return (
        f'{said}<svg class="costs" viewBox="0 0 1000 22" preserveAspectRatio="none" '
        f'role="img" aria-label="what the time went to">{"".join(bars)}</svg>'
        f'<ul class="legend">{"".join(legend)}</ul>{_account(study)}'
    )


def _account(study: Study) -> str:
    taken, (joules, source) = study.cost.get("cpu_s", 0.0), energy(study)
    grid = _grid(study)
    grams = ""
    if joules and grid:
        known = (grid[k] for k in ("place", "year", "source") if grid[k])
        where = ", ".join(dict.fromkeys(map(str, known)))
        grams = (
            f"{w.digits(_grams(joules, grid), 2)} g CO₂e, at "
            f"{w.digits(grid['intensity'])} g/kWh ({where})"
        )
    return facts(
        (name, text(said))
        for name, said in (
            ("Processor time", cpu_time(taken) if taken > 0 else ""),
            ("Energy", f"{_joules(joules)}, {_how(study, source)}" if joules else ""),
            ("Carbon", grams),
            ("Break-even", _even(study)),
            ("Of each call", guess(study)),
        )
    )


def _even(study: Study) -> str:
    chosen = pick(study)
    said = repaid(study, chosen)
    even = break_even(study, chosen) if chosen else None
    if even is None or not said:
        return said
    what = "energy" if even.by == "energy" else "latency"
    ends = f"{many(even.low, 3)} to {many(even.high, 3)}"
    said += f" 95 %: {ends}, from the interval of its {what}."
    if energy(study)[1] == "estimate":
        said += " In joules it is the same: they are processor time times a constant."
    return said


def _how(study: Study, source: str) -> str:
    """How joules of the search were had."""
    told = study.environment.get("energy")
    told = told if isinstance(told, Mapping) else {}
    if source == "estimate":
        return f"estimated, ±50 % ({told.get('how', 'watts of the processor')})"
    domains = told.get("domains", ())
    names = ", ".join(map(str, domains)) if isinstance(domains, list | tuple) else ""
    what = f"{source} {names}".strip()
    return f"counted by {what}; idling and all other programs included"


def _joules(joules: float) -> str:
    size, unit = w.scale(joules, "J")
    return f"{w.digits(joules / size, 2)} {unit}"


def _grid(study: Study) -> dict[str, Any] | None:
    """Where the electricity came from, as `--grid` said."""
    told = study.environment.get("grid")
    if not isinstance(told, Mapping) or not isinstance(
        told.get("intensity"), int | float
    ):
        return None
    keys = ("intensity", "unit", "place", "year", "source")
    return {k: told.get(k) for k in keys}


def _grams(joules: float, grid: Mapping[str, Any]) -> float:
    return float(grid["intensity"]) * joules / JOULES_PER_KWH


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
