"""4-bit weights on a net that they hurt: rounded after training, and in training."""

from __future__ import annotations

import numpy as np

from bench._results import Results
from bench.techniques._deck import Deck, Entry, note, shortened
from bench.techniques._nets import DepthwiseFashion

PTQ = {"technique": "post_training_quantization", "weight_bits": 4}
QAT = {
    "technique": "quantization_aware_training",
    "weight_bits": 4,
    "epochs": 5,
    "learning_rate": 2e-3,
}
HANDS = {
    "4 bits": [PTQ],
    "4 bits, adaptive rounding": [
        {**PTQ, "rounding": "adaptive", "bias_correction": True}
    ],
    "4 bits, QAT": [QAT, PTQ],
    "4 bits, QAT, distilled": [{**QAT, "distil": 0.5}, PTQ],
}


def run(results: Results, quick: bool) -> None:
    """The share of what 4 bits lose that each way brings back."""
    deck = Deck("depthwise", quick, task=DepthwiseFashion())
    hands = {name: shortened(steps, quick) for name, steps in HANDS.items()}
    plain, *others = made = deck.play(hands, latency=False)
    note(results, deck, made)
    if plain.tested is None:
        return
    lost = -plain.gain.value
    results.figure(
        "depthwise net: points that 4 bits lose on test",
        100 * lost,
        "> 0.5",
        lost > 0.005,
        "pt",
        -100 * plain.gain.high,
        -100 * plain.gain.low,
    )
    for entry in others:
        share, low, high = recovered(plain, entry)
        trained = "QAT" in entry.name
        results.figure(
            f"depthwise net, {entry.name}: share of that loss recovered",
            share,
            ">= 0.7" if trained else "none",
            share >= 0.7 or not trained,
            "",
            low,
            high,
        )


def recovered(plain: Entry, other: Entry) -> tuple[float, float, float]:
    """(other - plain) / (float - plain) on the test split, with its 95 % interval.

    By the bootstrap: all three were judged on the same samples.
    """
    assert plain.tested is not None and other.tested is not None
    first, whole = plain.tested
    drawn = other.tested[0].replicates - first.replicates
    shares = drawn / (whole.replicates - first.replicates)
    share = (other.tested[0].value - first.value) / (whole.value - first.value)
    low, high = np.quantile(shares, (0.025, 0.975)).tolist()
    return share, low, high
