"""A plan as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.tree import Tree

KNOWN = {
    "trials": "as such steps took before",
    "epoch": "by the time of an epoch",
    "unknown": "a guess: none was seen yet",
}


def tree(told: Mapping[str, Any]) -> Tree:
    """The steps as a tree: those that recipes share are there once."""
    from rich.text import Text
    from rich.tree import Tree

    root = Tree("baseline")
    branch = [root]
    for node in told["nodes"]:
        del branch[node["depth"] + 1 :]
        branch.append(branch[-1].add(Text(words(node))))
    return root


def words(node: Mapping[str, Any]) -> str:
    """One step of a plan.

    Example:
        >>> step = {"technique": "fine_tuning", "epochs": 2}
        >>> known = {"cached": False, "shared": 3, "seconds": 4.2, "known": "epoch"}
        >>> words({"step": step, **known})
        'fine tuning 2: about 4.2 s (by the time of an epoch), shared by 3'
    """
    from paretune.report.table import short

    state = f"about {node['seconds']:.1f} s ({KNOWN[node['known']]})"
    if node["cached"]:
        state = "cached"
    shared = f", shared by {node['shared']}" if node["shared"] > 1 else ""
    return f"{short([node['step']])}: {state}{shared}"


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The order in which recipes would be taken, and the totals."""
    from paretune.report.table import short

    yield "order:"
    for place, index in enumerate(told["order"], 1):
        yield f"  {place:>3}  {short(told['recipes'][index])}"
    yield (
        f"{told['alone_s']:.1f} s without sharing, {told['shared_s']:.1f} s with it "
        f"and what is cached; about {told['wall_s']:.1f} s on {told['workers']} "
        f"worker{'s' * (told['workers'] != 1)}. Exporting, measuring and judging come "
        "on top."
    )
