"""The discriminator, who learns from which loss, and how."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from repro_shared.runtime.errors import UserError
from seg_kd.rivals.adversarial import Adversarial, Discriminator, fooling, telling_apart


class Scores:
    def __init__(self, scores: Tensor) -> None:
        self.scores = scores

    def logits(self) -> Tensor:
        return self.scores


class Three:
    classes = 3


def test_hinge_losses_by_hand() -> None:
    own, other = torch.tensor([-2.0, 0.5]), torch.tensor([0.0, 3.0])
    assert fooling(own).item() == 0.75  # -(-2 + 0.5) / 2
    assert telling_apart(own, other).item() == 0.5 + 0.75  # (1 + 0) / 2 + (0 + 1.5) / 2


@pytest.mark.parametrize(("size", "scores"), [((64, 128), (1, 5)), ((64, 64), (1, 1)),
                                              ((8, 12), (1, 3)), ((33, 64), (1, 4))])  # fmt: skip
def test_discriminator_takes_maps_of_every_size(
    size: tuple[int, int], scores: tuple[int, int]
) -> None:
    made = Discriminator(3, width=8)(torch.randn(2, 3, *size))
    assert made.shape == (2, 1, *scores)


def test_discriminator_is_cirkds() -> None:
    """Parameters of utils/sagan.py for 19 classes, without its copies of the singular vectors."""
    widths = [19, 64, 128, 256, 512]
    convolutions = sum(a * b * 16 + b for a, b in pairwise(widths))
    attention = sum(2 * (c * c // 8 + c // 8) + c * c + c + 1 for c in (256, 512))
    expected = 2 * 19 + convolutions + attention + 512 * 16 + 1
    found = sum(p.numel() for p in Discriminator(19).parameters())
    assert found == expected


def test_each_learns_from_its_own_loss() -> None:
    torch.manual_seed(0)
    module = Adversarial().build(Three())  # type: ignore[arg-type]
    own = torch.randn(2, 3, 16, 16, requires_grad=True)
    losses = module(Scores(own), Scores(torch.randn(2, 3, 16, 16)), torch.zeros(2, 16, 16))
    losses["adversarial"].backward(retain_graph=True)
    assert own.grad is not None
    assert own.grad.any()
    assert all(p.grad is None for p in module.parameters())
    own.grad = None
    losses["discriminator"].backward()
    assert own.grad is None
    got = {name for name, p in module.named_parameters() if p.grad is not None and p.grad.any()}
    assert "discriminator.last.weight" in got
    assert "discriminator.convolutions.0.parametrizations.weight.original" in got


def test_it_learns_by_adam_and_both_weights_are_needed() -> None:
    module = Adversarial().build(Three())  # type: ignore[arg-type]
    assert module.apart.adam == (4e-4, 0.9, 0.99)
    with pytest.raises(UserError, match="both weights are above 0, or both 0"):
        Adversarial(discriminator_weight=0.0)
