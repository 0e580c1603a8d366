"""`fit` beside the best loop written by hand, and what each number format gives."""

from __future__ import annotations

import statistics

import torch

from bench._results import Results
from bench.training._loops import (
    EPOCHS,
    Work,
    alternate,
    available,
    by_fit,
    by_hand,
    part,
    ratio,
    work,
)

GOAL = 0.9
WHOLE, SPLIT = "fashion", 78  # batches of its train split
BATCHES = {"fashion": 8, "cifar10": 8, "activity": 16}


def run(results: Results, quick: bool) -> None:
    """With one thread, as a worker of a search trains."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in available():
            _compare(results, name, quick)
        if not quick:
            _call(results)
    finally:
        torch.set_num_threads(before)


def _compare(results: Results, name: str, quick: bool) -> None:
    given = work(part(name, 2 if quick else BATCHES[name]))
    best = _modes(results, name, given, 1 if quick else 4)
    whole: list[float] = []
    steps, hand = alternate(
        [by_fit(given, whole), by_hand(given, given.modes[best])], 1 if quick else 8
    )
    share, low, high = ratio(steps, hand)
    results.figure(
        f"{name}: samples per second of fit's steps, of the best loop by hand",
        share,
        f">= {GOAL}",
        share >= GOAL,
        "",
        low,
        high,
    )
    _, low, high = ratio(whole[1:], hand)
    results.row(
        task=name,
        what="fit beside the best loop by hand",
        best_by_hand=best,
        of_fit=str(given.ours),
        steps_per_s=statistics.median(steps),
        by_hand_per_s=statistics.median(hand),
        short_call_low=low,
        short_call_high=high,
        batches_of_the_call=len(given.inputs) // given.batch,
    )


def _call(results: Results) -> None:
    """All of a call, with what it does before the first step and after the last."""
    given = work(part(WHOLE, SPLIT))
    whole: list[float] = []
    hand = by_hand(given, given.ours)
    _, speeds = alternate([by_fit(given, whole), hand], 2)
    share, low, high = ratio(whole[1:], speeds)
    results.figure(
        f"{WHOLE}: samples per second of a whole call of fit, {EPOCHS} epochs, of the "
        "loop by hand",
        share,
        f">= {GOAL}",
        share >= GOAL,
        "",
        low,
        high,
    )


def _modes(results: Results, name: str, given: Work, rounds: int) -> str:
    """The fastest number format and layout of the loop by hand."""
    modes = given.modes
    found = alternate([by_hand(given, mode) for mode in modes.values()], rounds)
    plain = found[0]
    for mode, speeds in zip(modes, found, strict=True):
        share, low, high = ratio(speeds, plain)
        results.row(
            task=name,
            what=mode,
            samples_per_s=statistics.median(speeds),
            times_float32=share,
            low=low,
            high=high,
        )
        print(f"{name}: {mode}: {statistics.median(speeds):.0f}/s, {share:.2f}x")
    middles = map(statistics.median, found)
    return max(zip(middles, modes, strict=True))[1]
