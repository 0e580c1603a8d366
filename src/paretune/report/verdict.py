"""What came of a study, in a sentence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from paretune.core.budget import Constraint
from paretune.core.study import Study
from paretune.core.trial import HALTED, INFEASIBLE, STOPPED, Trial
from paretune.frontier import Frontier, frontier
from paretune.report._figures import Change, change, gap, meets, shown, words
from paretune.report._words import label, limit


def pick(study: Study, found: Frontier | None = None) -> Trial | None:
    """The trial to take: the best bargain among members that meet the budget.

    Args:
        study: the study.
        found: its frontier, if that is at hand.

    Returns:
        None if no member meets the budget.
    """
    found = found or frontier(study)
    fit = [t for t in found.members if meets(study, t)]
    best = found.knee(fit)
    if best is None and fit:
        best = min(fit, key=lambda t: t.number)
    return best


def verdict(study: Study, found: Frontier | None = None) -> str:
    """One sentence: what the best bargain gains and costs, or why there is none."""
    base = study.baseline
    if base is None:
        failed = next((t for t in study.trials if t.number == 0), None)
        why = f"failed ({failed.state})" if failed else "is not measured yet"
        return f"The baseline {why}, so there is nothing to compare with."
    best = pick(study, found)
    if best is None:
        return _unmet(study)
    if best.number == 0:
        return (
            "Leave the model as it is: nothing that was tried is a better bargain than "
            "the baseline."
        )
    return f"{gains(study, best)}: trial {best.number}."


def gains(study: Study, trial: Trial) -> str:
    """What a trial gains and costs against the baseline, without a full stop."""
    changes = {m: change(study, trial, m) for m in ("size", "latency_p50")}
    known = [c for c in changes.values() if c and c.verdict]
    gains = [c.text for c in known if c.verdict > 0]
    losses = [c.text for c in known if c.verdict < 0]
    said = " and ".join(gains) or "No smaller and no faster than the baseline"
    if losses:
        said += f", but {' and '.join(losses)}"
    return f"{said}, {quality_phrase(study, trial)}"


def quality_phrase(study: Study, trial: Trial) -> str:
    """The main quality metric beside the baseline's, as the end of a sentence."""
    metric = next(iter(study.metrics), "")
    difference = change(study, trial, metric)
    if difference is None:
        return "quality not measured"
    name = label(metric)
    if difference.verdict == 0:
        return f"with {name} not distinguishable from the baseline's"
    amount = difference.plain.lstrip("+−")
    if difference.verdict > 0:
        return f"with {name} {amount} better than the baseline's"
    return f"with {name} {amount} worse than the baseline's"


def _unmet(study: Study) -> str:
    nearest, broken = closest(study)
    if nearest is None:
        return "No trial meets the budget, and none has figures to come near it."
    limits = " and ".join(_broken(study, nearest, c) for c in broken)
    return (
        f"No trial meets the budget: the nearest, trial {nearest.number}, breaks "
        f"{limits}."
    )


def closest(study: Study) -> tuple[Trial | None, tuple[Constraint, ...]]:
    """The trial that misses the budget by least, and the constraints that bind it.

    By least: the constraint that it breaks by the largest share of its limit.
    """
    base = study.baseline
    if base is None:
        return None, ()
    limits = {k: m.value for k, m in shown(study, base).items()}
    best: Trial | None = None
    binding: tuple[Constraint, ...] = ()
    least = math.inf
    for trial in sorted(study.trials, key=lambda t: (not t.ok, t.number)):
        values = {k: m.value for k, m in shown(study, trial).items()}
        broken = study.budget.broken(values, limits)
        if not broken:
            continue
        miss = max(_miss(c, values[c.metric], limits) for c in broken)
        if miss < least and (trial.ok or best is None or not best.ok):
            best, binding, least = trial, broken, miss
    return best, binding


def _miss(c: Constraint, value: float, limits: Mapping[str, float]) -> float:
    limit = c.limit(limits)
    return abs(value - limit) / (abs(limit) or 1.0)


def _broken(study: Study, trial: Trial, c: Constraint) -> str:
    m = shown(study, trial)[c.metric]
    return f"{limit(c.text)} (it has {words(study, m).plain})"


def counts(study: Study) -> dict[str, int]:
    """How many trials ended how."""
    states = Counter(t.state.partition(":")[0] for t in study.trials)
    return {
        "done": states["ok"],
        "failed": states["failed"],
        "stopped": states[STOPPED],
        "infeasible": states[INFEASIBLE],
        "halted": states[HALTED],
    }


def tally(study: Study) -> str:
    """The counts in words: "25 trials: 20 done, 3 infeasible, 2 failed"."""
    found = counts(study)
    order = ("done", "halted", "infeasible", "failed", "stopped")
    said = ", ".join(f"{found[k]} {k}" for k in order if found[k] or k == "done")
    number = len(study.trials)
    return f"{number} trial{'' if number == 1 else 's'}: {said}."


def ties(study: Study, trials: Sequence[Trial]) -> str:
    """Which of them can't be told from the baseline by the main quality metric."""
    metric = next(iter(study.metrics), "")
    found: dict[int, Change | None] = {
        t.number: change(study, t, metric) for t in trials if t.number
    }
    same = [str(n) for n, c in found.items() if c is not None and c.verdict == 0]
    if not same:
        return ""
    which = "Trial" if len(same) == 1 else "Trials"
    verb = "is" if len(same) == 1 else "are"
    return (
        f"{which} {_list(same)} {verb} not distinguishable from the baseline in "
        f"{label(metric)}."
    )


def judged(study: Study, trials: Sequence[Trial]) -> str:
    """On what their quality was judged, and how often the test split was read."""
    if not study.certifications:
        return (
            "Quality is that of the validation split, which the search has looked at; "
            "the test split has not been read."
        )
    times = "once" if study.certifications == 1 else f"{study.certifications} times"
    said = f"Quality is certified on the test split, read {times}"
    open_ = [str(t.number) for t in trials if t.number not in study.certified]
    if open_:
        which = "trial" if len(open_) == 1 else "trials"
        still = "is still that of the validation split"
        said += f"; that of {which} {_list(open_)} {still}"
    return f"{said}.{_at_once(study)}{_seen_before(study)}"


def _at_once(study: Study) -> str:
    number = len(study.certified)
    if number < 2:
        return ""
    return (
        f" Its 95 % intervals hold for all {number} certified models at once, and so "
        "do the comparisons with the baseline."
    )


def _seen_before(study: Study) -> str:
    if study.certifications < 2:
        return ""
    return (
        " Only the first reading was blind: what it showed may have steered what was "
        "tried since, so later figures may flatter."
    )


def optimism(study: Study, trials: Sequence[Trial]) -> str:
    """What quality lost from validation to test: the trials' gaps, and the baseline's.

    Args:
        study: the study.
        trials: whose gaps to name; those that are not certified are left out.
    """
    metric = next(iter(study.metrics), "")
    gaps = {t.number: gap(study, t, metric) for t in trials if t.number}
    known = [f"{said} in trial {n}" for n, said in gaps.items() if said]
    base = study.baseline
    own = gap(study, base, metric) if base else ""
    if own:
        known.append(f"{own} in the baseline, which the search did not choose")
    if not known:
        return ""
    how = "validation less test"
    if study.metrics[metric] == "lower":
        how = "test less validation"
    return f"Optimism gap of {label(metric)}, {how} (95 %): {'; '.join(known)}."


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
