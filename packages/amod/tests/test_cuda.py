"""What has to hold on a GPU as on the CPU: precision, seeds, compilation. Runs on `--device`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import timm
import torch

import amod
from amod.train import Job, Outcome, train
from amod.use.schedule import Schedule
from repro_shared.datasets.views import Arrays, Shift


def pictures(n: int, seed: int) -> Arrays:
    """Two classes that differ in brightness."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % 2
    pixels = rng.integers(0, 100, (n, 16, 16, 3)) + 120 * targets[:, None, None, None]
    return Arrays(pixels.astype(np.uint8), targets, ("dark", "bright"), f"made {n} {seed}")


def vit(depth: int = 4) -> Any:
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=4, embed_dim=32, depth=depth, num_heads=2,
        num_classes=2,
    )  # fmt: skip


def trained(device: str, amp: Any = "none") -> Outcome:
    schedule = Schedule(steps=20, batch_size=8, learning_rate=3e-3, amp=amp)
    job = Job(amod.convert(vit(), capacity=0.5), pictures(24, 0), pictures(10, 1), schedule, 0)
    job.view, job.device, job.evaluate_every = Shift(1, mirror=True), device, 5
    return train(job)


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    "amp", ["none", "bfloat16", pytest.param("float16", marks=pytest.mark.cuda)]
)
def test_learns_in_every_precision(device: str, amp: str) -> None:
    outcome = trained(device, amp)
    losses = [point["loss"] for point in outcome.curve]
    assert all(np.isfinite(losses))
    assert losses[-1] < losses[0]
    assert outcome.curve[-1]["accuracy"] >= 90


@pytest.mark.cuda
def test_the_gpu_learns_what_the_cpu_learns() -> None:
    here, there = trained("cpu"), trained("cuda")
    for one, other in zip(here.curve, there.curve, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], abs=0.02)


@pytest.mark.usefixtures("deterministic")
def test_a_seed_gives_the_same_bits_where_torch_promises_them(device: str) -> None:
    one, other = trained(device), trained(device)
    assert one.curve == other.curve
    states = one.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.cuda
def test_a_seed_gives_nearly_the_same_without_that_promise(device: str) -> None:
    one, other = trained(device), trained(device)
    for a, b in zip(one.curve, other.curve, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


@pytest.mark.cuda
@pytest.mark.parametrize("capacity", [0.5, 0.125])
def test_compiled_equals_eager(device: str, capacity: float) -> None:
    model = amod.convert(vit(), capacity=capacity).to(device).eval()
    images = torch.randn(4, 3, 16, 16, device=device)
    with torch.inference_mode():
        expected = model(images)
        torch.testing.assert_close(torch.compile(model)(images), expected, rtol=1e-3, atol=1e-4)


def test_every_backend_gives_the_same_logits(device: str) -> None:
    images = torch.randn(3, 3, 16, 16, device=device)
    backends = ["explicit", "swapped", "auto"] + (["triton"] if device == "cuda" else [])
    found = []
    for backend in backends:
        model = amod.convert(vit(), capacity=0.5, backend=backend).to(device).eval()
        with torch.inference_mode():
            found.append(model(images))
    for logits in found[1:]:
        torch.testing.assert_close(logits, found[0], rtol=1e-3, atol=1e-4)
