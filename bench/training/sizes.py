"""Samples per second by the size of a batch, and what data and augmentation cost."""

from __future__ import annotations

import statistics
import time

import torch

from bench._results import Results
from bench.training._loops import Work, alternate, available, by_hand, part, work
from paretune.infrastructure.formats.torch import tensors

SIZES = (8, 16, 32, 64, 128, 256, 512)
SAMPLES = 512


def run(results: Results, quick: bool) -> None:
    """With one thread, in the mode that paretune takes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name in available():
            given = work(part(name, SAMPLES // (64 if name == "activity" else 128)))
            sizes = (32, 128) if quick else SIZES
            runs = [by_hand(given, given.ours, batch=size) for size in sizes]
            found = alternate(runs, 1 if quick else 3)
            speeds = {s: max(v) for s, v in zip(sizes, found, strict=True)}
            results.row(task=name, what="size of a batch", samples_per_s=speeds)
            told = ", ".join(f"{s}: {v:.0f}/s" for s, v in speeds.items())
            print(f"{name}: batches of {told}")
            _data(results, name, given)
    finally:
        torch.set_num_threads(before)


def _data(results: Results, name: str, given: Work) -> None:
    """Seconds of a batch that go into what isn't the model."""
    own, augmenting = [], []
    begin = time.perf_counter()
    for batch in given.task.batches("train"):
        inputs, targets = map(tensors, batch)
        middle = time.perf_counter()
        given.task.augment(inputs, targets)
        own.append(middle - begin)
        augmenting.append(time.perf_counter() - middle)
        begin = time.perf_counter()
    facts = {
        "batches_s": statistics.median(own[1:]),
        "augment_s": statistics.median(augmenting[1:]),
    }
    results.row(task=name, what="one batch of data", **facts)
    told = ", ".join(f"{k} {v * 1e3:.2f} ms" for k, v in facts.items())
    print(f"{name}: one batch: {told}")
