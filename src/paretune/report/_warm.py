"""What beginning with earlier studies' recipes has given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from paretune.core.strategy import told
from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.frontier import Frontier, frontier
from paretune.report._html import text


def warm_start(study: Study, found: Frontier | None = None) -> dict[str, Any] | None:
    """The trials that were taken over, and how much of the frontier they make.

    Args:
        study: any.
        found: its frontier, if that is at hand.

    Returns:
        {"studies": names, "trials": numbers, "members": how many of them are on the
        frontier, "hypervolume_share": of the hypervolume, what they and the baseline
        have alone, "baseline_share": what the baseline has by itself}; None if the
        study began with nothing.
    """
    if not study.warm_start:
        return None
    found = found or frontier(study)
    trials = _trials(study)
    members = {t.number for t in found.members}
    base = study.baseline
    share = own = None
    if base is not None and found.hypervolume > 0:
        share, own = (
            Frontier(replace(study, trials=some), (), ()).hypervolume
            / found.hypervolume
            for some in ((base, *trials), (base,))
        )
    return {
        "studies": list(study.warm_start["studies"]),
        "trials": [t.number for t in trials],
        "members": sum(t.number in members for t in trials),
        "hypervolume_share": share,
        "baseline_share": own,
    }


def sentence(study: Study, found: Frontier | None = None) -> str:
    """The same in words; empty if the study began with nothing."""
    record = warm_start(study, found)
    if record is None:
        return ""
    names = " and ".join(record["studies"])
    count, members = len(record["trials"]), record["members"]
    if not count:
        return f"Warm start: {names} had no recipe that was tried here."
    what = f"Warm start: of {count} recipe{'s' * (count > 1)} taken over from {names}, "
    what += "some of which it might have come to by itself, "
    if not members:
        return f"{what}none is on the frontier; it gave nothing but knowledge of them."
    said = f"{what}{members} {'is' if members == 1 else 'are'} on the frontier"
    if record["hypervolume_share"] is None:
        return f"{said}."
    share, own = (
        f"{100 * record[key]:.0f} %" for key in ("hypervolume_share", "baseline_share")
    )
    return (
        f"{said}; with the baseline they have {share} of its hypervolume, of which the "
        f"baseline alone has {own}."
    )


def paragraph(study: Study, found: Frontier | None = None) -> str:
    """The same as a paragraph of the page; empty where there is nothing to say."""
    said = sentence(study, found)
    return f'<p class="note">{text(said)}</p>' if said else ""


def _trials(study: Study) -> list[Trial]:
    recipes = {told(steps) for steps in study.warm_start["recipes"]}
    return [t for t in study.trials if t.number and told(t.steps) in recipes]
