"""Diffusion models that make pixels: how their channels and their scale are images."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from cg_augment.method.sampler import Decode
from cg_augment.use import networks
from repro_shared.runtime.errors import UserError

SCALE = "pixels.json"  # beside the network: {"scale": 2.0} of latents that reach from -2 to 2


def scale_of(where: Path) -> float:
    """What a folder says of its latents' scale, 1 if nothing; UserError for no number above 0."""
    file = where / SCALE
    try:
        scale = float(json.loads(file.read_text(encoding="utf-8"))["scale"])
    except FileNotFoundError:
        return 1.0
    except (OSError, ValueError, KeyError, TypeError):
        scale = math.nan
    if not 0 < scale < math.inf:
        raise UserError(f'{file}: damaged; it must be {{"scale": a number above 0}}')
    return scale


def pixels_of(unet: Any, scale: float) -> tuple[Decode, int]:
    """Decoder and side of the images of a pixel model.

    One with 3 r^2 channels has pixels of r x r places in its channels, as `pixel_unshuffle` puts
    them there.
    """
    channels, size = int(unet.config.in_channels), unet.config.sample_size
    if not isinstance(size, int):
        raise UserError("the diffusion model does not say the side of its square images")
    factor = round((channels / 3) ** 0.5)
    if channels == 1:
        return lambda x: networks.pixels(x / scale).expand(-1, 3, -1, -1), size
    if channels != 3 * factor**2:
        raise UserError(f"the diffusion model has {channels} channels: no pixels of red green blue")

    def decode(x: Tensor) -> Tensor:
        return networks.pixels((F.pixel_shuffle(x, factor) if factor > 1 else x) / scale)

    return decode, size * factor


def scaled(images: Tensor, scale: float) -> Tensor:
    """Images, 0 to 1, such that twice them less one are latents of this scale."""
    return (scale * (2 * images - 1) + 1) / 2
