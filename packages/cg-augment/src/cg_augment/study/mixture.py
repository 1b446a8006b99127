"""A world whose diffusion model is known exactly: a mixture of Gaussians in 20 dimensions (ours).

The class is the parity of three bits, which lie along three directions: hard to learn, four
clusters a class. A spurious direction has the side of the class in the student's training data, and
in the generator's pool with the probability `share`. All directions are rotated, so that no single
coordinate gives anything away. The denoiser of every sampler follows from the mixture in closed
form, and so do the true conditional, a robust teacher and the exact error of any student.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cg_augment.method.sampler import Sampler
from cg_augment.method.schedule import Schedule

Aligned = Literal["aligned", "conflicting", "any"]
BITS = 3


@dataclass(frozen=True)
class Mixture:
    """The world.

    Attributes:
        share: of aligned points in the generator's pool; 1 has no minority, 0.5 is balanced.
        dimensions: of a point; three bits, the spurious direction, and noise.
        core: distance of a bit's two sides from 0.
        spurious: distance of the spurious direction's two sides from 0.
        within: deviation of every cluster in every direction.
        seed: of the rotation.
    """

    share: float = 0.98
    dimensions: int = 20
    core: float = 1.6
    spurious: float = 4.0
    within: float = 0.6
    seed: int = 0

    @cached_property
    def rotation(self) -> Tensor:
        """Orthogonal (dimensions, dimensions), float64; rows are the directions."""
        g = np.random.default_rng([self.seed, 0])
        q, r = np.linalg.qr(g.normal(size=(self.dimensions, self.dimensions)))
        return torch.from_numpy(q * np.sign(np.diag(r)))

    @cached_property
    def clusters(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means (16, dimensions) float64, classes and sides (16,), 0 or 1."""
        corners = torch.tensor(list(product((0, 1), repeat=BITS + 1)))
        bits, side = corners[:, :BITS], corners[:, BITS]
        own = torch.zeros(len(corners), self.dimensions, dtype=torch.float64)
        own[:, :BITS] = self.core * (2 * bits - 1)
        own[:, BITS] = self.spurious * (2 * side - 1)
        return own @ self.rotation, bits.sum(dim=1) % 2, side

    def weights(self, share: float) -> Tensor:
        """Probability of each cluster within its class (16,)."""
        _, label, side = self.clusters
        own = torch.where(label == side, share, 1 - share).double()
        return own / 2 ** (BITS - 1)

    def draw(
        self, labels: Tensor, share: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Points (n, dimensions) float32 of these classes, and whether they are aligned, bool."""
        means, label, side = self.clusters
        chance = self.weights(share)[None] * (label[None] == labels[:, None])
        chosen = torch.multinomial(chance, 1, generator=generator)[:, 0]
        noise = torch.randn(
            len(labels), self.dimensions, generator=generator, dtype=torch.float64
        )  # fmt: skip
        points = means[chosen] + self.within * noise
        return points.float(), label[chosen] == side[chosen]

    def aligned(self, points: Tensor, labels: Tensor) -> Tensor:
        """Whether the spurious direction has the side of the class, bool (n,)."""
        side = points.double() @ self.rotation[BITS] > 0
        return side == (labels == 1)

    def believable(self, points: Tensor, labels: Tensor, quantile: float = 0.999) -> Tensor:
        """Whether a cluster of the class, aligned or not, has this quantile of its points nearer.

        The judge of validity: it knows neither teacher nor student. bool (n,).
        """
        means, label, _ = self.clusters
        distance = (points.double()[:, None] - means).square().sum(dim=2) / self.within**2
        nearest = distance.masked_fill(label[None] != labels[:, None], torch.inf).amin(dim=1)
        from scipy.stats import chi2

        return nearest <= float(chi2.ppf(quantile, self.dimensions))

    def logits(self, points: Tensor, sharpness: float = 1.0) -> Tensor:
        """Logarithms of the classes' densities where both sides are as likely (n, 2).

        With `sharpness` 1 the softmax is the true conditional at test time; the robust teacher is
        a sharper one.
        """
        means, label, _ = self.clusters
        distance = (points.double()[:, None] - means).square().sum(dim=2)
        logs = -distance / (2 * self.within**2)
        found = torch.stack([logs[:, label == each].logsumexp(dim=1) for each in (0, 1)], dim=1)
        return (sharpness * found).to(points.dtype)

    def biased(self, points: Tensor, steepness: float = 2.0) -> Tensor:
        """Logits of a student that goes by the spurious direction alone (n, 2)."""
        side = points.double() @ self.rotation[BITS]
        return (steepness * torch.stack([-side, side], dim=1)).to(points.dtype)

    def denoise(self, x: Tensor, alpha: float, sigma: float, labels: Tensor) -> Tensor:
        """E[x0 | x, label] for x = alpha x0 + sigma noise, (n, dimensions)."""
        means, label, _ = (each.to(x.device) for each in self.clusters)
        means = means.to(x.dtype)
        spread = alpha**2 * self.within**2 + sigma**2
        rest = x[:, None] - alpha * means
        own = label[None] == labels[:, None].to(x.device)
        logs = self.weights(self.share).to(x).log() - rest.square().sum(dim=2) / (2 * spread)
        chance = logs.masked_fill(~own, -torch.inf).softmax(dim=1)
        inner = means + alpha * self.within**2 / spread * rest
        return (chance[:, :, None] * inner).sum(dim=1)

    def sampler(
        self, schedule: Schedule, labels: Tensor, dtype: torch.dtype = torch.float32
    ) -> Sampler:
        """The exact generator of these classes, for any schedule."""
        network = ExactNetwork(self, schedule, labels)
        shape = (self.dimensions,)
        return Sampler(schedule, network, shape, decode=lambda latents: latents, dtype=dtype)


@dataclass(frozen=True)
class ExactNetwork:
    """The output that a perfect network of the schedule's prediction gives."""

    world: Mixture
    schedule: Schedule
    labels: Tensor

    @cached_property
    def levels(self) -> dict[float, tuple[float, float, float]]:
        """Alpha, sigma and scale by timestep."""
        return {s.timestep: (s.alpha, s.sigma, s.scale) for s in self.schedule.steps}

    def __call__(self, x: Tensor, timestep: float, rows: Tensor) -> Tensor:
        """Of points (n, dimensions), scaled as the network sees them."""
        alpha, sigma, scale = self.levels[timestep]
        x = x / scale
        x0 = self.world.denoise(x, alpha, sigma, self.labels[rows])
        noise = (x - alpha * x0) / sigma
        if self.schedule.prediction == "epsilon":
            return noise
        if self.schedule.prediction == "v_prediction":
            return (alpha * noise - sigma * x0) / (alpha**2 + sigma**2) ** 0.5
        return noise - x0 if self.schedule.prediction == "flow" else x0
