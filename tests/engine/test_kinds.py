"""What kind of data a task has."""

import pytest
import torch

from paretune.engine.kinds import _kind, kinds
from tests.toys import ConvNet


def test_images_in_classes():
    assert kinds(ConvNet()) == {"kind": "image", "classes": True}


@pytest.mark.parametrize(
    ("inputs", "targets", "kind"),
    [
        (torch.zeros(4, 3, 50), torch.zeros(4, dtype=torch.long), "signal"),
        (torch.zeros(4, 9, dtype=torch.long), torch.zeros(4, dtype=torch.long), "text"),
        (torch.zeros(4, 7), torch.zeros(4, dtype=torch.long), ""),
        (torch.zeros(4, 1, 8, 8), torch.zeros(4, 8, 8, dtype=torch.long), ""),
        ((torch.zeros(4, 1, 8, 8), torch.zeros(4, 7)), torch.zeros(4), ""),
        (torch.zeros(4, 1, 8, 8), None, "image"),
    ],
)
def test_what_cannot_be_varied_has_no_kind(inputs, targets, kind):
    assert _kind(inputs, targets) == kind
