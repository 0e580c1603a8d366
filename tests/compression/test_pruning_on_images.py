"""Real images: by what channels cost, against the same share of each layer."""

from __future__ import annotations

import functools

import torch

from paretune.compression.structured_pruning import StructuredPruning
from paretune.core.candidate import Candidate
from paretune.core.technique import Run
from paretune.infrastructure.formats import torch as torch_format
from paretune.learning.fine_tuning import FineTuning
from paretune.tasks.fashion import Fashion

NOISE = 0.02  # two standard errors of a difference on 1,000 images, or so


class Few(Fashion):
    """1,500 images to train on, 1,000 to judge by."""

    def split(self, name):
        images, labels = super().split(name)
        count = {"train": 1500, "validation": 1000}.get(name, 128)
        return images[:count], labels[:count]


@functools.cache
def result(**parameters):
    """(multiply-accumulates left, accuracy after a short training)."""
    task = Few()
    model = task.model()
    small = StructuredPruning(**parameters).on_torch(model, Run(task))
    before, after = (
        torch_format.count(Candidate(m, "torch"), task)["macs"] for m in (model, small)
    )
    tuned = FineTuning(epochs=1, learning_rate=2e-3).on_torch(small, Run(task))
    images, labels = task.split("validation")
    with torch.no_grad():
        hits = tuned(torch.from_numpy(images)).argmax(1).numpy() == labels
    return after / before, float(hits.mean())


def test_by_cost_is_no_worse_than_the_same_share_everywhere():
    left, accuracy = result(scope="macs", ratio=0.6)
    evenly_left, evenly = result(scope="uniform", ratio=0.37)
    assert abs(left - 0.4) < 0.02
    assert abs(left - evenly_left) < 0.02
    assert accuracy > evenly - NOISE
    assert accuracy > 0.8
