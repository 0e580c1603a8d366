"""What the latency model of a study was worth, in a sentence."""

from __future__ import annotations

from paretune.core.study import Study


def told(study: Study) -> str:
    """Points, errors and what was passed over; empty where nothing was learned.

    Example:
        >>> from paretune.core.strategy import Objective
        >>> from paretune.core.target import Target
        >>> axes = (Objective("accuracy", "higher"),)
        >>> facts = {"points": 9, "foretold": 4, "held": 4, "error": 0.061}
        >>> study = Study("s", "t", {}, Target(), "", axes, forecasts=facts)
        >>> print(told(study).replace("; ", ";\\n"))
        learned from 9 structures of this task, earlier studies included;
        of 4 that it foretold before they were measured, 4 lay in its 95 % interval, \
and the median error was 6.1 %
    """
    facts = study.forecasts
    points = int(facts.get("points", 0))
    if not points:
        return ""
    said = f"learned from {points} structure{'' if points == 1 else 's'} of this task, "
    said += "earlier studies included; "
    if foretold := int(facts["foretold"]):
        said += (
            f"of {foretold} that it foretold before they were measured, "
            f"{int(facts['held'])} lay in its 95 % interval, and the median error was "
            f"{100 * facts['error']:.1f} %"
        )
    else:
        said += "too few to foretell any"
    gone = sum(t.foreseen for t in study.trials)
    if gone:
        said += (
            f". {gone} trial{' was' if gone == 1 else 's were'} never exported, since "
            "the whole interval lay beyond the budget"
        )
    return said
