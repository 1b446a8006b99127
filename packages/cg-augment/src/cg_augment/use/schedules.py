"""Schedulers of diffusers as a `Schedule`: their levels are read, their steps are made by us.

Their own step clips x0 by default (DDIM, DDPM), which kills gradients, and draws noise that depends
on the batch. What is read is what `set_timesteps` leaves; tests compare step by step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from cg_augment.method.schedule import Prediction, Schedule, Step
from repro_shared.runtime.errors import UserError

_PREDICTIONS: dict[str, Prediction] = {
    "epsilon": "epsilon",
    "v_prediction": "v_prediction",
    "sample": "sample",
    "flow_prediction": "flow",
}


def read_schedule(
    scheduler: Any, steps: int, *, eta: float = 0.0, mu: float | None = None
) -> Schedule:
    """The steps that a scheduler of diffusers would make.

    Args:
        scheduler: DDIM, DDPM, Euler, Euler ancestral, DPM-Solver++ (multistep, order 1 or 2) or
            flow-matching Euler; it stays as it is.
        steps: of sampling.
        eta: of DDIM, 0 to 1.
        mu: shift of a flow-matching scheduler whose shift depends on the image's size.

    Raises:
        UserError: another scheduler, a setting that changes x0, or a number of steps it refuses.
    """
    name = type(scheduler).__name__
    if name not in _FAMILIES:
        raise UserError(
            f"the scheduler {name} is not known here: replace it, such as with pipe.scheduler = "
            f"DDIMScheduler.from_config(pipe.scheduler.config); known: {', '.join(_FAMILIES)}"
        )
    if steps < 1 or not 0 <= eta <= 1:
        raise UserError(f"steps must be 1 or more and eta 0 to 1, got {steps} and {eta:g}")
    if eta and name != "DDIMScheduler":
        raise UserError(f"eta {eta:g} is for DDIMScheduler alone, this is {name}")
    config = scheduler.config
    if getattr(config, "thresholding", False):
        raise UserError(f"{name}: thresholding changes x0 by its own quantiles; switch it off")
    kind = getattr(config, "prediction_type", "flow_prediction")
    if kind not in _PREDICTIONS:
        raise UserError(f"{name}: prediction_type {kind!r} is not known here")
    own = copy.deepcopy(scheduler)  # `set_timesteps` changes it
    shift = {} if mu is None else {"mu": mu}
    try:
        own.set_timesteps(steps, **shift)
    except (ValueError, AssertionError) as error:
        raise UserError(f"{name} refuses {steps} steps: {error}") from None
    made = _FAMILIES[name](own, eta)
    start = float(getattr(own, "init_noise_sigma", 1.0))
    return Schedule(name, _PREDICTIONS[kind], tuple(made), start)


def _deviation(level: float, to: float, eta: float) -> float:
    """Of DDIM's noise between two values of alpha^2 (arXiv 2010.02502, eq. 16)."""
    variance = (1 - to) / (1 - level) * (1 - level / to)
    return float(eta * max(variance, 0.0) ** 0.5)


def _ddim(own: Any, eta: float) -> list[Step]:
    levels = own.alphas_cumprod.double()
    made = []
    for timestep in own.timesteps.tolist():
        before = timestep - own.config.num_train_timesteps // own.num_inference_steps
        level = float(levels[timestep])
        to = float(levels[before] if before >= 0 else own.final_alpha_cumprod)
        fresh = _deviation(level, to, eta)
        direction = max(1 - to - fresh**2, 0.0) ** 0.5
        made.append(
            Step(timestep, level**0.5, (1 - level) ** 0.5, to**0.5, direction, fresh)
        )  # fmt: skip
    return made


