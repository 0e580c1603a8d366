"""Post-training int8 on every task, with calibration data and without."""

from __future__ import annotations

from bench._results import Results
from bench.techniques._deck import TASKS, Deck, against, lost, note, ratio

INT8 = {"technique": "post_training_quantization"}
FEWER = {**INT8, "calibration_data": "bn_statistics"}
CHOSEN = {
    "fashion": INT8,
    "cifar10": INT8,
    "activity": INT8,
    "sentiment": {**INT8, "scheme": "dynamic_int8"},
}
NORMALISED = ("fashion", "cifar10", "activity")  # by batch normalisation


def run(results: Results, quick: bool) -> None:
    """int8 of each task's model; and data-free int8 beside it."""
    faster = 0
    for name in ("fashion",) if quick else TASKS:
        hands = {"int8": [CHOSEN[name]]}
        if name in NORMALISED:
            hands["int8, no data"] = [FEWER]
        deck = Deck(name, quick)
        made = deck.play(hands)
        note(results, deck, made)
        entry = made[0]
        lost(results, deck, entry, 0.5)
        size = entry.times("size")
        results.figure(f"{name}, int8: times smaller", size, ">= 3.5", size >= 3.5)
        faster += entry.latency is not None and entry.latency[2] < 1.0
        ratio(results, f"{name}, int8: latency over float's", entry, "< 1")
        for other in made[1:]:
            apart = against(other, entry)
            if apart is None:
                continue
            worse = -100 * apart.value
            results.figure(
                f"{name}: points lost to calibrated int8 without data",
                worse,
                "<= 0.7",
                worse <= 0.7,
                "pt",
                -100 * apart.high,
                -100 * apart.low,
            )
    results.figure("tasks on which int8 is faster, of 4", faster, ">= 3", faster >= 3)
