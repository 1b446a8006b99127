"""Random views of an image in front of the classifiers, against adversarial gradients.

A gradient that raises the objective of one view by noise that nobody sees does not raise it for
others. DiG-IN (arXiv 2311.17833) has 16 cut-outs with noise of deviation 0.005.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed


@dataclass(frozen=True)
class Views:
    """Square cut-outs, brought back to the image's size, with noise. Each image has its own.

    Attributes:
        count: views of each image; 0 for the image itself.
        smallest: side of the smallest cut-out, as a share of the image's.
        noise: deviation, on the scale 0 to 1.
    """

    count: int = 0
    smallest: float = 0.7
    noise: float = 0.005

    def __post_init__(self) -> None:
        if self.count < 0 or not 0 < self.smallest <= 1 or self.noise < 0:
            raise UserError(f"impossible views: {self}")

    def __bool__(self) -> bool:
        return self.count > 0

    def of(
        self, images: Tensor, rows: Tensor, seeds: tuple[int, ...], place: int, number: int
    ) -> Tensor:
        """View `number` of images (n, c, h, w) at step or round `place`.

        `seeds` are of all images, `rows` the places of these among them.
        """
        if images.ndim != 4:
            raise UserError(f"views are of images; these data have the shape {images.shape[1:]}")
        boxes, noises = [], []
        for row in rows.tolist():
            own = derive_seed(seeds[row], "view", place, number)
            g = torch.Generator().manual_seed(own)
            side, right, down = torch.rand(3, generator=g, dtype=torch.float64).tolist()
            side = self.smallest + (1 - self.smallest) * side
            across, along = ((1 - side) * (2 * each - 1) for each in (right, down))
            boxes.append([[side, 0.0, across], [0.0, side, along]])
            noises.append(torch.randn(images.shape[1:], generator=g))
        grid = F.affine_grid(torch.tensor(boxes).to(images), list(images.shape), False)
        cut = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        return cut + self.noise * torch.stack(noises).to(images)
