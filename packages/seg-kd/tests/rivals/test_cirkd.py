"""CIRKD's terms against loops, and its class queues: filled, partly filled, empty, overwritten."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from repro_shared.runtime.errors import UserError
from seg_kd.rivals.cirkd import Memory, pixel_to_pixel, to_memory
from seg_kd.rivals.queues import ClassQueues, class_pixels, class_regions


def divergence(own: np.ndarray, other: np.ndarray) -> float:
    p, q = (np.exp(each) / np.exp(each).sum() for each in (other, own))
    return float((p * np.log(p / q)).sum())


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def slow_pixel_to_pixel(student: np.ndarray, teacher: np.ndarray, temperature: float) -> float:
    """One pair of images, and one pixel of the first, at a time."""
    images, _, height, width = student.shape
    places = [*itertools.product(range(height), range(width))]
    total = 0.0
    for i, j in itertools.product(range(images), repeat=2):
        for y, x in places:
            similar = [
                np.array([unit(maps[i, :, y, x]) @ unit(maps[j, :, v, u]) for v, u in places])
                for maps in (student, teacher)
            ]
            total += divergence(similar[0] / temperature, similar[1] / temperature)
    return total / (images**2 * len(places))


def test_pixel_to_pixel_against_slow_reference(device: str) -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(3, 2, 2, 3)), rng.normal(size=(3, 4, 2, 3))
    own, other = (torch.tensor(maps, device=device) for maps in (student, teacher))
    expected = slow_pixel_to_pixel(student, teacher, 0.5)
    assert pixel_to_pixel(own, other, temperature=0.5).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kd_temperature", [1.0, 2.0])
def test_memory_against_slow_reference(kd_temperature: float, device: str) -> None:
    rng = np.random.default_rng(0)
    student, teacher, memory = (
        np.array([unit(v) for v in rng.normal(size=(n, 4))]) for n in (6, 6, 5)
    )
    valid = np.array([1, 1, 0, 1, 0, 1], dtype=bool)
    rows = [
        kd_temperature**2 * divergence(memory @ s / 0.1 / kd_temperature,
                                       memory @ t / 0.1 / kd_temperature)
        for s, t in zip(student[valid], teacher[valid], strict=True)
    ]  # fmt: skip
    found = to_memory(
        *(torch.tensor(each, device=device) for each in (student, teacher, memory)),
        valid=torch.tensor(valid, device=device),
        kd_temperature=kd_temperature,
    )
    assert found.item() == pytest.approx(np.mean(rows), rel=1e-9)


class SlowQueues:
    """A list a class."""

    def __init__(self, classes: int, size: int) -> None:
        self.size = size
        self.lists: list[dict[int, list[float]]] = [{} for _ in range(classes)]
        self.written = [0] * classes

    def add(self, vectors: Tensor, counts: Tensor) -> None:
        for k, held in enumerate(self.lists):
            for vector, counted in zip(vectors[k], counts[k], strict=True):
                if counted:
                    held[self.written[k] % self.size] = vector.tolist()
                    self.written[k] += 1


@settings(derandomize=True, max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(1, 7), steps=st.integers(1, 5))
def test_queues_hold_the_last_vectors_of_each_class(seed: int, size: int, steps: int) -> None:
    queues, slow = ClassQueues(3, size, 2), SlowQueues(3, size)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        vectors = torch.randn(3, 4, 2, generator=generator)
        counts = torch.rand(3, 4, generator=generator) < 0.5
        counts[2] = False  # never occurs
        for each in (queues, slow):
            each.add(vectors, counts)
    assert queues.written.tolist() == slow.written
    for k, held in enumerate(slow.lists):
        assert {i: queues.vectors[k, i].tolist() for i in held} == held
    drawn, used = queues.draw(4)
    count = min(4, size)
    for k, held in enumerate(slow.lists):
        rows = [*zip(drawn[k * count :][:count], used[k * count :][:count], strict=True)]
        taken = [tuple(vector.tolist()) for vector, use in rows if use]
        assert len(taken) == len({*taken}) == min(count, len(held))  # none twice
        assert {*taken} <= {tuple(v) for v in held.values()}
        assert not any(vector.any() for vector, use in rows if not use)


def test_pixels_and_regions_are_those_of_their_class() -> None:
    labels = torch.tensor([[[0, 0, 0], [1, 255, 0]], [[2, 2, 255], [255, 255, 255]]])
    feature = torch.arange(12.0).view(2, 1, 2, 3) + 1  # each position its own value
    pixels, counted = class_pixels(feature, labels, 4, count=2)
    assert pixels.shape == (4, 4, 1)
    assert counted.tolist() == [[True, True, False, False], [True, False, False, False],
                                [False, False, True, True], [False] * 4]  # fmt: skip
    values = [{*pixels[k][counted[k]].flatten().tolist()} for k in range(4)]
    assert values[0] <= {1, 2, 3, 6}
    assert values[1:] == [{4}, {7, 8}, set()]
    two = torch.cat([feature, -2 * feature], dim=1)
    regions, counted = class_regions(two, labels, 4)
    assert counted.tolist() == [[True, False], [True, False], [False, True], [False, False]]
    expected = torch.tensor([1.0, -2.0]) / 5**0.5
    torch.testing.assert_close(regions[counted], expected.expand(3, 2))


class Given:
    """Student and teacher with one feature each, as a term asks for it."""

    classes = 3

    def __init__(self, own: Tensor, other: Tensor) -> None:
        self.maps = own, other

    def channels(self, layer: str) -> tuple[int, int]:
        return self.maps[0].shape[1], self.maps[1].shape[1]

    def need_auxiliary(self) -> None:
        raise AssertionError


class Feature:
    def __init__(self, maps: Tensor) -> None:
        self.maps = maps

    def layer(self, name: str) -> Tensor:
        return self.maps


def small(**changes: Any) -> Memory:
    return Memory(pixel_queue=8, region_queue=4, pixels=12, regions=6, queued=2, **changes)


def step(module: Any, labels: Tensor, seed: int = 0) -> tuple[dict[str, Tensor], Tensor]:
    """Losses of one step and the gradient of their sum at the student's feature."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(2, 4, 3, 3, generator=generator, requires_grad=True)
    losses = module(Feature(own), Feature(torch.randn(2, 5, 3, 3, generator=generator)), labels)
    total = torch.stack([*losses.values()]).sum()
    return losses, torch.autograd.grad(total, own)[0]


