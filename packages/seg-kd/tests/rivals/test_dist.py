"""DIST's correlations against numpy's."""

import numpy as np
import pytest
import torch

from seg_kd.rivals.dist import correlations


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(1, keepdims=True)


@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_against_numpys_correlation(tau: float, device: str) -> None:
    student, teacher = np.random.default_rng(0).normal(size=(2, 2, 4, 3, 5))
    own, other = softmax(student / tau), softmax(teacher / tau)
    places = [(b, y, x) for b in range(2) for y in range(3) for x in range(5)]
    by_place = [
        1 - np.corrcoef(own[b, :, y, x], other[b, :, y, x])[0, 1] for b, y, x in places
    ]  # fmt: skip
    by_class = [
        1 - np.corrcoef(own[:, k].flatten(), other[:, k].flatten())[0, 1] for k in range(4)
    ]  # fmt: skip
    maps = [torch.tensor(each, device=device) for each in (student, teacher)]
    inter, intra = correlations(*maps, tau=tau)
    assert inter.item() == pytest.approx(
        tau**2 * np.mean(by_place), rel=1e-5
    )  # + 1e-8 in a divisor
    assert intra.item() == pytest.approx(tau**2 * np.mean(by_class), rel=1e-5)


def test_the_opposite_order_of_two_classes_costs_two() -> None:
    logits = torch.tensor([[3.0, -1.0]]).view(1, 2, 1, 1)
    assert correlations(logits, logits.flip(1))[0].item() == pytest.approx(2.0)
