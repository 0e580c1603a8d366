"""Deep Compression: pruned, clustered and entropy-coded."""

from __future__ import annotations

from bench._results import Results
from bench.techniques._deck import Deck, lost, note, shortened

RECIPE = [
    {
        "technique": "data_augmentation",
        "flip": 0.5,
        "shift": 0.05,
        "operations": 0,
        "erase": 0.0,
    },
    {
        "technique": "gradual_pruning",
        "sparsity": 0.88,
        "epochs": 8,
        "learning_rate": 2e-3,
    },
    {"technique": "distillation", "epochs": 30, "learning_rate": 2e-3, "weight": 0.9},
    {"technique": "weight_clustering", "clusters": 16},
    {"technique": "codebook_tuning", "epochs": 4, "learning_rate": 5e-4},
    {"technique": "entropy_coding"},
]


def run(results: Results, quick: bool) -> None:
    """fashion, as few bytes to transfer as may be."""
    deck = Deck("fashion", quick)
    steps = shortened(RECIPE, quick)
    (entry,) = made = deck.play({"prune, cluster, entropy code": steps})
    note(results, deck, made)
    lost(results, deck, entry, 0.5)
    fewer = entry.times("transfer_size")
    what = f"fashion, {entry.name}: times fewer bytes to transfer"
    results.figure(what, fewer, ">= 30", fewer >= 30)
