"""Images that the teacher finds hard: within the radius, in 256 levels, and really harder."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cg_augment.rivals.adversarial import Adversarial, adversarial
from repro_shared.runtime.errors import UserError


def parts() -> tuple[Tensor, Tensor, nn.Module]:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3))
    return torch.rand(6, 3, 8, 8), torch.arange(6) % 3, teacher.requires_grad_(False)


def test_they_stay_near_and_are_harder() -> None:
    images, labels, teacher = parts()
    how = Adversarial(radius=8 / 255, steps=2)
    found = adversarial(images, labels, teacher, how)
    assert float((found - images).abs().max()) <= how.radius + 0.5 / 255 + 1e-6
    assert torch.equal((found * 255).round() / 255, found)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    before, after = (
        F.cross_entropy(teacher(each), labels, reduction="none") for each in (images, found)
    )
    assert bool((after > before).all())


def test_one_step_is_the_sign_of_the_gradient() -> None:
    images, labels, teacher = parts()
    images = images * 0.5 + 0.25  # nothing is clipped
    found = adversarial(images, labels, teacher, Adversarial(0.1, 1))
    at = images.clone().requires_grad_(True)
    F.cross_entropy(teacher(at), labels).backward()
    assert at.grad is not None
    assert torch.allclose(found, images + 0.1 * at.grad.sign(), atol=0.5 / 255 + 1e-6)


def test_an_image_does_not_depend_on_its_batch() -> None:
    images, labels, teacher = parts()
    whole = adversarial(images, labels, teacher, Adversarial())
    alone = adversarial(images[2:3], labels[2:3], teacher, Adversarial())
    assert torch.equal(whole[2:3], alone)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UserError, match="--radius must be"):
        Adversarial(radius=0)
    with pytest.raises(UserError, match="--share must be"):
        Adversarial(share=1.5)
