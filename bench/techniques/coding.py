"""Deep Compression: pruned, clustered and entropy-coded."""

from __future__ import annotations

from bench._results import Results
from bench.techniques._deck import Deck, lost, note, shortened

RECIPE = [
    {"technique": "structured_pruning", "ratio": 0.3},
    {"technique": "distillation", "epochs": 6, "learning_rate": 2e-3},
    {
        "technique": "gradual_pruning",
        "sparsity": 0.7,
        "epochs": 5,
        "learning_rate": 2e-3,
    },
    {"technique": "distillation", "epochs": 16, "learning_rate": 2e-3},
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
