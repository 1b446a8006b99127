"""The segmenter: a frozen trunk, a loss that leaves out what has no label."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from ofds.use.nets.segmenter import Segmenter, label_maps


@pytest.fixture(scope="module")
def model() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(4)


def test_any_size_and_few_weights_that_learn(model: Segmenter) -> None:
    assert model(torch.rand(2, 3, 45, 61)).shape == (2, 4, 45, 61)
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    assert sum(weight.numel() for weight in learning) < 300_000
    assert all(weight.requires_grad for weight in model.head.parameters())


def test_training_leaves_the_trunk_as_it_is(model: Segmenter) -> None:
    before = {name: value.clone() for name, value in model.trunk.state_dict().items()}
    images, labels = torch.rand(2, 3, 32, 32), torch.randint(0, 4, (2, 32, 32))
    optimiser = torch.optim.SGD(model.head.parameters(), 0.1)
    model.train()
    for _ in range(2):
        model.head.loss(model.levels(images), labels).backward()
        optimiser.step()
    assert all(torch.equal(before[n], v) for n, v in model.trunk.state_dict().items())


def test_loss_is_torchs_and_pixels_without_a_label_do_not_count(model: Segmenter) -> None:
    model.eval()
    images, labels = torch.rand(2, 3, 32, 48), torch.randint(0, 4, (2, 32, 48))
    labels[0, :20] = 255
    levels, weights = model.levels(images), torch.tensor([1.0, 2.0, 0.5, 3.0])
    scores = model(images)
    for given in (None, weights):
        theirs = functional.cross_entropy(scores, labels, given, ignore_index=255)
        assert model.head.loss(levels, labels, given).item() == pytest.approx(theirs.item(), 1e-5)
    none = model.head.loss(levels, torch.full_like(labels, 255), weights)
    none.backward()
    assert none.item() == 0.0


def test_label_maps_are_the_best_scores(model: Segmenter) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 40, 3)).astype(np.uint8)
    labels, probability = label_maps(model, images, batch_size=2)
    with torch.no_grad():
        scores = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).softmax(dim=1)
    assert np.array_equal(labels, scores.argmax(dim=1).numpy())
    assert np.allclose(probability, scores.amax(dim=1).numpy(), atol=1e-3)
