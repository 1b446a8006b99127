"""Views: cut-outs of the right places, the same for an image in every batch."""

from __future__ import annotations

import torch

from cg_augment.method.views import Views


def test_a_view_is_a_part_of_the_image() -> None:
    ramp = torch.linspace(0, 1, 32)[None, None, None].expand(2, 3, 32, 32).contiguous()
    rows, seeds = torch.arange(2), (4, 9)
    views = Views(4, smallest=0.5, noise=0.0)
    spans = []
    for number in range(4):
        seen = views.of(ramp, rows, seeds, 0, number)
        assert seen.shape == ramp.shape
        assert 0 <= float(seen.min()) <= float(seen.max()) <= 1
        assert torch.allclose(seen[:, 0, 0], seen[:, 2, 31], atol=1e-5)  # it is the same in height
        spans.append((seen[:, 0, 0, -1] - seen[:, 0, 0, 0]).tolist())
        assert all(0.45 < span <= 1.01 for span in spans[-1])
    assert len({round(span, 4) for both in spans for span in both}) == 8
    whole = Views(1, smallest=1.0, noise=0.0).of(ramp, rows, seeds, 0, 0)
    assert torch.allclose(whole, ramp, atol=1e-5)


def test_views_are_the_images_own_and_differ_by_round() -> None:
    images = torch.rand(3, 3, 8, 8)
    views, seeds = Views(2), (1, 2, 3)
    many = views.of(images, torch.arange(3), seeds, 5, 1)
    single = views.of(images[2:], torch.tensor([2]), seeds, 5, 1)
    assert torch.allclose(many[2:], single, atol=1e-6)
    assert not torch.allclose(many, views.of(images, torch.arange(3), seeds, 6, 1), atol=1e-3)
    noisy = Views(1, smallest=1.0, noise=0.1).of(images, torch.arange(3), seeds, 0, 0) - images
    assert 0.08 < float(noisy.std()) < 0.12
