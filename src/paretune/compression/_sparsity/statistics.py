"""Batch normalisation in a model whose weights were changed without training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn

from paretune.core.technique import Run
from paretune.infrastructure.formats._feed import Feed
from paretune.infrastructure.formats._judging import NORMS, settle
from paretune.infrastructure.formats._modes import Mode


def settled(model: nn.Module, run: Run) -> None:
    """Takes the statistics anew on the calibration split, in place.

    Zeros make what comes out of a layer smaller, and normalising by how large it was
    makes it smaller still from layer to layer.

    Source: Li et al. 2020, arXiv:2007.02491.
    """
    # One sample has no spread to normalise by.
    feed = Feed(run.task, run.seed, ("calibration",), least=2)
    if norms(model) and next(feed.batches(0, augment=False), None) is not None:
        settle(model, Mode(), feed, run)


@contextlib.contextmanager
def from_batches(model: nn.Module) -> Iterator[None]:
    """Normalises each batch by its own statistics, and leaves those that are kept."""
    found = norms(model)
    counts = [n.num_batches_tracked for n in found]
    momenta = [n.momentum for n in found]
    for norm in found:
        norm.momentum = 0.0
        norm.num_batches_tracked = None
        norm.train()
    try:
        yield
    finally:
        for norm, momentum, count in zip(found, momenta, counts, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked = count
            norm.eval()


def norms(model: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """The layers that keep statistics."""
    return [
        m for m in model.modules() if isinstance(m, NORMS) and m.track_running_stats
    ]
