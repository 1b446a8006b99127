"""One form for all samplers: x = alpha x0 + sigma noise, and a step from one level to the next.

DDIM, DDPM, Euler, Euler ancestral, DPM-Solver++ 2M and flow matching differ in their levels alone:
each step goes to `to_alpha x0 + direction noise + fresh new_noise`, where the noise is what x says
it is, (x - alpha x0) / sigma. Nothing is clipped: a clipped prediction has no gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from repro_shared.runtime.errors import UserError

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]


@dataclass(frozen=True)
class Step:
    """One evaluation of the network and the move behind it.

    Attributes:
        timestep: what the network is told.
        alpha, sigma: of x before.
        to_alpha: of x after.
        direction: times the noise in x, after; sqrt(to_sigma^2 - fresh^2) but for DDPM with the
            large variance.
        fresh: times new noise, after.
        scale: the network sees `scale * x`.
        extrapolation: DPM-Solver++ 2M goes on from x0 + extrapolation (x0 - the x0 before)
            (arXiv 2211.01095, algorithm 2); 0 elsewhere.
    """

    timestep: float
    alpha: float
    sigma: float
    to_alpha: float
    direction: float
    fresh: float = 0.0
    scale: float = 1.0
    extrapolation: float = 0.0

    @property
    def doubt(self) -> float:
        """Deviation of x0 given x for data of unit variance, 0 to 1."""
        return self.sigma / (self.alpha**2 + self.sigma**2) ** 0.5


@dataclass(frozen=True)
class Schedule:
    """All steps of a sampler.

    Attributes:
        family: name of the sampler, for records.
        prediction: what the network gives.
        steps: in the order in which they are made.
        start: deviation of x before the first step, of noise alone.
    """

    family: str
    prediction: Prediction
    steps: tuple[Step, ...]
    start: float = 1.0

    def __post_init__(self) -> None:
        if not self.steps:
            raise UserError("a sampler needs at least one step")
        for step in self.steps:
            if not step.sigma > 0:
                raise UserError(f"timestep {step.timestep:g} has no noise: nothing to predict")
            share = step.alpha / (step.alpha**2 + step.sigma**2) ** 0.5
            if self.prediction == "epsilon" and share < LEAST_SIGNAL:
                raise UserError(
                    f"{self.family}: at timestep {step.timestep:g} the signal's share is "
                    f"{share:.1e} (a schedule with zero signal-to-noise ratio), and x0 does not "
                    "follow from a predicted noise; use a model with v_prediction, or another "
                    "spacing of timesteps"
                )

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def blind(self) -> int:
        """Steps, the first ones, in which x says nothing of x0: no engine guides them by x0."""
        return sum(step.alpha < LEAST_ALPHA for step in self.steps)

    def last(self, strength: float) -> Schedule:
        """The last `strength` of the steps, for noised images (SDEdit, arXiv 2108.01073).

        Raises:
            UserError: no step is left.
        """
        kept = int(len(self) * strength) if 0 <= strength <= 1 else 0
        if kept < 1:
            least = math.ceil(1000 / len(self)) / 1000  # rounded up, so that it leaves a step
            raise UserError(
                f"{len(self)} steps x strength {strength:g} leave no step: strength must be from "
                f"{least:g} to 1"
            )
        first, *others = self.steps[-kept:]
        return replace(self, steps=(replace(first, extrapolation=0.0), *others))


LEAST_ALPHA = 1e-3  # below it x says nothing of x0
LEAST_SIGNAL = 1e-3  # an error of the predicted noise is a thousandfold in x0


def clean(step: Step, prediction: Prediction, x: Tensor, output: Tensor) -> Tensor:
    """The predicted x0, not clipped.

    Args:
        step: level of x.
        prediction: what `output` is. `epsilon`: the noise (arXiv 2006.11239, eq. 15);
            `v_prediction`: alpha noise - sigma x0 of x at unit variance (arXiv 2202.00512,
            appendix D); `sample`: x0; `flow`: noise - x0 (arXiv 2210.02747).
        x: (n, ...).
        output: of the network, (n, ...).
    """
    if prediction == "epsilon":
        return (x - step.sigma * output) / step.alpha
    if prediction == "v_prediction":
        length = (step.alpha**2 + step.sigma**2) ** 0.5
        return (step.alpha / length * x - step.sigma * output) / length
    if prediction == "flow":
        return (x - step.sigma * output) / (step.alpha + step.sigma)
    return output


def move(step: Step, x: Tensor, x0: Tensor, before: Tensor | None, noise: Tensor | None) -> Tensor:
    """x at the next level.

    Args:
        step: where x is and where it goes.
        x: (n, ...).
        x0: predicted for it, perhaps guided.
        before: x0 of the step before; None for the first.
        noise: new noise of deviation 1; None where `step.fresh` is 0.
    """
    if step.extrapolation and before is not None:
        x0 = x0 + step.extrapolation * (x0 - before)
    made = step.to_alpha * x0 + step.direction * ((x - step.alpha * x0) / step.sigma)
    return made if noise is None else made + step.fresh * noise
