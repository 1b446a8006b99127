"""The pair-wise loss against loops over pairs of places."""

import itertools

import numpy as np
import pytest
import torch

from seg_kd.rivals.skd import pair_wise


def slow(student: np.ndarray, teacher: np.ndarray, pool: int) -> float:
    """One pair of places at a time."""
    total, pairs = 0.0, 0
    height, width = student.shape[2:]
    corners = [*itertools.product(range(0, height, pool), range(0, width, pool))]
    for image in range(len(student)):
        vectors = []
        for maps in (student[image], teacher[image]):
            cells = [maps[:, y : y + pool, x : x + pool].max((1, 2)) for y, x in corners]
            vectors.append([cell / np.linalg.norm(cell) for cell in cells])
        for i, j in itertools.product(range(len(corners)), repeat=2):
            total += (vectors[0][i] @ vectors[0][j] - vectors[1][i] @ vectors[1][j]) ** 2
            pairs += 1
    return total / pairs


@pytest.mark.parametrize("pool", [1, 2, 3])
@pytest.mark.parametrize("channels", [(2, 3), (9, 14)])
def test_against_slow_reference(channels: tuple[int, int], pool: int, device: str) -> None:
    rng = np.random.default_rng(0)
    student, teacher = (rng.normal(size=(2, c, 5, 4)) for c in channels)
    own, other = (torch.tensor(maps, device=device) for maps in (student, teacher))
    expected = slow(student, teacher, pool)
    assert pair_wise(own, other, pool=pool).item() == pytest.approx(expected, rel=1e-9)


def test_hand_worked() -> None:
    # Places (1, 0) and (0, 1) of the student are at a right angle, the teacher's are equal.
    student = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    teacher = torch.ones(1, 1, 1, 2)
    assert pair_wise(student, teacher, pool=1).item() == pytest.approx(0.5)  # (0 + 1 + 1 + 0) / 4


def test_torch_distiller_has_the_same_value() -> None:
    """Its utils/utils.py divides by lengths that carry no gradient, and sums over N^2 B."""
    rng = np.random.default_rng(2)
    own, other = (torch.tensor(rng.normal(size=(2, c, 4, 6))) for c in (3, 5))
    own.requires_grad_()

    def similarity(feature: torch.Tensor) -> torch.Tensor:
        pooled = torch.nn.functional.max_pool2d(feature, 2, ceil_mode=True)
        lengths = pooled.square().sum(1, keepdim=True).sqrt() + 1e-8
        unit = (pooled / lengths.detach()).flatten(2)
        return torch.einsum("icm,icn->imn", unit, unit)

    theirs = ((similarity(other) - similarity(own)) ** 2 / 6**2 / 2).sum()
    ours = pair_wise(own, other)
    torch.testing.assert_close(ours, theirs)
    slopes = [torch.autograd.grad(loss, own)[0] for loss in (ours, theirs)]
    assert (slopes[0] - slopes[1]).abs().max() > 1e-3
