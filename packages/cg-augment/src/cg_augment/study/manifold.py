"""How far generated images lie from what the diffusion model knows, without any classifier.

Guidance that fools teacher and student leaves two traces that no classifier has to see: pixels that
are driven to the ends of their range, and an image that the diffusion model itself denoises badly.
Both are measured against real pictures of all groups (ours).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cg_augment.study.generator import folded, scheduler
from cg_augment.use.pictures import Pictures

LEVELS = (100, 300, 500)  # of 1,000 timesteps: little noise, and outlines still to be seen
QUANTILE = 0.99  # of real pictures' errors; above it an image counts as off the manifold
REAL = 200  # pictures that are compared with


def arrays(pictures: Pictures, count: int | None = None) -> NDArray[np.uint8]:
    """Pixels uint8 (n, h, w, 3) of the first pictures."""
    return np.stack([pictures.read(i) for i in range(len(pictures))[:count]])


@torch.no_grad()
def denoising_error(
    network: Any, pixels: NDArray[np.uint8], labels: NDArray[np.int64], device: str = "cpu"
) -> Tensor:
    """Mean squared error of v (arXiv 2202.00512) of each picture (n,), over `LEVELS`.

    Args:
        network: that predicts v of folded pictures, with their classes.
        pixels: uint8 (n, h, w, 3).
        labels: (n,).
        device: cpu or cuda. Picture k has the same noise in every set.
    """
    levels, found = scheduler().alphas_cumprod, list[Tensor]()
    network.to(device).eval()
    g = torch.Generator().manual_seed(0)
    for first in range(0, len(pixels), 64):
        part = slice(first, first + 64)
        images = torch.from_numpy(pixels[part]).permute(0, 3, 1, 2).float() / 255
        x0, kind = folded(images), torch.from_numpy(labels[part]).to(device)
        errors = torch.zeros(len(x0))
        for level in LEVELS:
            alpha, sigma = levels[level].sqrt(), (1 - levels[level]).sqrt()
            noise = torch.randn(x0.shape, generator=g)
            times = torch.full((len(x0),), level, device=device)
            x = (alpha * x0 + sigma * noise).to(device)
            v = network(x, times, class_labels=kind, return_dict=False)[0].float().cpu()
            errors += (v - (alpha * noise - sigma * x0)).square().mean(dim=(1, 2, 3))
        found.append(errors / len(LEVELS))
    return torch.cat(found)


def saturated(pixels: NDArray[np.uint8]) -> float:
    """Share of values that are at an end of their range, in percent."""
    return 100 * float(((pixels == 0) | (pixels == 255)).mean())


def off_manifold(made: Pictures, real: Pictures, network: Any, device: str) -> dict[str, float]:
    """Of generated images, beside real pictures of all groups: percent, and a ratio of errors."""
    own, theirs = arrays(made), arrays(real, REAL)
    errors, reference = (
        denoising_error(network, pixels, np.asarray(pictures.targets)[: len(pixels)], device)
        for pixels, pictures in ((own, made), (theirs, real))
    )
    limit = reference.quantile(QUANTILE)
    return {
        "off": 100 * float((errors > limit).double().mean()),
        "error": float(errors.mean() / reference.mean()),
        "saturated": saturated(own),
        "saturated-real": saturated(theirs),
    }
