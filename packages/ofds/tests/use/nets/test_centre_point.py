"""The centre-point detector: targets, losses, decoding, what is ignored, and that it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from ofds.train import Training, fit
from ofds.use.mean_ap import mean_ap
from ofds.use.nets.centre_point import STRIDE, CentrePoint, bumps, radius
from ofds.use.nets.detector import Detections, Target, as_tensor, detect_all


class Fixed(CentrePoint):
    """Gives the same maps for every image."""

    def __init__(self, heat: torch.Tensor, shape: torch.Tensor) -> None:
        super().__init__(heat.shape[0], width=8)
        self.maps = nn.Parameter(heat), nn.Parameter(shape)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(each[None].expand(len(images), -1, -1, -1) for each in self.maps)  # type: ignore[return-value]


def target(boxes: list[list[float]], labels: list[int], **more: torch.Tensor) -> Target:
    label = torch.tensor(labels, dtype=torch.long)
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": label, **more}


def fixed(peaks: dict[tuple[int, int, int], float], size: float = 4.0) -> Fixed:
    heat, shape = torch.full((3, 8, 8), -8.0), torch.zeros(4, 8, 8)
    for place, logit in peaks.items():
        heat[place] = logit
    shape[:2], shape[2:] = size, 0.5
    return Fixed(heat, shape)


def test_size() -> None:
    assert 0.2e6 < sum(weight.numel() for weight in CentrePoint(10).parameters()) < 0.3e6


def test_radius_is_that_of_the_public_code() -> None:
    sizes = [(4.0, 4.0), (10.0, 3.0), (24.0, 24.0), (1.0, 30.0)]
    for (w, h), found in zip(sizes, radius(torch.tensor(sizes)).tolist(), strict=True):
        cases = []
        for a, b, c in (
            (1.0, h + w, w * h * 0.3 / 1.7),
            (4.0, 2 * (h + w), 0.3 * w * h),
            (4 * 0.7, -2 * 0.7 * (h + w), -0.3 * w * h),
        ):
            cases.append((b + math.sqrt(b**2 - 4 * a * c)) / 2)
        assert found == pytest.approx(min(cases), rel=1e-4)


def test_bumps_are_1_at_the_centre_and_fall() -> None:
    found = bumps(torch.tensor([[2, 5]]), torch.tensor([[12.0, 12.0]]), 8, 8)[0]
    assert found[5, 2] == found.max() == 1
    assert found[5, 3] > found[5, 4] > 0
    assert (found == 1).sum() == 1


def test_a_right_map_loses_least() -> None:
    box = [[8.0, 16.0, 24.0, 32.0]]  # centre (16, 24): cell (4, 6), offset 0
    images = torch.zeros(1, 3, 32, 32)
    right = fixed({(1, 6, 4): 8.0})
    right.maps[1].data[2:] = 0.0
    best = right.loss(images, [target(box, [1])]).item()
    assert best < 0.1
    for wrong in (fixed({(2, 6, 4): 8.0}), fixed({(1, 6, 4): 8.0}, size=8.0), fixed({})):
        wrong.maps[1].data[2:] = 0.0
        assert wrong.loss(images, [target(box, [1])]).item() > best + 1


def test_ignored_regions_are_not_learned_but_objects_in_them_are() -> None:
    images = torch.zeros(1, 3, 32, 32)
    model = fixed({(0, 3, 3): 4.0})  # a false alarm at (14, 14)
    region = torch.tensor([[8.0, 8.0, 20.0, 20.0]])
    plain = model.loss(images, [target([], [])])
    ignoring = model.loss(images, [target([], [], ignored=region)])
    assert plain > 3
    assert ignoring < 0.1
    own = [[8.0, 8.0, 20.0, 20.0]]
    both = model.loss(images, [target(own, [1], ignored=region)])
    assert both > 3  # class 1 has no peak there


def test_weights_of_images() -> None:
    images = torch.zeros(2, 3, 32, 32)
    model = fixed({(0, 3, 3): 4.0})
    right = target([[4.0, 4.0, 20.0, 20.0]], [0])
    wrong = target([[16.0, 16.0, 24.0, 24.0]], [2])
    alone = model.loss(images[:1], [right])
    silent = model.loss(images, [right, {**wrong, "weight": torch.tensor(0.0)}])
    assert silent.item() == pytest.approx(alone.item(), rel=1e-5)
    assert model.loss(images, [right, wrong]) > alone


def test_images_without_objects_have_a_loss_with_a_gradient() -> None:
    model = CentrePoint(3, width=8)
    loss = model.loss(torch.zeros(2, 3, 32, 32), [target([], []), target([], [])])
    loss.backward()
    assert torch.isfinite(loss)


def test_decoding() -> None:
    model = fixed({(1, 6, 4): 3.0, (1, 6, 5): 2.0, (0, 1, 1): 1.0})
    found = model.detect(torch.zeros(1, 3, 32, 32))[0]
    assert found["labels"].tolist() == [1, 0]  # the neighbour of a peak is none
    assert found["scores"].tolist() == pytest.approx([0.9526, 0.7311], abs=1e-3)
    assert found["boxes"][0].tolist() == [10, 18, 26, 32]  # cut at the image
    assert found["class_scores"].shape == (2, 3)
    assert found["class_scores"].max(dim=1).values.tolist() == found["scores"].tolist()


def test_it_learns_squares() -> None:
    g = np.random.default_rng(0)
    images = g.integers(0, 60, (24, 32, 32, 3)).astype(np.uint8)
    image, label, box = [], [], []
    for place in range(24):
        kind = place % 2
        x, y = (int(v) for v in g.integers(0, 18, 2))
        side = 8 + 4 * kind
        images[place, y : y + side, x : x + side, kind] = 255
        image.append(place)
        label.append(kind)
        box.append([x, y, side, side])
    truth = Detections(
        np.array(image), np.array(label), np.ones(24, np.float32), np.array(box, np.float32)
    )
    targets = [
        target([[b[0], b[1], b[0] + b[2], b[1] + b[3]]], [kind])
        for b, kind in zip(truth.box.tolist(), label, strict=True)
    ]

    def draw(generator: np.random.Generator) -> tuple[torch.Tensor, list[Target]]:
        own = generator.integers(24, size=8)
        return as_tensor(images[own]), [targets[i] for i in own]

    torch.manual_seed(0)
    model = CentrePoint(2, width=8)
    done = fit(model, lambda m, b: m.loss(*b), draw, Training(150, learning_rate=5e-3), 0)
    found = detect_all(done.model, images)
    assert mean_ap(truth, found, 24, 2).metrics()["ap50"] > 90
    assert STRIDE == 4