def _ddpm(own: Any, eta: float) -> list[Step]:
    if own.variance_type not in ("fixed_small", "fixed_small_log", "fixed_large"):
        raise UserError(f"DDPMScheduler: variance_type {own.variance_type!r} is not known here")
    levels = own.alphas_cumprod.double()
    made = []
    for timestep in own.timesteps.tolist():
        before = int(own.previous_timestep(timestep))
        level = float(levels[timestep])
        to = float(levels[before]) if before >= 0 else 1.0
        small = _deviation(level, to, 1.0)
        large = max(1 - level / to, 0.0) ** 0.5
        fresh = large if own.variance_type == "fixed_large" else small
        direction = max(1 - to - small**2, 0.0) ** 0.5
        made.append(
            Step(timestep, level**0.5, (1 - level) ** 0.5, to**0.5, direction,
                 fresh if timestep > 0 else 0.0)
        )  # fmt: skip
    return made


def _euler(own: Any, eta: float) -> list[Step]:
    return _of_sigmas(own, ancestral=False)


def _ancestral(own: Any, eta: float) -> list[Step]:
    return _of_sigmas(own, ancestral=True)


def _of_sigmas(own: Any, ancestral: bool) -> list[Step]:
    sigmas = own.sigmas.double().tolist()
    made = []
    for timestep, sigma, to in zip(own.timesteps.tolist(), sigmas[:-1], sigmas[1:], strict=True):
        fresh = to * max(1 - (to / sigma) ** 2, 0.0) ** 0.5 if ancestral else 0.0
        direction = max(to**2 - fresh**2, 0.0) ** 0.5
        scale = (sigma**2 + 1) ** -0.5
        made.append(Step(timestep, 1.0, sigma, 1.0, direction, fresh, scale))
    return made


def _flow(own: Any, eta: float) -> list[Step]:
    if own.config.invert_sigmas:
        raise UserError("FlowMatchEulerDiscreteScheduler: invert_sigmas is not known here")
    sigmas, noisy = own.sigmas.double().tolist(), own.config.stochastic_sampling
    return [
        Step(timestep, 1 - sigma, sigma, 1 - to, 0.0 if noisy else to, to if noisy else 0.0)
        for timestep, sigma, to in zip(
            own.timesteps.tolist(), sigmas[:-1], sigmas[1:], strict=True
        )
    ]  # fmt: skip


def _multistep(own: Any, eta: float) -> list[Step]:
    config = own.config
    for setting, known in (
        ("algorithm_type", ("dpmsolver++",)),
        ("solver_order", (1, 2)),
        ("solver_type", ("midpoint",)),
        ("variance_type", (None,)),
    ):
        if getattr(config, setting) not in known:
            raise UserError(
                f"DPMSolverMultistepScheduler: {setting} {getattr(config, setting)!r} is not known "
                f"here, only {', '.join(map(str, known))}"
            )
    sigmas, count = own.sigmas.double().tolist(), len(own.timesteps)

    def level(sigma: float) -> tuple[float, float]:
        if config.use_flow_sigmas:
            return 1 - sigma, sigma
        alpha = (sigma**2 + 1) ** -0.5
        return alpha, sigma * alpha

    made = []
    for place, timestep in enumerate(own.timesteps.tolist()):
        (alpha, sigma), (to_alpha, to_sigma) = level(sigmas[place]), level(sigmas[place + 1])
        first = place == count - 1 and (
            config.euler_at_final
            or (config.lower_order_final and count < 15)
            or config.final_sigmas_type == "zero"
        )
        extrapolation = 0.0
        if config.solver_order == 2 and place > 0 and not first:
            # Steps in log(alpha / sigma): this one's over twice the one before.
            ratio = [a / s for a, s in (level(each) for each in sigmas[place - 1 : place + 2])]
            extrapolation = math.log(ratio[2] / ratio[1]) / (2 * math.log(ratio[1] / ratio[0]))
        made.append(Step(timestep, alpha, sigma, to_alpha, to_sigma, extrapolation=extrapolation))
    return made


_FAMILIES: dict[str, Callable[[Any, float], list[Step]]] = {
    "DDIMScheduler": _ddim,
    "DDPMScheduler": _ddpm,
    "EulerDiscreteScheduler": _euler,
    "EulerAncestralDiscreteScheduler": _ancestral,
    "DPMSolverMultistepScheduler": _multistep,
    "FlowMatchEulerDiscreteScheduler": _flow,
}
KNOWN = tuple(_FAMILIES)  # names of schedulers
