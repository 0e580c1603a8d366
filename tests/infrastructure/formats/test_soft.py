"""Soft losses tell logits from other values, and weigh each in its own units."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.errors import UnsupportedError
from paretune.infrastructure.formats._soft import (
    class_axes,
    soft_loss,
    task_axes,
    uniform_loss,
)
from tests.toys import ConvNet, PairNet


@given(
    st.sampled_from([((6, 5), (6,)), ((4, 3, 2, 2), (4, 2, 2)), ((4, 2, 7), (4, 2))]),
    st.floats(1.0, 10.0),
)
def test_logits_are_told_by_their_targets_on_any_class_axis(shapes, temperature):
    shape, target_shape = shapes
    (axis,) = (
        i for i in range(len(shape)) if shape[:i] + shape[i + 1 :] == target_shape
    )
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(shape, generator=generator)
    teacher = torch.randn(shape, generator=generator)
    target = torch.zeros(target_shape, dtype=torch.int64)
    loss = soft_loss(student, teacher, target, temperature)
    assert float(loss) > 0
    # A constant added to all logits of a position says nothing.
    shifted = student + torch.randn(
        tuple(1 if i == axis else n for i, n in enumerate(shape)), generator=generator
    )
    again = soft_loss(shifted, teacher, target, temperature)
    assert float(again) == pytest.approx(float(loss), rel=1e-3)
    assert float(soft_loss(teacher, teacher, target, temperature)) == pytest.approx(
        0.0, abs=1e-5
    )


@given(st.floats(1e-3, 1e3))
def test_values_count_in_units_of_the_teachers_spread(scale):
    generator = torch.Generator().manual_seed(0)
    student = torch.randn((16, 4), generator=generator)
    teacher = torch.randn((16, 4), generator=generator)
    target = torch.randn((16, 4), generator=generator)
    loss = soft_loss(student, teacher, target, 4.0)
    scaled = soft_loss(student * scale, teacher * scale, target * scale, 4.0)
    assert float(scaled) == pytest.approx(float(loss), rel=1e-3)
    # Not logits: a constant added to all of them does matter.
    assert float(soft_loss(student + 9, teacher, target, 4.0)) > 2 * float(loss)


def test_shares_as_targets_mean_logits_too():
    logits, other = torch.randn(8, 5), torch.randn(8, 5)
    hard, soft = torch.zeros(8, dtype=torch.int64), torch.full((8, 5), 0.2)
    assert torch.equal(
        soft_loss(logits, other, hard, 2.0), soft_loss(logits, other, soft, 2.0)
    )


def test_outputs_without_floats_can_not_be_distilled():
    labels = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(UnsupportedError, match="float"):
        soft_loss(labels, labels, labels, 2.0)


def test_axes_are_those_of_the_task_where_a_batch_has_no_targets():
    student, teacher = torch.randn(4, 3, 2, 5), torch.randn(4, 3, 2, 5)
    axes = class_axes(student, torch.zeros(4, 2, 5, dtype=torch.int64))
    assert axes == {0: 1}
    known = soft_loss(student, teacher, torch.zeros(4, 2, 5, dtype=torch.int64), 2.0)
    assert torch.equal(soft_loss(student, teacher, None, 2.0, axes), known)
    assert not torch.equal(soft_loss(student, teacher, None, 2.0), known)


def test_a_tasks_axes_come_from_its_calibration_split():
    assert task_axes(ConvNet().model(), ConvNet()) == {0: 1}
    assert task_axes(PairNet().model(), PairNet()) == {"value": None, "label": 1}


def test_equal_shares_with_cross_entropy_are_label_smoothing():
    logits, labels = torch.randn(16, 5), torch.randint(0, 5, (16,))
    cross_entropy = torch.nn.functional.cross_entropy
    mixed = 0.8 * cross_entropy(logits, labels) + 0.2 * uniform_loss(logits, {0: 1})
    assert torch.allclose(mixed, cross_entropy(logits, labels, label_smoothing=0.2))
    with pytest.raises(UnsupportedError, match="label_smoothing to 0"):
        uniform_loss(logits, {0: None})
