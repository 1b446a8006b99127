"""Losses by hand, and the properties that distillation relies on."""

from __future__ import annotations

import math

import pytest
import torch

from cg_augment.method.losses import (
    FEATURE_WEIGHT,
    distribution_cross_entropy,
    feature_distance,
    soft_cross_entropy,
)


def test_two_classes_by_hand() -> None:
    # Teacher 3:1, student 1:1.
    teacher, student = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    assert float(soft_cross_entropy(student, teacher)) == pytest.approx(math.log(2))
    student = torch.tensor([[0.0, math.log(3.0)]])
    want = -(0.75 * math.log(0.25) + 0.25 * math.log(0.75))
    assert float(soft_cross_entropy(student, teacher)) == pytest.approx(want)


def test_it_is_smallest_at_the_teacher_where_it_is_its_entropy() -> None:
    torch.manual_seed(0)
    teacher = torch.randn(5, 4, dtype=torch.float64)
    student = teacher.clone().requires_grad_(True)
    loss = soft_cross_entropy(student, teacher)
    p = teacher.softmax(1)
    assert torch.allclose(loss, -(p * p.log()).sum(1))
    loss.sum().backward()
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-12


def test_no_gradient_reaches_the_teacher() -> None:
    teacher = torch.randn(2, 3, requires_grad=True)
    soft_cross_entropy(torch.randn(2, 3, requires_grad=True), teacher).sum().backward()
    assert teacher.grad is None


def test_temperature_keeps_the_size_of_gradients() -> None:
    torch.manual_seed(0)
    teacher, sizes = torch.randn(8, 3), []
    for temperature in (20.0, 40.0):
        student = torch.zeros(8, 3, requires_grad=True)
        soft_cross_entropy(student, teacher, temperature).sum().backward()
        assert student.grad is not None
        sizes.append(float(student.grad.norm()))
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


def test_it_is_the_loss_of_the_distribution_itself() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(4, 3), torch.randn(4, 3)
    one = soft_cross_entropy(student, teacher, 2.0)
    assert torch.allclose(one, distribution_cross_entropy(student, (teacher / 2).softmax(1), 2.0))


def test_half_precision_is_widened() -> None:
    student, teacher = torch.tensor([[40.0, 0.0]]), torch.tensor([[40.0, 0.0]])
    assert soft_cross_entropy(student.bfloat16(), teacher.bfloat16()).dtype == torch.float32


def test_features_by_hand() -> None:
    one, other = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 5.0], [2.0, 2.0]])
    assert feature_distance(one, other).tolist() == pytest.approx([2.0, 0.0], abs=1e-6)
    assert pytest.approx(2000 * 2.0 / 512) == FEATURE_WEIGHT * 2.0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="logits"):
        soft_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="temperature"):
        soft_cross_entropy(torch.zeros(2, 3), torch.zeros(2, 3), 0.0)
    with pytest.raises(ValueError, match="features"):
        feature_distance(torch.zeros(2, 3), torch.zeros(2, 4))
