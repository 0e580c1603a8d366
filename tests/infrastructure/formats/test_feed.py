"""Passes over the data: they repeat, regroup without loss, and alternate evenly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.errors import TaskError
from paretune.infrastructure.formats._feed import Feed, alternate, regroup, samples
from tests.toys import ConvNet, PairNet


class Half(ConvNet):
    """Half of the samples have labels, and the rest are twice as many."""

    unlabelled = True

    def split(self, name):
        if name == "unlabelled":
            return np.zeros((512, 1, 8, 8), np.float32), None
        return super().split(name)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(1, 20))
def test_regrouping_keeps_every_sample_but_a_small_rest(lengths, size):
    starts = np.cumsum([0, *lengths])
    given_ = [
        ({"a": torch.arange(s, s + n)}, (torch.arange(s, s + n) * 2,))
        for s, n in zip(starts, lengths, strict=False)
    ]
    found = list(regroup(given_, size))
    together = torch.cat([x["a"] for x, _ in found]).tolist()
    total = int(starts[-1])
    rest = total % size
    kept = total if total < size or rest >= size / 2 else total - rest
    assert together == list(range(kept))
    assert torch.cat([y[0] for _, y in found]).tolist() == [2 * i for i in together]
    assert all(samples(x) == size for x, _ in found[:-1])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_alternating_gives_all_and_ends_together(lengths):
    passes = [iter([(i, k) for k in range(n)]) for i, n in enumerate(lengths)]
    found = list(alternate(passes, lengths))
    assert sorted(found) == [(i, k) for i, n in enumerate(lengths) for k in range(n)]
    for done in range(len(found)):
        shares = [
            sum(1 for i, _ in found[: done + 1] if i == each) / n
            for each, n in enumerate(lengths)
            if n
        ]
        assert max(shares) - min(shares) <= 1 / min(n for n in lengths if n) + 1e-9


def test_a_pass_repeats_and_the_next_differs():
    feed = Feed(ConvNet(), seed=3)
    first, again, second = (
        torch.cat([y for _, y in feed.batches(n)]) for n in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_unlabelled_batches_come_in_between_without_targets():
    feed = Feed(Half(), seed=0, splits=("train", "unlabelled"))
    assert feed.lengths == (8, 16)
    kinds = [targets is None for _, targets in feed.batches(0)]
    assert (kinds.count(False), kinds.count(True)) == (8, 16)
    assert all(not all(kinds[i : i + 3]) for i in range(len(kinds) - 2))
    inputs, targets = feed.first()
    assert len(inputs) == len(targets)


def test_a_split_without_a_batch_is_named():
    class Empty(Half):
        def batches(self, split):
            return iter(()) if split == "unlabelled" else super().batches(split)

    with pytest.raises(TaskError, match="'unlabelled'"):
        Feed(Empty(), 0, ("train", "unlabelled")).first()


def test_dicts_are_regrouped_too():
    feed = Feed(PairNet(), seed=0, size=100)
    assert feed.lengths == (3,)
    sizes = [len(x["left"]) for x, _ in feed.batches(0)]
    assert sizes == [100, 100, 56]
