"""What an explanation proposes to try, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from paretune.core.study import Study
from paretune.core.trial import Trial
from paretune.report import _words as w
from paretune.report._whywords import seconds, signed, spread

Told = Mapping[str, Any]


def advice(study: Study, trial: Trial, proposals: Sequence[Told]) -> tuple[str, ...]:
    """Sentences and lines of recipes: what helps or may help, then what doesn't."""
    lines: list[str] = []
    number = 0
    for proposal in (p for p in proposals if p.get("helps") is not False):
        number += 1
        lines.append(f"{number}. Because {proposal['why']}{_known(study, proposal)}")
        lines += [f"     {line}" for line in recipe(proposal["recipe"])]
        lines.append(f"   {_tried(study, proposal)}")
    for proposal in (p for p in proposals if p.get("helps") is False):
        changed = _differing(trial.steps, proposal["steps"])
        lines.append(
            f"Not worth it: {changed}. It was tried because "
            f"{proposal['why'].rstrip('.')}. {_tried(study, proposal)}"
        )
    if not number:
        said = "else that would help" if proposals else "to mend"
        lines.append(f"Nothing {said}.")
    return tuple(lines)


def _tried(study: Study, proposal: Told) -> str:
    if "said" in proposal:
        return str(proposal["said"])
    if "call_s" not in proposal:
        return "Not tried here."
    metric = next(iter(study.metrics), "")
    change = proposal["change"].get(metric)
    said = f"{w.label(metric)} not judged, as the trained model is gone"
    if change:
        moved = signed(study, metric, change["value"])
        said = f"{w.label(metric)} {moved} ({spread(study, metric, change)})"
    return (
        f"Tried: {seconds(proposal['call_s'])} a call in place of "
        f"{seconds(proposal['member_s'])}, {said}."
    )


def _known(study: Study, proposal: Told) -> str:
    steps = tuple(proposal["steps"])
    same = [t.number for t in study.trials if tuple(map(dict, t.steps)) == steps]
    return f" That is trial {same[0]}." if same else ""


def _differing(before: Sequence[Told], after: Sequence[Told]) -> str:
    kept = {step["technique"] for step in after}
    gone = [s["technique"] for s in before if s["technique"] not in kept]
    found = [f"without {name.replace('_', ' ')}" for name in gone]
    for step in after:
        twin = next((s for s in before if s["technique"] == step["technique"]), {})
        for key, value in step.items():
            if key != "technique" and twin.get(key) != value:
                found.append(f"{key} {w.setting(value) if value != '' else 'none'}")
    return ", ".join(found) or "the proposed recipe"


def recipe(steps: Sequence[Told]) -> list[str]:
    """A recipe as YAML, a step a line, as `paretune apply` reads it.

    Example:
        >>> recipe([{"technique": "structured_pruning", "ratio": 0.4}])
        ['- {technique: structured_pruning, ratio: 0.4}']
    """
    return [
        "- {"
        + ", ".join(
            f"{k}: {v if k == 'technique' else json.dumps(v)}" for k, v in step.items()
        )
        + "}"
        for step in steps
    ]
