"""Half of the multiplications removed by structured pruning, then fine-tuned."""

from __future__ import annotations

from bench._results import Results
from bench.techniques._deck import Deck, lost, note, ratio, shortened

PRUNED = {
    "technique": "structured_pruning",
    "scope": "macs",
    "ratio": 0.51,  # a little more than half, since channels come in blocks
    "round_to": 16,
}
SCHEDULES = {
    "half the MACs": [
        PRUNED,
        {"technique": "fine_tuning", "epochs": 15, "learning_rate": 2e-3},
    ],
    "half the MACs, distilled": [
        PRUNED,
        {"technique": "distillation", "epochs": 15, "learning_rate": 2e-3},
    ],
}


def run(results: Results, quick: bool) -> None:
    """cifar10 at half its multiplications."""
    deck = Deck("fashion" if quick else "cifar10", quick)
    hands = {name: shortened(steps, quick) for name, steps in SCHEDULES.items()}
    made = deck.play(hands)
    note(results, deck, made)
    for entry in made:
        lost(results, deck, entry, 0.5)
        macs = entry.times("macs")
        what = f"{deck.name}, {entry.name}"
        results.figure(f"{what}: times fewer MACs", macs, ">= 2", macs >= 2)
        ratio(results, f"{what}: latency over the baseline's", entry, "<= 0.7", 0.7)
