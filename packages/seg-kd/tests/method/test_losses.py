"""The losses against hand-worked values, slow references, other code bases and their own limits."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from seg_kd.method.losses import (
    FeatureProjector,
    feature_distillation,
    logit_distillation,
    resize_bilinear,
    valid_mask,
)

REDUCTIONS = ("pixel_mean", "element_mean", "batch_sum")
NORMALISATIONS = ("none", "channel-std", "pixel-l2", "layernorm")
DISTANCES = ("mse", "smooth-l1", "cosine")


def make(*shape: int, seed: int = 0, scale: float = 2.0, device: str = "cpu") -> Tensor:
    """Normal float64 values that depend on the seed alone."""
    values = np.random.default_rng(seed).normal(scale=scale, size=shape)
    return torch.tensor(values, device=device)


def wave(*shape: int, frequency: float) -> Tensor:
    """Values of golden tests: no random generator that could change."""
    return torch.sin(frequency * torch.arange(math.prod(shape), dtype=torch.float64)).view(shape)


def gradient(loss: Tensor, parameter: Tensor) -> Tensor:
    return torch.autograd.grad(loss, parameter)[0]


# --- logit distillation ---------------------------------------------------------------------------


def test_logit_hand_worked_two_by_two_pixels():
    ln3 = math.log(3.0)
    # Class probabilities (3/4, 1/4) or (1/2, 1/2), one pair a pixel:
    teacher = torch.tensor([[[ln3, ln3], [ln3, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])[None]
    student = torch.tensor([[[0.0, ln3], [0.0, ln3]], [[0.0, 0.0], [ln3, 0.0]]])[None]
    by_pixel = [
        0.75 * math.log(1.5) + 0.25 * math.log(0.5),
        0.0,
        0.5 * ln3,
        0.5 * math.log(4.0 / 3.0),
    ]
    torch.testing.assert_close(
        logit_distillation(student, teacher), torch.tensor(sum(by_pixel) / 4)
    )
    valid = torch.tensor([[[True, True], [False, True]]])
    expected = (by_pixel[0] + by_pixel[3]) / 3
    torch.testing.assert_close(
        logit_distillation(student, teacher, valid=valid), torch.tensor(expected)
    )


def slow_logit(student, teacher, temperature, valid, reduction):
    """Loops over positions and classes in Python floats."""
    images, classes, height, width = student.shape
    total, positions = 0.0, 0
    for b, y, x in itertools.product(range(images), range(height), range(width)):
        if not valid[b, y, x]:
            continue
        p_student = np.exp(student[b, :, y, x] / temperature)
        p_teacher = np.exp(teacher[b, :, y, x] / temperature)
        p_student, p_teacher = p_student / p_student.sum(), p_teacher / p_teacher.sum()
        total += sum(p_teacher[c] * np.log(p_teacher[c] / p_student[c]) for c in range(classes))
        positions += 1
    return {
        "pixel_mean": temperature**2 * total / positions,
        "element_mean": total / (positions * classes),
        "batch_sum": temperature**2 * total / images,
    }[reduction]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("masked", [False, True])
def test_logit_against_slow_reference(reduction, temperature, masked, device):
    student, teacher = make(2, 5, 3, 4, seed=1), make(2, 5, 3, 4, seed=2)
    valid = make(2, 3, 4, seed=3) > 0 if masked else torch.ones(2, 3, 4, dtype=torch.bool)
    got = logit_distillation(
        student.to(device),
        teacher.to(device),
        temperature=temperature,
        valid=valid.to(device) if masked else None,
        reduction=reduction,
    )
    expected = slow_logit(student.numpy(), teacher.numpy(), temperature, valid, reduction)
    assert got.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_reductions_are_those_of_three_code_bases(temperature):
    student, teacher = make(2, 5, 3, 4, seed=1), make(2, 5, 3, 4, seed=2)
    log_student = (student / temperature).log_softmax(1)
    p_teacher = (teacher / temperature).softmax(1)

    flat = (tensor.permute(0, 2, 3, 1).reshape(-1, 5) for tensor in (log_student, p_teacher))
    cirkd = F.kl_div(*flat, reduction="batchmean") * temperature**2
    with pytest.warns(UserWarning, match="batchmean"):
        torch_distiller = nn.KLDivLoss()(log_student, p_teacher)
    mmrazor = F.kl_div(log_student, p_teacher, reduction="batchmean") * temperature**2

    for reduction, expected in zip(REDUCTIONS, (cirkd, torch_distiller, mmrazor), strict=True):
        got = logit_distillation(student, teacher, temperature=temperature, reduction=reduction)
        torch.testing.assert_close(got, expected)
    torch.testing.assert_close(torch_distiller, cirkd / (5 * temperature**2))
    torch.testing.assert_close(mmrazor, cirkd * 12)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("masked", [False, True])
def test_logit_gradient_is_the_derivative(reduction, masked, device):
    student = make(2, 3, 2, 3, seed=4, device=device).requires_grad_()
    teacher = make(2, 3, 4, 5, seed=5, device=device)
    valid = make(2, 2, 3, seed=6, device=device) > 0 if masked else None
    assert torch.autograd.gradcheck(
        lambda z: logit_distillation(z, teacher, temperature=2.0, valid=valid, reduction=reduction),
        student,
    )


@settings(derandomize=True, max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), temperature=st.floats(0.25, 8.0))
def test_logit_properties(seed, temperature):
    student, teacher = make(2, 4, 2, 3, seed=seed), make(2, 4, 2, 3, seed=seed + 1)
    student.requires_grad_()
    loss = logit_distillation(student, teacher, temperature=temperature)
    assert loss > 0

    # Zero, with zero gradient, where the two agree.
    equal = logit_distillation(student, student, temperature=temperature)
    assert equal.abs() < 1e-12
    assert gradient(equal, student).abs().max() < 1e-12

    # Softmax does not see a constant added to all logits of a pixel.
    shift = make(2, 1, 2, 3, seed=seed + 2, scale=50.0)
    shifted = logit_distillation(student + shift, teacher - 2 * shift, temperature=temperature)
    torch.testing.assert_close(shifted, loss)


def test_temperature_squared_keeps_the_gradients_scale():
    student, teacher = make(2, 5, 3, 4, seed=1).requires_grad_(), make(2, 5, 3, 4, seed=2)
    gap = (student - teacher).detach()
    limit = (gap - gap.mean(1, keepdim=True)) / (5 * 2 * 3 * 4)
    loss = logit_distillation(student, teacher, temperature=1e5)
    torch.testing.assert_close(gradient(loss, student), limit, rtol=1e-3, atol=1e-7)

    # TorchDistiller's form has no T^2: its gradient dies away like 1 / T^2.
    norms = [
        gradient(
            logit_distillation(student, teacher, temperature=t, reduction="element_mean"), student
        ).norm()
        for t in (1e3, 2e3)
    ]
    assert norms[0] / norms[1] == pytest.approx(4.0, rel=1e-2)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_masked_positions_do_not_matter_at_all(reduction):
    student, teacher = make(2, 4, 3, 3, seed=7), make(2, 4, 3, 3, seed=8)
    valid = make(2, 3, 3, seed=9) > 0
    ignored = ~valid[:, None]
    results = []
    for noise in (0.0, 1e4):
        z = (student + noise * ignored * make(2, 4, 3, 3, seed=10)).requires_grad_()
        t = teacher + noise * ignored * make(2, 4, 3, 3, seed=11)
        loss = logit_distillation(z, t, valid=valid, reduction=reduction)
        results.append((loss, gradient(loss, z)))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not results[0][1][ignored.expand_as(student)].any()

    # The mean runs over the valid positions alone.
    kept = [z.permute(0, 2, 3, 1)[valid].T[None, :, None] for z in (student, teacher)]
    if reduction != "batch_sum":
        torch.testing.assert_close(results[0][0], logit_distillation(*kept, reduction=reduction))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nothing_valid_gives_zero_and_zero_gradient(reduction):
    student = make(2, 4, 3, 3).requires_grad_()
    loss = logit_distillation(
        student,
        make(2, 4, 3, 3, seed=1),
        valid=torch.zeros(2, 3, 3, dtype=torch.bool),
        reduction=reduction,
    )
    assert loss.item() == 0.0
    assert torch.equal(gradient(loss, student), torch.zeros_like(student))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_huge_logits_stay_finite(dtype, device):
    student = make(1, 3, 2, 2, seed=1, scale=1e4, device=device).to(dtype).requires_grad_()
    teacher = make(1, 3, 2, 2, seed=2, scale=1e4, device=device).to(dtype)
    loss = logit_distillation(student, teacher, valid=None)
    assert loss.dtype == torch.float32
    assert loss > 1e3
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient(loss, student)).all()


def test_autocast_computes_in_float32(device):
    projector = FeatureProjector(4, 6).to(device)
    feature = make(2, 4, 3, 3, device=device).float()
    teacher = make(2, 6, 6, 6, seed=1, device=device).float()
    with torch.autocast(device, dtype=torch.bfloat16):
        maps = projector(feature)
        assert maps.dtype == torch.bfloat16
        losses = [
            logit_distillation(maps, teacher, temperature=2.0),
            *(feature_distillation(maps, teacher, normalise=n) for n in NORMALISATIONS),
            *(feature_distillation(maps, teacher, distance=d) for d in DISTANCES),
        ]
    expected = [
        logit_distillation(maps.float(), teacher, temperature=2.0),
        *(feature_distillation(maps.float(), teacher, normalise=n) for n in NORMALISATIONS),
        *(feature_distillation(maps.float(), teacher, distance=d) for d in DISTANCES),
    ]
    for loss, reference in zip(losses, expected, strict=True):
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, reference, rtol=0, atol=0)
        loss.backward(retain_graph=True)
    assert torch.isfinite(projector.conv.weight.grad).all()


def test_inputs_are_untouched_and_the_teacher_gets_no_gradient():
    student, teacher = (make(2, 4, 3, 3, seed=s).requires_grad_() for s in (0, 1))
    copies = student.detach().clone(), teacher.detach().clone()
    valid = torch.ones(2, 3, 3, dtype=torch.bool)
    logit_distillation(student, teacher, temperature=2.0, valid=valid).backward()
    for normalise, distance in itertools.product(NORMALISATIONS, DISTANCES):
        feature_distillation(student, teacher, normalise=normalise, distance=distance).backward()
    assert teacher.grad is None
    assert student.grad.any()
    assert torch.equal(student, copies[0])
    assert torch.equal(teacher, copies[1])


@pytest.mark.parametrize("size", [(4, 6), (8, 12), (2, 3), (5, 7)])
def test_the_teacher_is_resized_to_the_students_grid(size):
    student, teacher = make(2, 3, 4, 6).requires_grad_(), make(2, 3, *size, seed=1)
    resized = F.interpolate(teacher, (4, 6), mode="bilinear", align_corners=False)
    for function in (logit_distillation, feature_distillation):
        assert torch.equal(function(student, teacher), function(student, resized))
    constant = teacher.mean((2, 3), keepdim=True)
    got = logit_distillation(student, constant.expand(2, 3, *size))
    torch.testing.assert_close(got, logit_distillation(student, constant.expand(2, 3, 4, 6)))


def test_resize_leaves_equal_sizes_alone():
    maps = make(1, 2, 3, 4)
    assert resize_bilinear(maps, (3, 4)) is maps
    assert resize_bilinear(maps, (6, 8)).shape == (1, 2, 6, 8)


def test_golden_values():
    student, teacher = wave(2, 3, 2, 2, frequency=1.7), wave(2, 3, 4, 4, frequency=0.9)
    valid = torch.tensor([[[True, False], [True, True]], [[False, True], [True, True]]])
    logit = [
        logit_distillation(3 * student, 3 * teacher, temperature=t, valid=v, reduction=r).item()
        for r, t, v in itertools.product(REDUCTIONS, (1.0, 4.0), (None, valid))
    ]
    assert logit == pytest.approx(GOLDEN_LOGIT, rel=1e-10)
    feature = [
        feature_distillation(student, teacher, normalise=n, distance=d).item()
        for n, d in itertools.product(NORMALISATIONS, DISTANCES)
    ]
    assert feature == pytest.approx(GOLDEN_FEATURE, rel=1e-10)


# Reductions x temperatures (1, 4) x (unmasked, masked), and normalisations x distances.
GOLDEN_LOGIT = [
    *(0.4520881041247, 0.5131634453637, 0.4680444570812, 0.5255718547627),
    *(0.1506960347082, 0.1710544817879, 0.009750926189193, 0.01094941364089),
    *(1.808352416499, 1.539490336091, 1.872177828325, 1.576715564288),
]
GOLDEN_FEATURE = [
    *(0.5235949457194, 0.259863597439, 0.9942715177715),
    *(2.070493080461, 0.7892270756672, 1.008245333738),
    *(0.6628476785143, 0.3058486287575, 0.9942715177715),
    *(1.97926844305, 0.7288010016791, 0.9899361094832),
]


# --- validity mask --------------------------------------------------------------------------------


def test_valid_mask_reads_the_pixel_at_the_centre():
    label = torch.zeros(1, 16, 16, dtype=torch.long)
    label[0, 4, 12] = 255  # centre of position (0, 1) at stride 8
    label[0, 8, 8] = 255  # a corner of position (1, 1): not looked at
    expected = torch.tensor([[[True, False], [True, True]]])
    assert torch.equal(valid_mask(label, (2, 2)), expected)
    assert torch.equal(valid_mask(label[:, None], (2, 2)), expected)
    assert torch.equal(valid_mask(label, (16, 16)), label != 255)
    assert torch.equal(valid_mask(label, (2, 2), ignore_index=7), torch.ones(1, 2, 2).bool())


@settings(derandomize=True, max_examples=30, deadline=None)
@given(old=st.tuples(*[st.integers(1, 40)] * 2), new=st.tuples(*[st.integers(1, 40)] * 2))
def test_valid_mask_is_nearest_exact_interpolation(old, new):
    label = torch.tensor(np.random.default_rng(sum(old)).choice([0, 3, 255], size=(2, *old)))
    expected = F.interpolate(label[:, None].double(), new, mode="nearest-exact")[:, 0] != 255
    assert torch.equal(valid_mask(label, new), expected)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((make(3, 2, 2), make(3, 2, 2)), {}, r"must be \(B, C, H, W\).*\(3, 2, 2\)"),
        ((make(1, 3, 2, 2), make(1, 4, 2, 2)), {}, "agree in batch and channels"),
        ((make(1, 3, 2, 2), make(2, 3, 2, 2)), {}, "agree in batch and channels"),
        ((make(1, 3, 0, 2), make(1, 3, 2, 2)), {}, "must not be empty"),
    ],
)
@pytest.mark.parametrize("function", [logit_distillation, feature_distillation])
def test_wrong_shapes_are_named(function, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments, **options)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (logit_distillation, {"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        (logit_distillation, {"temperature": math.nan}, "temperature must be above 0, got nan"),
        (logit_distillation, {"reduction": "mean"}, "pixel_mean, element_mean, batch_sum; got 'm"),
        (logit_distillation, {"valid": torch.ones(1, 2, 3).bool()}, r"bool \(1, 2, 2\)"),
        (logit_distillation, {"valid": torch.ones(1, 2, 2)}, "got torch.float32"),
        (feature_distillation, {"normalise": "l2"}, "normalise must be one of none, channel-std"),
        (feature_distillation, {"distance": "l1"}, "distance must be one of mse, smooth-l1"),
    ],
)
def test_wrong_options_are_named(function, options, message):
    with pytest.raises(ValueError, match=message):
        function(make(1, 3, 2, 2), make(1, 3, 2, 2), **options)


@pytest.mark.parametrize(
    ("label", "size", "message"),
    [
        (torch.zeros(4, 4), (2, 2), "label must be"),
        (torch.zeros(1, 3, 4, 4), (2, 2), "label must be"),
        (torch.zeros(1, 0, 4), (2, 2), "cannot resize"),
        (torch.zeros(1, 4, 4), (0, 2), "cannot resize"),
    ],
)
def test_valid_mask_errors(label, size, message):
    with pytest.raises(ValueError, match=message):
        valid_mask(label, size)
