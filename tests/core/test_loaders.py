"""A task from a module and loaders."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from paretune.core.errors import TaskError
from paretune.core.loaders import Loaders
from paretune.engine import preflight
from tests.toys import ConvNet, blobs


def made(**more):
    toy = ConvNet()
    splits = {s: list(toy.batches(s)) for s in ("train", "validation", "test")}
    quality = {"accuracy": lambda o, t: o.argmax(-1) == t}
    return Loaders(toy.model(), loss=toy.loss, quality=quality, **splits, **more)


def test_without_more_there_is_neither():
    task = made()
    assert not task.unlabelled and task.teachers == {}


def test_inputs_without_labels_come_without_targets():
    rows = blobs(64, 9, (1, 8, 8))
    loader = DataLoader(TensorDataset(*map(torch.from_numpy, rows)), 32)
    for given in (loader, lambda: loader, [(rows[0], None)]):
        task = made(unlabelled=given)
        assert task.unlabelled
        assert all(targets is None for _, targets in task.batches("unlabelled"))
        assert preflight.check(task)["samples"]["unlabelled"] == 64


def test_a_batch_without_labels_is_a_pair_too():
    inputs = blobs(64, 9, (1, 8, 8))[0]
    with pytest.raises(TaskError, match="must be a pair"):
        preflight.check(made(unlabelled=[inputs]))
    with pytest.raises(TaskError, match="unlabelled is a generator"):
        made(unlabelled=(batch for batch in [(inputs, None)]))


def test_teachers_are_modules_or_functions_and_stay_as_they_are():
    big = ConvNet().model()
    task = made(teachers={"big": big.train(), "built": ConvNet().model})
    first = task.teachers["big"]()
    assert first is not big and not first.training and big.training
    assert isinstance(task.teachers["built"](), torch.nn.Module)
    found = {
        preflight.check(made(teachers=t))["fingerprint"]
        for t in ({}, {"big": big}, {"big": torch.nn.Sequential(big)})
    }
    assert len(found) == 3
