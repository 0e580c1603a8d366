"""Pruned, distilled and quantized: twenty times smaller."""

from __future__ import annotations

from bench._results import Results
from bench.techniques._deck import Deck, lost, note, shortened

INT8 = {"technique": "post_training_quantization"}
PRUNING = {
    "technique": "structured_pruning",
    "scope": "global",
    "importance": "taylor",
}
RECIPES = {
    "fashion": [
        {**PRUNING, "ratio": 0.58, "round_to": 4},
        {"technique": "distillation", "epochs": 30, "learning_rate": 3e-3},
        INT8,
    ],
    "cifar10": [
        {**PRUNING, "ratio": 0.59},
        {
            "technique": "distillation",
            "epochs": 20,
            "learning_rate": 2e-3,
            "weight": 0.9,
        },
        INT8,
    ],
}


def run(results: Results, quick: bool) -> None:
    """prune + distil + int8."""
    for name in ("fashion",) if quick else RECIPES:
        deck = Deck(name, quick)
        steps = shortened(RECIPES[name], quick)
        (entry,) = made = deck.play({"prune, distil, int8": steps})
        note(results, deck, made)
        lost(results, deck, entry, 1.0)
        size = entry.times("size")
        what = f"{name}, {entry.name}: times smaller"
        results.figure(what, size, ">= 20", size >= 20)
