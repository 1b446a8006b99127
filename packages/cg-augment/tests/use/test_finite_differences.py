"""Gradients of every engine and family of schedulers are those of finite differences (float64)."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from cg_augment.guidance import Chain, Noise, Objective, Sampling, Score, Stepwise, Task, Views
from cg_augment.use.pipelines import sampler_of

DOUBLE = torch.float64
LABELS = [0, 1, 1]
VP: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
CLIPS = {**VP, "clip_sample": True}
SCHEDULERS: dict[str, Any] = {
    "ddim epsilon": lambda: diffusers.DDIMScheduler(**CLIPS),
    "ddim v": lambda: diffusers.DDIMScheduler(**CLIPS, prediction_type="v_prediction"),
    "ddim sample": lambda: diffusers.DDIMScheduler(**CLIPS, prediction_type="sample"),
    "ddpm epsilon": lambda: diffusers.DDPMScheduler(**CLIPS),
    "ddpm v": lambda: diffusers.DDPMScheduler(**CLIPS, prediction_type="v_prediction"),
    "ddpm sample": lambda: diffusers.DDPMScheduler(**CLIPS, prediction_type="sample"),
    "euler": lambda: diffusers.EulerDiscreteScheduler(**VP),
    "euler ancestral": lambda: diffusers.EulerAncestralDiscreteScheduler(**VP),
    "dpm++ 2m": lambda: diffusers.DPMSolverMultistepScheduler(**VP),
    "dpm++ 2m v": lambda: diffusers.DPMSolverMultistepScheduler(
        **VP, prediction_type="v_prediction"),
    "flow": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
}  # fmt: skip


def task_of(
    tiny: Any, name: str, objective: Objective | None = None, sampling: Sampling | None = None
) -> Task:
    source = (tiny.unet(DOUBLE), SCHEDULERS[name]())
    sampler = sampler_of(source, LABELS, sampling=sampling or Sampling(steps=4, dtype=DOUBLE))
    score = Score(torch.tensor(LABELS), *tiny.judges(DOUBLE), objective or Objective("log"))
    return Task(sampler, score, Noise((3, 4, 5)))


def slope(value: Any, at: Tensor, size: float = 1e-5) -> tuple[Tensor, Tensor]:
    """A direction (n, ...) and the value's slopes (n,) in it, by central differences."""
    way = torch.randn(at.shape, generator=torch.Generator().manual_seed(9), dtype=DOUBLE)
    with torch.no_grad():
        return way, (value(at + size * way) - value(at - size * way)) / (2 * size)


def agree(gradient: Tensor, way: Tensor, slopes: Tensor) -> None:
    along = (gradient * way).flatten(1).sum(dim=1)
    assert (slopes.abs() > 1e-9).all(), "nothing to compare"
    assert torch.allclose(along, slopes, rtol=1e-6, atol=1e-9 * float(slopes.abs().max()))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_chain(tiny: Any, name: str) -> None:
    task = task_of(tiny, name)
    engine, rows = Chain(scored=2), task.rows
    latent = task.noise.start(rows, task.sampler.like)
    gradient, _, _ = engine.gradient(task, latent, rows)
    agree(gradient, *slope(lambda z: engine.value(task, z, rows)[0], latent))
    plain, _, _ = Chain(scored=2, checkpoints=False).gradient(task, latent, rows)
    assert torch.allclose(gradient, plain, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_stepwise(tiny: Any, name: str) -> None:
    task = task_of(tiny, name)
    rows, engine, place = task.rows, Stepwise(), 2
    g = torch.Generator().manual_seed(1)
    step = task.sampler.schedule.steps[place]
    x = torch.randn((3, *task.sampler.shape), generator=g, dtype=DOUBLE)
    x = x * (step.alpha**2 + step.sigma**2) ** 0.5

    def of_x0(x0: Tensor) -> Tensor:
        return task.score(task.sampler.decode(x0), rows).value

    gradient, x0, _ = engine.gradient(task, x, place, rows)
    agree(gradient, *slope(lambda v: of_x0(task.sampler.predict(v, place, rows)), x))
    # Not through the network: with respect to x0.
    other, same, _ = Stepwise(jacobian=False).gradient(task, x, place, rows)
    assert torch.equal(x0, same)
    agree(other, *slope(of_x0, x0))
    raw = Stepwise(), Stepwise(jacobian=False)
    moved = [e.shift(task, own, place) for e, own in zip(raw, (gradient, other), strict=True)]
    assert not torch.allclose(moved[0], moved[1], rtol=0.05), "two methods"


@pytest.mark.parametrize("form", ["pow", "log", "difference"])
@pytest.mark.parametrize("parts", ["both", "teacher", "student"])
def test_objectives_and_views(tiny: Any, form: Any, parts: Any) -> None:
    task = task_of(tiny, "ddim epsilon", Objective(form, 1.7, parts))
    engine, rows = Chain(views=Views(3)), task.rows
    latent = task.noise.start(rows, task.sampler.like)
    gradient, _, _ = engine.gradient(task, latent, rows, number=1)
    agree(gradient, *slope(lambda z: engine.value(task, z, rows, 1)[0], latent))


def test_noise_and_noised_images(tiny: Any) -> None:
    task = task_of(tiny, "ddim epsilon", sampling=Sampling(4, eta=1.0, dtype=DOUBLE))
    assert all(step.fresh > 0 for step in task.sampler.schedule.steps[:-1])
    engine, rows = Chain(), task.rows
    latent = task.noise.start(rows, task.sampler.like)
    gradient, _, _ = engine.gradient(task, latent, rows)
    agree(gradient, *slope(lambda z: engine.value(task, z, rows)[0], latent))


@pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3"])
def test_whole_pipelines_with_their_decoders(tiny: Any, kind: str) -> None:
    pipe = getattr(tiny, kind)(DOUBLE)
    sampling = Sampling(2, guidance_scale=3.0 if kind == "sd" else 0.0, dtype=DOUBLE)
    sampler = sampler_of(pipe, LABELS, ["a cat", "a dog", "a dog"], sampling)
    score = Score(torch.tensor(LABELS), *tiny.judges(DOUBLE), Objective("log"))
    task = Task(sampler, score, Noise((0, 1, 2)))
    engine, rows = Chain(), task.rows
    latent = task.noise.start(rows, sampler.like)
    gradient, _, _ = engine.gradient(task, latent, rows)
    # Adam's weights need no gradient, and got none.
    assert all(weight.grad is None for weight in pipe.vae.parameters())
    agree(gradient, *slope(lambda z: engine.value(task, z, rows)[0], latent))
