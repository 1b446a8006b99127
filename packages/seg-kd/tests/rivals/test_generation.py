"""Masked generation and the omni contrast against loops, and the generator's parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from repro_shared.runtime.errors import UserError
from seg_kd.method.losses import feature_distillation
from seg_kd.rivals.generation import Generator, MaskedGeneration, generation, omni_contrast


def test_generation_is_the_sum_over_an_image() -> None:
    own, other = torch.tensor(np.random.default_rng(0).normal(size=(2, 2, 3, 4, 5)))
    expected = ((own - other) ** 2).sum() / 2
    torch.testing.assert_close(generation(own, other), expected)
    # MGD's reduction is C * H * W times that of plain feature distillation.
    torch.testing.assert_close(expected, 60 * feature_distillation(own, other))


def slow_contrast(
    student: np.ndarray, teacher: np.ndarray, groups: int, patch: int, pool: int, temperature: float
) -> float:
    """One place and one group at a time."""
    images, channels, height, width = student.shape
    height, width, wide = height // pool, width // pool, channels // groups

    def cell(maps: np.ndarray, y: int, x: int, group: int) -> np.ndarray:
        window = maps[:, y * pool : (y + 1) * pool, x * pool : (x + 1) * pool].max((1, 2))
        return window[group * wide : (group + 1) * wide]

    total, places = 0.0, 0
    for b, top, left in itertools.product(
        range(images), range(0, height - patch + 1, patch), range(0, width - patch + 1, patch)
    ):
        inside = [*itertools.product(range(top, top + patch), range(left, left + patch))]
        for y, x in inside:
            places += 1
            for group in range(groups):
                anchor = cell(student[b], y, x, group)
                positive = -np.abs(anchor - cell(teacher[b], y, x, group)).sum() / temperature
                negatives = [
                    -np.abs(anchor - cell(teacher[b], v, u, other)).sum() / temperature
                    for v, u in inside for other in range(groups) if other != group
                ]  # fmt: skip
                total += np.log(np.exp([positive, *negatives]).sum()) - positive
    return total / places


@pytest.mark.parametrize("size", [(4, 8), (5, 9)])  # the second has a margin
@pytest.mark.parametrize("pool", [1, 2])
def test_contrast_against_slow_reference(size: tuple[int, int], pool: int, device: str) -> None:
    student, teacher = np.random.default_rng(0).normal(size=(2, 2, 6, *size))
    own, other = (torch.tensor(maps, device=device) for maps in (student, teacher))
    found = omni_contrast(own, other, groups=3, patch=2, pool=pool, temperature=2.0)
    expected = slow_contrast(student, teacher, 3, 2, pool, 2.0)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_contrast_pools_less_where_the_map_is_small() -> None:
    own, other = torch.tensor(np.random.default_rng(0).normal(size=(2, 1, 4, 8, 8)))
    settings = {"groups": 2, "patch": 4}
    found = omni_contrast(own, other, pool=4, **settings)  # type: ignore[arg-type]
    assert torch.equal(found, omni_contrast(own, other, pool=2, **settings))  # type: ignore[arg-type]


def test_contrast_refuses_what_it_cannot_cut() -> None:
    own = torch.zeros(1, 6, 3, 8)
    with pytest.raises(ValueError, match="6 channels do not divide into 4 groups"):
        omni_contrast(own, own, groups=4)
    with pytest.raises(ValueError, match="a map of 3 x 8 has no patch of 4 x 4"):
        omni_contrast(own, own, groups=3)


@pytest.mark.parametrize("enhanced", [False, True])
def test_generator_is_written_out(enhanced: bool) -> None:
    torch.manual_seed(0)
    generator = Generator(3, 4, hidden=0.0, enhanced=enhanced).double()
    feature = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    first, *middle, last = generator.convolutions
    made = first(generator.align(feature)).relu()
    if enhanced:
        second, branch = middle
        expected = (branch(made) + last(second(made).relu())) / 2
    else:
        assert not middle
        expected = last(made)
    torch.testing.assert_close(generator(feature), expected)
    assert sum(p.numel() for p in generator.convolutions.parameters()) == (
        (4 if enhanced else 2) * (4 * 4 * 9 + 4)
    )


def test_three_places_of_four_are_hidden_from_all_channels() -> None:
    torch.manual_seed(0)
    generator = Generator(2, 2, hidden=0.75)
    assert isinstance(generator.align, torch.nn.Identity)
    seen = []
    generator.convolutions[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    generator(torch.ones(4, 2, 50, 50))
    assert torch.equal(seen[0][:, 0], seen[0][:, 1])
    assert seen[0].mean().item() == pytest.approx(0.25, abs=0.02)


def test_a_share_of_one_is_refused() -> None:
    with pytest.raises(UserError, match="hidden must be 0 or more and below 1, got 1"):
        MaskedGeneration(hidden=1.0)