def test_memory_before_and_after_its_queues_are_full() -> None:
    torch.manual_seed(0)
    pair = Given(torch.zeros(1, 4, 1, 1), torch.zeros(1, 5, 1, 1))
    module = small().build(pair)  # type: ignore[arg-type]
    nothing = torch.full((2, 3, 3), 255)
    losses, gradient = step(module, nothing)
    assert [loss.item() for loss in losses.values()] == [0, 0]
    assert not gradient.any()
    labels = torch.tensor([0, 0, 1, 255, 0, 1, 1, 0, 255]).view(3, 3).expand(2, 3, 3)
    for seed in range(4):
        losses, gradient = step(module, labels, seed)
        assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
        assert torch.isfinite(gradient).all()
        assert gradient.any()
    # Two pixels and one region of each of two images a step; class 2 never occurred.
    assert module.pixels.written.tolist() == [16, 16, 0]
    assert module.regions.written.tolist() == [8, 8, 0]
    lengths = module.pixels.vectors[:2, :8].norm(dim=2)
    torch.testing.assert_close(lengths, torch.ones(2, 8))
    # Enough labelled or not, a batch without labels still costs nothing.
    losses, gradient = step(module, nothing)
    assert [loss.item() for loss in losses.values()] == [0, 0]
    assert not gradient.any()


def test_what_lasts_is_in_the_state_dict() -> None:
    pair = Given(torch.zeros(1, 4, 1, 1), torch.zeros(1, 5, 1, 1))
    torch.manual_seed(0)
    module = small().build(pair)  # type: ignore[arg-type]
    labels = torch.zeros(2, 3, 3, dtype=torch.long)
    step(module, labels)
    other = small().build(pair)  # type: ignore[arg-type]
    other.load_state_dict(module.state_dict())
    found = []
    for each in (module, other):
        torch.manual_seed(1)
        losses, _ = step(each, labels, seed=2)
        found.append([loss.item() for loss in losses.values()])
    assert found[0] == found[1]


def test_one_part_alone() -> None:
    pair = Given(torch.zeros(1, 4, 1, 1), torch.zeros(1, 5, 1, 1))
    module = small(region_weight=0.0).build(pair)  # type: ignore[arg-type]
    losses, _ = step(module, torch.zeros(2, 3, 3, dtype=torch.long))
    assert [*losses] == ["memory-pixel"]
    assert not any("regions" in name for name in module.state_dict())


def test_an_empty_queue_is_refused() -> None:
    with pytest.raises(UserError, match="pixel_queue of the memory must be 1 or more"):
        Memory(pixel_queue=0)


def test_a_checkpoint_holds_what_has_been_written() -> None:
    queues = ClassQueues(3, 5, 2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        counts = torch.rand(3, 4, generator=generator) < 0.5
        counts[1] = False
        queues.add(torch.randn(3, 4, 2, generator=generator), counts)
    kept = queues.state_dict()
    held = queues.written.clamp(max=5)
    assert kept["vectors"].shape == (int(held.sum()), 2)
    again = torch.nn.ModuleDict({"queues": ClassQueues(3, 5, 2)})
    again.load_state_dict({f"queues.{name}": value for name, value in kept.items()})
    found: Any = again["queues"]
    assert torch.equal(found.vectors[:, :5], queues.vectors[:, :5])
    assert torch.equal(found.written, queues.written)
    with pytest.raises(RuntimeError, match="size mismatch"):
        ClassQueues(3, 4, 2).load_state_dict(kept)


def test_queues_are_bounded() -> None:
    with torch.device("meta"):
        assert ClassQueues(21, 20000, 512).size == 20000
        many = ClassQueues(150, 20000, 512)
    assert many.size == 3495  # as Memory's docstring says
    assert 150 * many.size * 512 * 4 <= 2**30 < 150 * (many.size + 1) * 512 * 4
    assert "3,495" in (Memory.__doc__ or "")
