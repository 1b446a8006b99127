"""The objective's forms against their definitions, and what their gradients do at the ends."""

from __future__ import annotations

import pytest
import torch

from cg_augment.method.objectives import Objective, confidence
from repro_shared.runtime.errors import UserError


def both(labels: torch.Tensor, teacher: torch.Tensor, student: torch.Tensor) -> tuple:  # type: ignore[type-arg]
    return confidence(teacher, labels), confidence(student, labels)


def test_forms_are_their_formulas() -> None:
    g = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(6, 4, generator=g, dtype=torch.float64) for _ in range(2))
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    t, f = (logits.softmax(1)[range(6), labels] for logits in (teacher, student))
    given = both(labels, teacher, student)
    for objective, expected in (
        (Objective("pow", 2), t**2 + (1 - f) ** 2),
        (Objective("pow", 0.5), t**0.5 + (1 - f) ** 0.5),
        (Objective("pow", 3, "teacher"), t**3),
        (Objective("pow", 3, "student"), (1 - f) ** 3),
        (Objective("log"), t.log() + (1 - f).log()),
        (Objective("log", parts="teacher"), t.log()),
        (Objective("log", parts="student"), (1 - f).log()),
        (Objective("difference"), t - f),
        (Objective("difference", parts="student"), -f),
    ):
        assert torch.allclose(objective(*given), expected, rtol=1e-12)


def test_where_the_student_is_sure_only_the_logarithm_has_a_gradient() -> None:
    labels = torch.tensor([1])
    slopes = {}
    for form in ("pow", "log", "difference"):
        student = torch.tensor([[-25.0, 25.0]], requires_grad=True)
        value = Objective(form, parts="student")(None, confidence(student, labels))  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(value.sum(), student)
        assert gradient.isfinite().all()
        slopes[form] = float(gradient.abs().max())
    assert slopes["log"] == pytest.approx(1)
    assert slopes["pow"] < 1e-30
    assert slopes["difference"] < 1e-20
    assert [Objective(form).vanishes for form in slopes] == [True, False, True]  # type: ignore[arg-type]


def test_confidences_keep_their_digits_and_refuse_what_cannot_be() -> None:
    logits = torch.tensor([[0.0, 60.0], [200.0, -200.0]])
    sure = confidence(logits, torch.tensor([1, 0]))
    assert sure.label.tolist() == pytest.approx([0, 0])
    assert sure.others.tolist() == pytest.approx([-60, -400])
    for logits, labels, said in (
        (torch.zeros(1, 1), [0], "two classes are needed"),
        (torch.zeros(2, 3), [0, 3], "labels reach from 0 to 3, but the classifier has 3 classes"),
        (torch.zeros(1, 3), [-1], "labels reach from -1"),
    ):
        with pytest.raises(UserError, match=said):
            confidence(logits, torch.tensor(labels))
    for wrong in ({"form": "power"}, {"gamma": 0.0}, {"gamma": float("nan")}, {"parts": "all"}):
        with pytest.raises(UserError, match="unknown"):
            Objective(**wrong)  # type: ignore[arg-type]
