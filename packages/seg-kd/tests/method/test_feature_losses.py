"""Feature distillation and its projector against hand-worked values and slow references."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from seg_kd.method.losses import FeatureProjector, feature_distillation

NORMALISATIONS = ("none", "channel-std", "pixel-l2", "layernorm")
DISTANCES = ("mse", "smooth-l1", "cosine")


def make(*shape: int, seed: int = 0, scale: float = 2.0, device: str = "cpu") -> Tensor:
    """Normal float64 values that depend on the seed alone."""
    values = np.random.default_rng(seed).normal(scale=scale, size=shape)
    return torch.tensor(values, device=device)


def gradient(loss: Tensor, parameter: Tensor) -> Tensor:
    return torch.autograd.grad(loss, parameter)[0]


def slow_normalised(feature: np.ndarray, normalise: str) -> np.ndarray:
    result = feature.copy()
    images, channels, height, width = feature.shape
    if normalise == "channel-std":
        for c in range(channels):
            values = feature[:, c]
            result[:, c] = (values - values.mean()) / np.sqrt(values.var() + 1e-5)
    for b, y, x in itertools.product(range(images), range(height), range(width)):
        vector = feature[b, :, y, x]
        if normalise == "pixel-l2":
            result[b, :, y, x] = vector / np.sqrt((vector**2).sum())
        if normalise == "layernorm":
            result[b, :, y, x] = (vector - vector.mean()) / np.sqrt(vector.var() + 1e-5)
    return result


def slow_distance(student: np.ndarray, teacher: np.ndarray, distance: str) -> float:
    if distance == "mse":
        return float(((student - teacher) ** 2).mean())
    if distance == "smooth-l1":
        gap = np.abs(student - teacher)
        return float(np.where(gap < 1, gap**2 / 2, gap - 0.5).mean())
    norms = np.linalg.norm(student, axis=1) * np.linalg.norm(teacher, axis=1)
    return float((1 - (student * teacher).sum(1) / norms).mean())


@pytest.mark.parametrize("normalise", NORMALISATIONS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_feature_against_slow_reference(normalise, distance, device):
    student, teacher = make(2, 5, 3, 4, seed=1), make(2, 5, 3, 4, seed=2)
    got = feature_distillation(
        student.to(device), teacher.to(device), normalise=normalise, distance=distance
    )
    expected = slow_distance(
        slow_normalised(student.numpy(), normalise),
        slow_normalised(teacher.numpy(), normalise),
        distance,
    )
    assert got.item() == pytest.approx(expected, rel=1e-10)
    equal = feature_distillation(teacher, teacher, normalise=normalise, distance=distance)
    assert equal.abs() < 1e-12


@pytest.mark.parametrize("normalise", NORMALISATIONS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_the_sum_over_an_image_is_the_mean_times_what_it_runs_over(normalise, distance):
    student, teacher = make(2, 5, 3, 4, seed=1).requires_grad_(), make(2, 5, 3, 4, seed=2)
    options = {"normalise": normalise, "distance": distance}
    mean = feature_distillation(student, teacher, **options)
    total = feature_distillation(student, teacher, **options, reduction="batch_sum")
    elements = 3 * 4 if distance == "cosine" else 5 * 3 * 4
    torch.testing.assert_close(total, elements * mean)
    torch.testing.assert_close(gradient(total, student), elements * gradient(mean, student))


def test_feature_reductions_are_those_of_three_code_bases():
    student, teacher = make(2, 5, 3, 4, seed=1), make(2, 5, 3, 4, seed=2)
    cirkd = ((student - teacher) ** 2).mean()  # losses/fitnet.py
    mgd = torch.nn.MSELoss(reduction="sum")(student, teacher) / 2  # losses/mgd.py: over N
    torch.testing.assert_close(feature_distillation(student, teacher), cirkd)
    torch.testing.assert_close(feature_distillation(student, teacher, reduction="batch_sum"), mgd)
    torch.testing.assert_close(mgd, cirkd * 5 * 3 * 4)
    # mmrazor's L2Loss: each sample, as one vector, to unit length; the sum over N.
    own, other = (f / f.flatten(1).norm(dim=1).view(2, 1, 1, 1) for f in (student, teacher))
    mmrazor = ((own - other) ** 2).sum() / 2
    torch.testing.assert_close(feature_distillation(own, other, reduction="batch_sum"), mmrazor)
    with pytest.raises(ValueError, match="element_mean, batch_sum; got 'sum'"):
        feature_distillation(student, teacher, reduction="sum")


def test_feature_hand_worked():
    student = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    teacher = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
    assert feature_distillation(student, teacher).item() == pytest.approx(6.5)  # (9 + 4) / 2
    assert feature_distillation(student, teacher, distance="cosine").item() == pytest.approx(0.2)
    unit = feature_distillation(student, teacher, normalise="pixel-l2").item()
    assert unit == pytest.approx(0.2)  # ((3/5)^2 + (1/5)^2) / 2


@pytest.mark.parametrize("normalise", NORMALISATIONS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_feature_gradient_is_the_derivative(normalise, distance, device):
    student = make(2, 3, 2, 3, seed=4, device=device).requires_grad_()
    teacher = make(2, 3, 3, 2, seed=5, device=device)
    assert torch.autograd.gradcheck(
        lambda f: feature_distillation(f, teacher, normalise=normalise, distance=distance), student
    )


@pytest.mark.parametrize(
    ("normalise", "scaled_by"),
    [("channel-std", (1, 4, 1, 1)), ("pixel-l2", (2, 1, 3, 3)), ("layernorm", (2, 1, 3, 3))],
)
def test_normalisation_removes_the_scale(normalise, scaled_by):
    student, teacher = make(2, 4, 3, 3, scale=10), make(2, 4, 3, 3, seed=1, scale=10)
    factor = make(*scaled_by, seed=2).abs() + 1
    torch.testing.assert_close(
        feature_distillation(factor * student, teacher, normalise=normalise),
        feature_distillation(student, teacher, normalise=normalise),
        rtol=1e-5,
        atol=0,
    )


@pytest.mark.parametrize("normalise", NORMALISATIONS)
@pytest.mark.parametrize("distance", DISTANCES)
def test_dead_features_have_small_gradients(normalise, distance):
    """Behind a ReLU whole vectors and channels are zero: their slope stays bounded (about 1000 for
    one normalisation, the product of two where cosine follows another)."""
    student = torch.zeros(2, 4, 3, 3, requires_grad=True)
    teacher = make(2, 4, 3, 3).float()
    loss = feature_distillation(student, teacher, normalise=normalise, distance=distance)
    assert torch.isfinite(loss)
    slopes = gradient(loss, student) * student.numel()
    assert torch.isfinite(slopes).all()
    twice = distance == "cosine" and normalise in ("channel-std", "layernorm")
    assert slopes.abs().max() < (1e7 if twice else 1e4)


def test_projector():
    projector = FeatureProjector(3, 5)
    assert [tuple(p.shape) for p in projector.parameters()] == [(5, 3, 1, 1)]
    feature = make(2, 3, 4, 4).float()
    expected = torch.einsum("oc,bchw->bohw", projector.conv.weight[..., 0, 0], feature)
    torch.testing.assert_close(projector(feature), expected)

    normed = FeatureProjector(3, 5, batch_norm=True)(feature)
    torch.testing.assert_close(normed.mean((0, 2, 3)), torch.zeros(5), atol=1e-5, rtol=0)


def test_channel_std_of_a_single_value_is_refused():
    with pytest.raises(ValueError, match="more than one value per channel"):
        feature_distillation(make(1, 3, 1, 1), make(1, 3, 1, 1), normalise="channel-std")
