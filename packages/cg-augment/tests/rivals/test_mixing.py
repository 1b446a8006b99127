"""mixup and CutMix against the equations, and what is drawn for a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cg_augment.rivals.mixing import cut_box, cutmix, mixed, mixup

IMAGES = torch.arange(4 * 3 * 4 * 4, dtype=torch.float32).reshape(4, 3, 4, 4) / 192


def test_mixup_is_the_weighted_sum() -> None:
    partners = torch.tensor([1, 0, 3, 2])
    found = mixup(IMAGES, partners, 0.25)
    assert torch.equal(found[0], 0.25 * IMAGES[0] + 0.75 * IMAGES[1])
    assert torch.equal(mixup(IMAGES, partners, 1.0), IMAGES)


def test_cutmix_takes_the_box_from_the_partner() -> None:
    partners = torch.tensor([1, 2, 3, 0])
    found = cutmix(IMAGES, partners, (1, 3, 0, 2))
    inside = torch.zeros(4, 4, dtype=torch.bool)
    inside[1:3, 0:2] = True
    assert torch.equal(found[:, :, inside], IMAGES[partners][:, :, inside])
    assert torch.equal(found[:, :, ~inside], IMAGES[:, :, ~inside])


def test_the_box_has_the_share_that_the_weight_leaves() -> None:
    """Inside the image its area is 1 - weight of it; at the border it is cut."""

    class Centre:
        def integers(self, size: int) -> int:
            return size // 2

    top, bottom, left, right = cut_box(40, 20, 0.75, Centre())  # type: ignore[arg-type]
    assert (bottom - top, right - left) == (20, 10)
    g = np.random.default_rng(0)
    for _ in range(50):
        top, bottom, left, right = cut_box(10, 12, 0.5, g)
        assert 0 <= top <= bottom <= 10
        assert 0 <= left <= right <= 12


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_batch_is_the_same_for_its_seed_and_another_for_another(kind) -> None:
    one, same, other = (mixed(IMAGES, kind, 1.0, seed) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert 0 <= float(one.min()) <= float(one.max()) <= 1


def test_none_is_none() -> None:
    assert mixed(IMAGES, "none", 1.0, 0) is IMAGES
