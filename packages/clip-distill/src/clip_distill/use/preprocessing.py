"""How a picture becomes what a network takes: size, resizing and normalisation, in one place.

The evaluation transform is open_clip's to the bit: the shorter side is resized with antialiasing by
Pillow, the centre is cut out, and mean and deviation are taken off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Interpolation = Literal["bicubic", "bilinear"]
Resize = Literal["shortest", "squash"]
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Preprocessing:
    """What a network was made for.

    Attributes:
        size: of the square images, in pixels.
        mean, std: of R, G, B on the scale 0 to 1.
        interpolation: of the resizing.
        resize: the shorter side is resized and the centre cut out, or the whole is squeezed.
        shorter: what the shorter side is resized to before the cut; None for the size itself.
    """

    size: int = 224
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    interpolation: Interpolation = "bicubic"
    resize: Resize = "shortest"
    shorter: int | None = None

    def __post_init__(self) -> None:
        if self.size < 1 or len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(f"impossible preprocessing: {self}")
        if self.interpolation not in _FILTERS or self.resize not in ("shortest", "squash"):
            raise ValueError(f"unknown resizing: {self.interpolation}, {self.resize}")
        if self.shorter is not None and (self.shorter < self.size or self.resize == "squash"):
            raise ValueError(f"{self.size} pixels cannot be cut out of {self.shorter}")

    @classmethod
    def read(cls, form: Mapping[str, Any]) -> Preprocessing:
        """From the plain values of a JSON file; ValueError, TypeError or KeyError for others."""
        return cls(
            int(form["size"]),
            tuple(map(float, form["mean"])),
            tuple(map(float, form["std"])),
            form["interpolation"],
            form["resize"],
            form.get("shorter"),
        )

    @property
    def filter(self) -> Image.Resampling:
        """Pillow's."""
        return _FILTERS[self.interpolation]

    def centre(self, picture: Pixels) -> Pixels:
        """The picture (h, w, 3) as evaluation sees it, uint8 (size, size, 3)."""
        image = Image.fromarray(picture)
        if self.resize == "squash":
            return np.asarray(image.resize((self.size, self.size), self.filter))
        width, height = image.size
        short, target = min(width, height), self.shorter or self.size
        # The longer side is cut to a whole number and the centre rounded, as torchvision does.
        wide, high = (
            target if side == short else int(target * side / short) for side in (width, height)
        )
        if (wide, high) != image.size:
            image = image.resize((wide, high), self.filter)
        left, top = round((wide - self.size) / 2.0), round((high - self.size) / 2.0)
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 (b, size, size, 3) to float32 (b, 3, size, size), as the network takes them."""
        scaled = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255
        mean, std = (
            torch.tensor(v, dtype=torch.float32, device=pixels.device)[:, None, None]
            for v in (self.mean, self.std)
        )
        return (scaled - mean) / std

    def __str__(self) -> str:
        mean, std = (", ".join(f"{v:.4g}" for v in each) for each in (self.mean, self.std))
        size = f"{self.size} pixels" + (f" cut from {self.shorter}" if self.shorter else "")
        return f"{size}, {self.resize}, {self.interpolation}, mean {mean}, deviation {std}"
