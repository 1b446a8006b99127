"""Losses: golden values, slow references in float64, gradients, and identities between them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clip_distill.method import losses


def drawn(seed: int, n: int = 5, d: int = 4, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(n, d, generator=g, dtype=dtype) * 3 for _ in range(3)]


def plain(row: Tensor) -> list[float]:
    length = math.sqrt(sum(float(x) ** 2 for x in row))
    return [float(x) / length for x in row]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def slow_nearest(sim: list[list[float]]) -> float:
    total = 0.0
    for i, row in enumerate(sim):
        top = max(row)
        total -= row[i] - top - math.log(sum(math.exp(x - top) for x in row))
    return total / len(sim)


def transposed(rows: list[list[float]]) -> list[list[float]]:
    return [list(column) for column in zip(*rows, strict=True)]


def slow_kl(ours: list[list[float]], theirs: list[list[float]]) -> float:
    def soft(row: list[float]) -> list[float]:
        top = max(row)
        parts = [math.exp(x - top) for x in row]
        return [x / sum(parts) for x in parts]

    total = 0.0
    for a, b in zip(ours, theirs, strict=True):
        total += sum(q * math.log(q / p) for p, q in zip(soft(a), soft(b), strict=True))
    return total / len(ours)


def test_golden_values() -> None:
    student = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    teacher = torch.tensor([[1.0, 0.0], [5.0, 0.0]])  # one equal, one orthogonal
    assert losses.l2(student, teacher).item() == pytest.approx(math.sqrt(2) / 2)
    assert losses.squared_l2(student, teacher).item() == pytest.approx(1.0)
    assert losses.cosine(student, teacher).item() == pytest.approx(0.5)
    assert losses.mse(student, teacher).item() == pytest.approx(0.5)
    assert losses.fd(student, teacher).item() == pytest.approx(1000.0)
    # Rows (1, 0) and (0, 1) against (1, 0), (1, 0): every softmax is a half.
    assert losses.image_to_image(student, teacher, 0.5).item() == pytest.approx(math.log(2))
    eye = torch.eye(2)
    expected = math.log(1 + math.exp(-1 / 0.5))
    assert losses.vision_language(eye, eye, 0.5).item() == pytest.approx(expected)


@pytest.mark.parametrize("tau", [1.0, 0.07, 0.01])
def test_equal_to_slow_references(tau: float) -> None:
    student, teacher, text = drawn(1)
    s, t, w = ([plain(row) for row in each] for each in (student, teacher, text))
    labels = torch.tensor([0, 2, 1, 4, 0])

    def sim(left: list[list[float]], right: list[list[float]]) -> list[list[float]]:
        return [[dot(a, b) / tau for b in right] for a in left]

    apart = [math.dist(a, b) for a, b in zip(s, t, strict=True)]
    st_, sw, tw = sim(s, t), sim(s, w), sim(t, w)
    rows = [[dot(a, b) / tau for b in transposed(tw)] for a in transposed(sw)]
    by_class = [[row[int(y)]] + [x for j, x in enumerate(row) if j != y]
                for row, y in zip(sw, labels, strict=True)]  # fmt: skip
    expected = {
        losses.l2(student, teacher): sum(apart) / 5,
        losses.squared_l2(student, teacher): sum(x * x for x in apart) / 5,
        losses.image_to_image(student, teacher, tau): slow_nearest(st_),
        losses.vision_language(student, text, tau):
            (slow_nearest(sw) + slow_nearest(transposed(sw))) / 2,
        losses.teacher_logits(student, teacher, text, tau): slow_kl(sw, tw),
        losses.affinity(student, teacher, text, tau):
            (slow_kl(sw, tw) + slow_kl(transposed(sw), transposed(tw))) / 2,
        losses.logit_rows(student, teacher, text, tau):
            (slow_nearest(rows) + slow_nearest(transposed(rows))) / 2,
        losses.class_cross_entropy(student, text, labels, tau):
            sum(slow_nearest([row]) for row in by_class) / 5,
    }  # fmt: skip
    for found, value in expected.items():
        assert found.item() == pytest.approx(value, rel=1e-9)


def test_multi_positive_by_hand_and_equal_to_identity_where_texts_differ() -> None:
    student, _, text = drawn(2, n=3)
    text[1] = text[0]
    ids = torch.tensor([7, 7, 3])
    sw = [[dot(plain(a), plain(b)) / 0.5 for b in text] for a in student]

    def log_soft(row: list[float]) -> list[float]:
        return [x - math.log(sum(math.exp(y) for y in row)) for x in row]

    def one(rows: list[list[float]]) -> float:
        each = [log_soft(row) for row in rows]
        return -((each[0][0] + each[0][1]) / 2 + (each[1][0] + each[1][1]) / 2 + each[2][2]) / 3

    expected = (one(sw) + one(transposed(sw))) / 2
    assert losses.vision_language(student, text, 0.5, ids).item() == pytest.approx(expected)
    different = losses.vision_language(student, text, 0.5, torch.tensor([0, 1, 2]))
    assert different.item() == pytest.approx(losses.vision_language(student, text, 0.5).item())


def every_loss(s: Tensor, t: Tensor, w: Tensor, tau: float) -> dict[str, Tensor]:
    labels = torch.arange(len(s), device=s.device) % len(w)
    return {
        "l2": losses.l2(s, t),
        "squared l2": losses.squared_l2(s, t),
        "cosine": losses.cosine(s, t),
        "mse": losses.mse(s, t),
        "fd": losses.fd(s, t),
        "image to image": losses.image_to_image(s, t, tau),
        "vision language": losses.vision_language(s, w, tau),
        "multi-positive": losses.vision_language(s, w, tau, labels // 2),
        "class": losses.class_cross_entropy(s, w, labels, tau),
        "teacher logits": losses.teacher_logits(s, t, w, tau),
        "affinity": losses.affinity(s, t, w, tau),
        "logit rows": losses.logit_rows(s, t, w, tau),
        "mix": losses.mix(losses.l2(s, t), losses.vision_language(s, w, tau), 0.3),
    }


@pytest.mark.parametrize("name", every_loss(*drawn(0), 1.0))
def test_gradients_equal_finite_differences(name: str) -> None:
    student, teacher, text = drawn(3)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: every_loss(s, teacher, text, 0.3)[name], (student,))


def test_only_the_student_learns() -> None:
    student, teacher, text = (each.requires_grad_() for each in drawn(4))
    sum(every_loss(student, teacher, text, 0.1).values()).backward()
    assert student.grad is not None
    assert teacher.grad is None
    assert text.grad is None


@given(seed=st.integers(0, 10_000), n=st.integers(2, 9), d=st.integers(2, 9))
@settings(max_examples=15, deadline=None)
def test_identities(seed: int, n: int, d: int) -> None:
    student, teacher, text = drawn(seed, n, d)
    cos = torch.nn.functional.cosine_similarity(student, teacher)
    assert losses.l2(student, teacher).item() == pytest.approx((2 - 2 * cos).sqrt().mean().item())
    assert losses.squared_l2(student, teacher).item() == pytest.approx((2 - 2 * cos).mean().item())
    assert losses.mse(student, teacher).item() == pytest.approx((2 - 2 * cos).mean().item() / d)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    for name, value in every_loss(student, teacher, text, 0.1).items():
        if name in ("class", "multi-positive"):
            continue
        again = every_loss(student[order] * 7, teacher[order] / 3, text[order], 0.1)[name]
        assert again.item() == pytest.approx(value.item(), rel=1e-9), name
        assert value.item() >= -1e-12


def test_the_least_value_is_at_the_teacher() -> None:
    _, teacher, text = drawn(5)
    for name in ("l2", "squared l2", "cosine", "mse", "fd", "teacher logits", "affinity"):
        assert every_loss(teacher, teacher, text, 0.1)[name].item() == pytest.approx(0, abs=1e-12)
    student = teacher.clone().requires_grad_()
    losses.l2(student, teacher).backward()  # a norm has no slope at 0: none is taken, not NaN
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_each_sample_pulls_alike_in_l2_and_not_in_its_square() -> None:
    _, teacher, _ = drawn(6)
    noise = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    far = teacher + torch.tensor([0.01, 0.1, 1.0, 3.0, 10.0])[:, None] * noise
    unit = losses.unit(far).requires_grad_()
    apart = (unit - losses.unit(teacher)).detach().norm(dim=1)
    along = (1 - apart.square() / 4).sqrt()  # what of the pull lies on the sphere
    for loss, pull in ((losses.l2, along / 5), (losses.squared_l2, 2 * apart * along / 5)):
        (gradient,) = torch.autograd.grad(loss(unit, teacher), unit)
        assert torch.allclose(gradient.norm(dim=1), pull)


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_at_the_lowest_temperature(autocast: bool) -> None:
    wide = drawn(7, n=64, d=32, dtype=torch.float32)
    narrow = [each.bfloat16() for each in wide]
    narrow[0].requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = every_loss(*narrow, 0.01)
    exact = every_loss(*(each.detach().double() for each in narrow), 0.01)
    for name, value in found.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(exact[name].item(), rel=2e-4, abs=1e-5), name
        (gradient,) = torch.autograd.grad(value, narrow[0], retain_graph=True)
        assert torch.isfinite(gradient).all(), name


def test_alpha() -> None:
    one, two = torch.tensor(3.0), torch.tensor(5.0)
    values = [losses.mix(one, two, alpha).item() for alpha in (0.0, 0.25, 1.0)]
    assert values == [3.0, 3.5, 5.0]
    assert all(a < b for a, b in pairwise(values))
    with pytest.raises(ValueError, match="alpha must be from 0 to 1"):
        losses.mix(one, two, 1.5)


@pytest.mark.parametrize("tau", [0.0, -0.1, math.inf, math.nan])
def test_impossible_temperatures(tau: float) -> None:
    student, teacher, _ = drawn(8)
    with pytest.raises(ValueError, match="temperature must be positive"):
        losses.image_to_image(student, teacher, tau)


def test_a_batch_of_one_has_nothing_to_contrast() -> None:
    student, teacher, text = (each[:1] for each in drawn(9))
    for call in (
        lambda: losses.image_to_image(student, teacher, 0.1),
        lambda: losses.vision_language(student, text, 0.1),
        lambda: losses.affinity(student, teacher, text, 0.1),
        lambda: losses.logit_rows(student, teacher, text, 0.1),
    ):
        with pytest.raises(ValueError, match="a batch of 1"):
            call()
    assert losses.l2(student, teacher) > 0


def test_shapes_that_differ() -> None:
    student, teacher, _ = drawn(10)
    with pytest.raises(ValueError, match=r"student \(5, 4\), teacher \(5, 3\)"):
        losses.l2(student, teacher[:, :3])
    with pytest.raises(ValueError, match="5 and 4"):
        losses.image_to_image(student, teacher[:4], 0.1)
