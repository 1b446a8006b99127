"""What holds of every rival's equation: derivative, zero at equality, symmetries, precision."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seg_kd.method.losses import matched, unit_vectors
from seg_kd.rivals.attention import attention_transfer
from seg_kd.rivals.boundary import body_distillation, class_edges, edge_distillation
from seg_kd.rivals.cirkd import pixel_to_pixel, to_memory
from seg_kd.rivals.cwd import channel_wise
from seg_kd.rivals.dist import correlations
from seg_kd.rivals.generation import generation, omni_contrast
from seg_kd.rivals.ifvd import class_variation
from seg_kd.rivals.skd import pair_wise

LABELS = torch.tensor([[[0, 0, 1, 1], [0, 2, 255, 1], [0, 2, 2, 255], [0, 0, 2, 1]],
                       [[1, 1, 1, 255], [1, 0, 0, 1], [1, 2, 0, 1], [1, 1, 1, 1]]])  # fmt: skip


def make(*shape: int, seed: int = 0, scale: float = 1.0, device: str = "cpu") -> Tensor:
    """Normal float64 values that depend on the seed alone."""
    values = np.random.default_rng(seed).normal(scale=scale, size=shape)
    return torch.tensor(values, device=device)


def wave(*shape: int, frequency: float) -> Tensor:
    """Values of golden tests: no random generator that could change."""
    return torch.sin(frequency * torch.arange(math.prod(shape), dtype=torch.float64)).view(shape)


def labels(student: Tensor) -> Tensor:
    return LABELS.to(student.device)


def edges(student: Tensor) -> Tensor:
    return class_edges(labels(student), (4, 4), classes=student.shape[1], window=3)


def remembered(student: Tensor, teacher: Tensor) -> Tensor:
    """`to_memory` of all labelled pixels, with ten remembered vectors, of which two are unused."""
    channels = student.shape[1]
    memory = unit_vectors(wave(1, channels, 2, 5, frequency=0.7))[0].flatten(1).T.contiguous()
    memory = memory.to(student.device)
    student, teacher = matched("feature", student, teacher)
    used = torch.arange(10, device=student.device) < 8
    memory = memory.to(student.dtype) * used[:, None]
    own, other = (unit_vectors(f).permute(0, 2, 3, 1).flatten(0, 2) for f in (student, teacher))
    valid = labels(student).flatten() < 3
    return to_memory(own, other, memory, valid=valid, used=used)


Loss = Callable[[Tensor, Tensor], Tensor]
# Of maps (2, 4, 4, 4); four channels and sixteen places, pooled four.
FEATURES: dict[str, Loss] = {
    "pair-wise, by places": pair_wise,
    "pair-wise, by channels": lambda s, t: pair_wise(s, t, pool=1),
    "class variation": lambda s, t: class_variation(s, t, labels(s), classes=3),
    "attention": attention_transfer,
    "pixel to pixel": pixel_to_pixel,
    "memory": remembered,
    "generation": generation,
}
LOGITS: dict[str, Loss] = {
    "channel-wise": channel_wise,
    "inter-class": lambda s, t: correlations(s, t)[0],
    "intra-class": lambda s, t: correlations(s, t)[1],
    "edge": lambda s, t: edge_distillation(s, t, edges(s)),
    "body": lambda s, t: body_distillation(s, t, edges(s), labels(s)),
}
CONTRAST: dict[str, Loss] = {
    "contrast": lambda s, t: omni_contrast(s, t, groups=2, patch=2, pool=2, temperature=0.5)
}
EVERY = {**FEATURES, **LOGITS, **CONTRAST}
every = pytest.mark.parametrize("name", EVERY)


@every
def test_the_gradient_is_the_derivative(name: str, device: str) -> None:
    student = make(2, 4, 4, 4, seed=1, device=device).requires_grad_()
    teacher = make(2, 4, 4, 4, seed=2, device=device)
    assert torch.autograd.gradcheck(lambda s: EVERY[name](s, teacher), student)


@settings(derandomize=True, max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), name=st.sampled_from([*FEATURES, *LOGITS]))
def test_equal_maps_cost_nothing_and_others_do(seed: int, name: str) -> None:
    student = make(2, 4, 4, 4, seed=seed).requires_grad_()
    equal = EVERY[name](student, student)
    assert equal.abs() < 1e-7
    (slope,) = torch.autograd.grad(equal, student)
    assert slope.abs().max() < 1e-7
    assert EVERY[name](student, make(2, 4, 4, 4, seed=seed + 1)) > 1e-6


@settings(derandomize=True, max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), name=st.sampled_from([*EVERY]))
def test_the_order_of_images_does_not_matter(seed: int, name: str) -> None:
    student, teacher = make(2, 4, 4, 4, seed=seed), make(2, 4, 4, 4, seed=seed + 1)
    expected = EVERY[name](student, teacher)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "LABELS", LABELS.flip(0))
        found = EVERY[name](student.flip(0), teacher.flip(0))
    torch.testing.assert_close(found, expected)


@settings(derandomize=True, max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    name=st.sampled_from(["pair-wise, by places", "pair-wise, by channels", "class variation",
                          "attention", "pixel to pixel", "memory"]),
)  # fmt: skip
def test_relations_do_not_see_the_scale(seed: int, name: str) -> None:
    student, teacher = make(2, 4, 4, 4, seed=seed), make(2, 4, 4, 4, seed=seed + 1)
    expected = EVERY[name](student, teacher)
    torch.testing.assert_close(EVERY[name](3 * student, 7 * teacher), expected)


@settings(derandomize=True, max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    name=st.sampled_from(["pair-wise, by places", "pair-wise, by channels", "class variation",
                          "attention", "pixel to pixel", "generation", "channel-wise",
                          "inter-class", "intra-class"]),
)  # fmt: skip
def test_the_order_of_channels_does_not_matter(seed: int, name: str) -> None:
    student, teacher = make(2, 4, 4, 4, seed=seed), make(2, 4, 4, 4, seed=seed + 1)
    expected = EVERY[name](student, teacher)
    torch.testing.assert_close(EVERY[name](student.flip(1), teacher.flip(1)), expected)


@pytest.mark.parametrize("name", ["class variation", "memory", "edge", "body"])
def test_nothing_labelled_gives_zero_and_zero_gradient(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "LABELS", torch.full_like(LABELS, 255))
    student = make(2, 4, 4, 4, seed=1).requires_grad_()
    loss = EVERY[name](student, make(2, 4, 4, 4, seed=2))
    assert loss.item() == 0.0
    assert not torch.autograd.grad(loss, student)[0].any()


@pytest.mark.parametrize("name", ["class variation", "memory", "edge", "body"])
def test_one_class_gives_a_finite_loss(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "LABELS", torch.full_like(LABELS, 1))
    student = make(2, 4, 4, 4, seed=1).requires_grad_()
    loss = EVERY[name](student, make(2, 4, 4, 4, seed=2))
    assert torch.isfinite(loss)
    assert torch.isfinite(torch.autograd.grad(loss, student)[0]).all()
    if name == "edge":  # one class has no boundary
        assert loss.item() == 0.0


@pytest.mark.parametrize("name", ["class variation", "memory", "body"])
def test_unlabelled_positions_do_not_matter(name: str) -> None:
    student, teacher = make(2, 4, 4, 4, seed=1), make(2, 4, 4, 4, seed=2)
    noise = 5 * (LABELS == 255)[:, None] * make(2, 4, 4, 4, seed=3)
    found = EVERY[name](student + noise, teacher + noise)
    torch.testing.assert_close(found, EVERY[name](student, teacher))


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_large_and_dead_maps_stay_finite(name: str, dtype: torch.dtype, device: str) -> None:
    # Correlation as published divides by a length plus 1e-8: dead scores are steep in float16.
    scales = (1e3,) if dtype == torch.float16 and "-class" in name else (0.0, 1e3)
    for scale in scales:
        student = make(2, 4, 4, 4, seed=1, scale=scale, device=device).to(dtype).requires_grad_()
        teacher = make(2, 4, 4, 4, seed=2, scale=1e3, device=device).to(dtype)
        loss = EVERY[name](student, teacher)
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert torch.isfinite(torch.autograd.grad(loss, student)[0]).all()


@every
def test_under_autocast_it_is_what_it_is(name: str, device: str) -> None:
    student = make(2, 4, 4, 4, seed=1, device=device).float().requires_grad_()
    teacher = make(2, 4, 4, 4, seed=2, device=device).float()
    expected = EVERY[name](student, teacher)
    with torch.autocast(device, dtype=torch.bfloat16):
        found = EVERY[name](student, teacher)
    assert found.dtype == torch.float32
    products = name in ("pixel to pixel", "memory")  # whose precision is the products'
    torch.testing.assert_close(found, expected, rtol=0.1 if products else 0, atol=0)
    slopes = [torch.autograd.grad(loss, student)[0] for loss in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=0.2, atol=2e-2 if products else 1e-7)


@every
def test_the_teacher_is_resized_and_gets_no_gradient(name: str) -> None:
    student, teacher = make(2, 4, 4, 4), make(2, 4, 8, 6, seed=1).requires_grad_()
    student.requires_grad_()
    small = torch.nn.functional.interpolate(teacher, (4, 4), mode="bilinear", align_corners=False)
    loss = EVERY[name](student, teacher)
    assert torch.equal(loss, EVERY[name](student, small))
    loss.backward()
    assert teacher.grad is None
    assert student.grad is not None


@every
def test_shapes_that_do_not_fit_are_named(name: str) -> None:
    with pytest.raises(ValueError, match="must agree in batch"):
        EVERY[name](make(2, 4, 4, 4), make(3, 4, 4, 4))
    same = name in ("generation", "memory", *LOGITS, *CONTRAST)
    if same:
        with pytest.raises(ValueError, match="must agree in batch and channels"):
            EVERY[name](make(2, 4, 4, 4), make(2, 5, 4, 4))
    else:
        assert torch.isfinite(EVERY[name](make(2, 4, 4, 4), make(2, 5, 4, 4)))


@pytest.mark.parametrize("name", ["channel-wise", "inter-class", "edge", "pixel to pixel"])
@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_above_zero_is_named(name: str, temperature: float) -> None:
    student = make(2, 4, 4, 4)
    functions: dict[str, Callable[[], Tensor]] = {
        "channel-wise": lambda: channel_wise(student, student, temperature=temperature),
        "inter-class": lambda: correlations(student, student, tau=temperature)[0],
        "edge": lambda: edge_distillation(student, student, student, temperature=temperature),
        "pixel to pixel": lambda: pixel_to_pixel(student, student, temperature=temperature),
    }
    with pytest.raises(ValueError, match="temperature must be above 0"):
        functions[name]()


def test_golden_values() -> None:
    student, teacher = wave(2, 4, 4, 4, frequency=1.7), wave(2, 4, 4, 4, frequency=0.9)
    found = {name: EVERY[name](student, teacher).item() for name in EVERY}
    assert found == pytest.approx(GOLDEN, rel=1e-9)


GOLDEN = {
    "pair-wise, by places": 0.1114797063948,
    "pair-wise, by channels": 1.012691866296,
    "class variation": 0.7598988973474,
    "attention": 0.003902808722979,
    "pixel to pixel": 2.201809212918,
    "memory": 1.997336700534,
    "generation": 62.88340660549,
    "channel-wise": 0.4858047328161,
    "inter-class": 0.9796144364513,
    "intra-class": 0.9808227896647,
    "edge": 2.329699702888,
    "body": 0.1784366383224,
    "contrast": 3.794567911962,
}


def test_the_products_of_channels_are_those_of_places() -> None:
    """Both ways to the pair-wise loss, at sizes where each is taken."""
    for channels, side in itertools.product((2, 40), (2, 8)):
        student, teacher = make(2, channels, side, side), make(2, channels + 1, side, side, seed=1)
        own, other = (
            unit_vectors(torch.nn.functional.max_pool2d(f, 2, ceil_mode=True)).flatten(2)
            for f in (student, teacher)
        )
        expected = (own.mT @ own - other.mT @ other).square().mean()
        torch.testing.assert_close(pair_wise(student, teacher), expected)
