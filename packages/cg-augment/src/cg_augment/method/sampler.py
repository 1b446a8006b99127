"""A diffusion model as guidance sees it: schedule, network and decoder, all differentiable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from cg_augment.method.noise import Noise
from cg_augment.method.schedule import Schedule, clean, move
from repro_shared.runtime.errors import UserError


class Network(Protocol):
    """The diffusion network with its conditions."""

    def __call__(self, x: Tensor, timestep: float, rows: Tensor) -> Tensor:
        """The output for x (n, ...), whose places among all images are `rows`, int64 (n,)."""
        ...


Decode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Sampler:
    """What engines run.

    Attributes:
        schedule: the steps.
        network: with the conditions of all images.
        shape: of one latent, without the batch.
        decode: latents (n, *shape) to what classifiers take, images (n, 3, h, w) of about 0 to 1,
            not clipped.
        preview: a cheaper decoder for gradients; what is reported is always decoded in full.
        origin: latents (n, *shape) that are noised to begin from; None for noise alone.
        modules: whose weights take no part, so that no memory is kept for their gradients.
        device, dtype: of the latents.
    """

    schedule: Schedule
    network: Network
    shape: tuple[int, ...]
    decode: Decode
    preview: Decode | None = None
    origin: Tensor | None = None
    modules: tuple[nn.Module, ...] = ()
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32

    @property
    def like(self) -> Tensor:
        """An empty latent of the shape, type and device of all."""
        return torch.empty((1, *self.shape), device=self.device, dtype=self.dtype)

    def begin(self, noise: Tensor, rows: Tensor) -> Tensor:
        """x before the first step, of noise (n, *shape) of deviation 1."""
        if self.origin is None:
            return self.schedule.start * noise
        first = self.schedule.steps[0]
        return first.alpha * self.origin[rows].to(noise) + first.sigma * noise

    def predict(self, x: Tensor, place: int, rows: Tensor) -> Tensor:
        """x0 that the network predicts at step `place`."""
        step = self.schedule.steps[place]
        output = self.network(step.scale * x, step.timestep, rows)
        if output.shape != x.shape:
            raise UserError(
                f"the network gives {tuple(output.shape[1:])} for {tuple(x.shape[1:])}: a model "
                "that also predicts the variance, or one for other latents, is not known here"
            )
        return clean(step, self.schedule.prediction, x, output.to(x.dtype))

    def move(
        self, x: Tensor, x0: Tensor, before: Tensor | None, place: int, rows: Tensor, noise: Noise
    ) -> Tensor:
        """x after step `place`."""
        step = self.schedule.steps[place]
        fresh = noise.step(rows, self.like, place) if step.fresh else None
        return move(step, x, x0, before, fresh)

    def sample(self, start: Tensor, rows: Tensor, noise: Noise) -> Tensor:
        """Latents without guidance, from noise (n, *shape)."""
        with torch.no_grad():
            x, before = self.begin(start, rows), None
            for place in range(len(self.schedule)):
                x0 = self.predict(x, place, rows)
                x, before = self.move(x, x0, before, place, rows, noise), x0
        return x


@contextmanager
def frozen(*modules: object) -> Iterator[None]:
    """Inside, these modules are in evaluation mode and their weights need no gradient."""
    with ExitStack() as after:
        for module in modules:
            if not isinstance(module, nn.Module):
                continue
            for own in module.modules():
                after.callback(setattr, own, "training", own.training)
            for weight in module.parameters():
                if weight.requires_grad:
                    after.callback(weight.requires_grad_, True)
            module.eval().requires_grad_(False)
        yield
