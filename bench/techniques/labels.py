"""One label in twenty: what pretraining and augmentation make of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench._results import Results
from bench.techniques._deck import TASKS, store
from paretune import api

SHARE = 0.05
EPOCHS = {"cifar10": 3, "activity": 12}


def run(results: Results, quick: bool) -> None:
    """Plain training against the other ways, on one image and one sensor task."""
    for name in ("fashion",) if quick else EPOCHS:
        found = api.labels(
            TASKS[name],
            (SHARE,),
            seeds=1 if quick else 3,
            epochs=1 if quick else EPOCHS[name],
            store=store(f"labels{'-quick' if quick else ''}"),
            on_event=told,
        )
        for point in found["points"]:
            results.row(task=name, **point)
            gain = point["gain"]
            if gain is None or quick:
                continue
            wanted = point["method"] == "self_supervision"
            better = 100 * gain["value"]
            results.figure(
                f"{name}, 5 % of the labels, {point['method']}: points over plain",
                better,
                ">= 4" if wanted else "none",
                better >= 4 or not wanted,
                "pt",
                100 * gain["low"],
                100 * gain["high"],
            )


def told(kind: str, facts: Mapping[str, Any]) -> None:
    """Prints a line of what happens, without the samples' scores."""
    print(kind, facts.get("what", facts.get("cell", "")), flush=True)
