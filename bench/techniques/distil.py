"""A student of an eighth of its teacher's size, taught and untaught, three seeds."""

from __future__ import annotations

import numpy as np

from bench._results import Results
from bench.techniques._deck import Deck, against, note

PRUNED = {"technique": "structured_pruning", "ratio": 0.67}
EPOCHS, RATE, WEIGHT, SEEDS = 15, 3e-3, 0.9, (0, 1, 2)


def run(results: Results, quick: bool) -> None:
    """The same student, the same epochs: with the teacher's outputs or without."""
    gains, ends = [], []
    name = "fashion" if quick else "cifar10"
    epochs = 1 if quick else EPOCHS
    for seed in SEEDS[:1] if quick else SEEDS:
        deck = Deck(name, quick, seed)
        alone, taught = made = deck.play(
            {
                "student alone": [
                    PRUNED,
                    {
                        "technique": "fine_tuning",
                        "epochs": epochs,
                        "learning_rate": RATE,
                        "start": "fresh",
                    },
                ],
                "student distilled": [
                    PRUNED,
                    {
                        "technique": "distillation",
                        "epochs": epochs,
                        "learning_rate": RATE,
                        "start": "fresh",
                        "weight": WEIGHT,
                    },
                ],
            },
            latency=False,
        )
        note(results, deck, made)
        apart = against(taught, alone)
        if apart is not None:
            gains.append(100 * apart.value)
            ends.append((100 * apart.low, 100 * apart.high))
    if gains:
        mean = float(np.mean(gains))
        # Seeds share the test samples, so their intervals don't make one of the mean:
        # the lowest and the highest end of the three are shown.
        low, high = (float(f([e[i] for e in ends])) for i, f in ((0, min), (1, max)))
        results.figure(
            f"{name}: points that distillation adds, mean of {len(gains)} seeds "
            "(range of their intervals)",
            mean,
            ">= 0.8, each interval above 0",
            mean >= 0.8 and low > 0,
            "pt",
            low,
            high,
        )
        size = taught.times("size")
        results.figure(f"{name}: student, times smaller", size, ">= 8", size >= 8)
