"""Every family of schedulers: x0 and steps are diffusers' own, where theirs clip nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from cg_augment.method.schedule import Schedule, clean, move
from cg_augment.use.schedules import read_schedule
from repro_shared.runtime.errors import UserError

VP: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {**VP, "clip_sample": False}),
    "ddim one": ("DDIMScheduler", {**VP, "clip_sample": False, "set_alpha_to_one": False,
                                   "steps_offset": 1}),
    "ddim trailing": ("DDIMScheduler", {**VP, "clip_sample": False,
                                        "timestep_spacing": "trailing"}),
    "ddpm": ("DDPMScheduler", {**VP, "clip_sample": False}),
    "ddpm log": ("DDPMScheduler", {**VP, "clip_sample": False, "variance_type": "fixed_small_log"}),
    "ddpm large": ("DDPMScheduler", {**VP, "clip_sample": False, "variance_type": "fixed_large"}),
    "euler": ("EulerDiscreteScheduler", VP),
    "euler leading": ("EulerDiscreteScheduler", {**VP, "timestep_spacing": "leading"}),
    "euler karras": ("EulerDiscreteScheduler", {**VP, "use_karras_sigmas": True}),
    "ancestral": ("EulerAncestralDiscreteScheduler", {**VP, "timestep_spacing": "trailing"}),
    "2m": ("DPMSolverMultistepScheduler", VP),
    "2m karras": ("DPMSolverMultistepScheduler", {**VP, "use_karras_sigmas": True}),
    "2m first order": ("DPMSolverMultistepScheduler", {**VP, "solver_order": 1}),
    "2m to the smallest": ("DPMSolverMultistepScheduler", {
        **VP, "final_sigmas_type": "sigma_min", "lower_order_final": False}),
    "2m flow": ("DPMSolverMultistepScheduler", {
        "use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}),
    "flow": ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    "flow noisy": ("FlowMatchEulerDiscreteScheduler", {"stochastic_sampling": True}),
}  # fmt: skip
FLOWS = ("2m flow", "flow", "flow noisy")


def make(name: str, **changes: Any) -> Any:
    family, settings = FAMILIES[name]
    return getattr(diffusers, family)(**{**settings, **changes})


def cases() -> list[tuple[str, str]]:
    kinds = ("epsilon", "v_prediction", "sample")
    return [(f, "flow_prediction") if f in FLOWS else (f, kind) for f in FAMILIES
            for kind in (kinds if f not in FLOWS else kinds[:1])]  # fmt: skip


def scheduler_of(name: str, kind: str) -> Any:
    return make(name) if name in FLOWS else make(name, prediction_type=kind)


def output_for(schedule: Schedule, place: int, x0: Tensor, noise: Tensor) -> Tensor:
    """What a perfect network would give."""
    step = schedule.steps[place]
    length = (step.alpha**2 + step.sigma**2) ** 0.5
    return {
        "epsilon": noise,
        "sample": x0,
        "v_prediction": (step.alpha * noise - step.sigma * x0) / length,
        "flow": noise - x0,
    }[schedule.prediction]


@pytest.mark.parametrize(("name", "kind"), cases())
def test_x0_of_the_true_prediction_is_x0(name: str, kind: str) -> None:
    schedule = read_schedule(scheduler_of(name, kind), 7)
    assert schedule.prediction == {"flow_prediction": "flow"}.get(kind, kind)
    g = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(3, 2, 4, 4, generator=g) for _ in range(2))
    for place, step in enumerate(schedule.steps):
        x = step.alpha * x0 + step.sigma * noise
        found = clean(step, schedule.prediction, x, output_for(schedule, place, x0, noise))
        assert torch.allclose(found, x0, rtol=0, atol=1e-5 * max(1, 1 / max(step.alpha, 0.05)))


@pytest.mark.parametrize("steps", [4, 20])
@pytest.mark.parametrize(
    # Euler ancestral has no step of its own for networks that give x0.
    ("name", "kind"), [case for case in cases() if case != ("ancestral", "sample")]
)  # fmt: skip
def test_a_run_is_that_of_diffusers(
    name: str, kind: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = scheduler_of(name, kind)
    schedule = read_schedule(scheduler, steps)
    drawn: list[Tensor] = []

    def draw(shape: Any, **_: Any) -> Tensor:  # one stream for both
        drawn.append(torch.randn(*shape, generator=g))
        return drawn[-1]

    g = torch.Generator().manual_seed(1)
    module = __import__(type(scheduler).__module__, fromlist=["randn_tensor"])
    monkeypatch.setattr(module, "randn_tensor", draw, raising=False)
    scheduler.set_timesteps(steps)
    assert schedule.start == pytest.approx(float(getattr(scheduler, "init_noise_sigma", 1)))
    theirs = ours = torch.randn(2, 1, 4, 4, generator=g) * schedule.start
    before = None
    for place, timestep in enumerate(scheduler.timesteps):
        step = schedule.steps[place]
        assert step.timestep == pytest.approx(float(timestep))
        scale = getattr(scheduler, "scale_model_input", lambda x, t: x)
        seen = scale(theirs, timestep)
        assert torch.allclose(seen, step.scale * theirs, rtol=1e-5, atol=1e-6)
        output = torch.tanh(seen) * 0.7 + 0.1  # any network
        drawn.clear()
        theirs = scheduler.step(output, timestep, theirs).prev_sample
        x0 = clean(step, schedule.prediction, ours, output)
        noise = drawn[-1] if step.fresh else None
        ours, before = move(step, ours, x0, before, noise), x0
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=2e-5)


def test_ddim_with_noise_and_noised_images(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = make("ddim")
    schedule = read_schedule(scheduler, 10, eta=1.0)
    scheduler.set_timesteps(10)
    x, output, noise = (torch.randn(2, 3) for _ in range(3))
    theirs = scheduler.step(output, scheduler.timesteps[3], x, eta=1.0, variance_noise=noise)
    step = schedule.steps[3]
    ours = move(step, x, clean(step, "epsilon", x, output), None, noise)
    assert torch.allclose(ours, theirs.prev_sample, atol=1e-5)

    half = read_schedule(make("2m"), 10).last(0.5)
    assert len(half) == 5
    assert half.steps[0].extrapolation == 0
    assert half.steps[1].extrapolation > 0
    with pytest.raises(
        UserError, match=r"10 steps x strength 0\.05 leave no step: .* from 0\.1 to"
    ):
        schedule.last(0.05)
    for bad in (1.5, -0.5, float("nan"), float("inf")):
        with pytest.raises(UserError, match=f"strength {bad:g}"):
            schedule.last(bad)
    for count in range(1, 60):  # what is recommended is not refused
        short = replace(schedule, steps=schedule.steps[:1] * count)
        with pytest.raises(UserError) as refused:
            short.last(0.0)
        least = float(str(refused.value).split("from ")[1].split(" to")[0])
        assert len(short.last(least)) == 1


def test_a_clipping_scheduler_leaves_the_gradient_alive() -> None:
    # Theirs: x0 beyond 1 is clipped, and no gradient reaches the latent.
    scheduler = make("ddim", clip_sample=True)
    scheduler.set_timesteps(5)
    x = torch.full((1, 1, 2, 2), 9.0, requires_grad=True)
    clipped = scheduler.step(torch.zeros_like(x), scheduler.timesteps[-1], x).pred_original_sample
    assert not torch.autograd.grad(clipped.sum(), x)[0].any()
    step = read_schedule(scheduler, 5).steps[-1]
    (own,) = torch.autograd.grad(clean(step, "epsilon", x, torch.zeros_like(x)).sum(), x)
    assert torch.allclose(own, torch.full_like(x, 1 / step.alpha))


ZERO = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@pytest.mark.parametrize("name", ["ddim", "euler", "2m", "ancestral"])
def test_zero_signal_needs_another_prediction_than_the_noise(name: str) -> None:
    with pytest.raises(UserError, match=r"zero signal-to-noise ratio.*v_prediction"):
        read_schedule(make(name, **ZERO), 5)
    schedule = read_schedule(make(name, **ZERO, prediction_type="v_prediction"), 5)
    step = schedule.steps[0]
    x = torch.randn(2, 3) * schedule.start
    x0 = clean(step, "v_prediction", x, torch.randn(2, 3))
    assert x0.isfinite().all()
    assert move(step, x, x0, None, torch.zeros(2, 3) if step.fresh else None).isfinite().all()


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (lambda: diffusers.PNDMScheduler(), "PNDMScheduler is not known here: replace it"),
        (lambda: diffusers.LMSDiscreteScheduler(), "LMSDiscreteScheduler is not known here"),
        (lambda: diffusers.DDIMInverseScheduler(), "DDIMInverseScheduler is not known here"),
        (lambda: make("ddim", thresholding=True), "thresholding changes x0"),
        (lambda: make("2m", solver_order=3), "solver_order 3 is not known"),
        (lambda: make("2m", algorithm_type="sde-dpmsolver++"), "algorithm_type"),
        (lambda: make("2m", solver_type="heun"), "solver_type 'heun'"),
        (lambda: make("ddpm", variance_type="learned_range"), "variance_type 'learned_range'"),
        (lambda: make("flow", invert_sigmas=True), "invert_sigmas"),
        (lambda: make("flow", use_dynamic_shifting=True), "`mu` must be passed"),
        (lambda: make("ddim", num_train_timesteps=4), "refuses 5 steps"),
    ],
)
def test_what_is_not_known_is_refused(scheduler: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_schedule(scheduler(), 5)


def test_the_users_scheduler_stays_as_it_is() -> None:
    scheduler = make("flow", use_dynamic_shifting=True)
    before = scheduler.timesteps.clone()
    schedule = read_schedule(scheduler, 5, mu=0.8)
    assert torch.equal(scheduler.timesteps, before)
    assert len(schedule) == 5
    with pytest.raises(UserError, match=r"eta 0\.5 is for DDIMScheduler alone"):
        read_schedule(make("euler"), 5, eta=0.5)
    with pytest.raises(UserError, match="steps must be 1 or more"):
        read_schedule(make("euler"), 0)
