"""A small detector that sees objects as points: CenterNet (Zhou et al. 2019, arXiv 1904.07850).

A heat map of centres for each class at a quarter of the resolution, and for each centre a size and
an offset. The losses are the paper's; the network is ours, small enough for tables of many runs on
two cores (0.3 million weights).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ofds.use.nets.detector import Target

STRIDE = 4
OVERLAP = 0.7  # from which the size of a bump follows
ALPHA, BETA = 2, 4  # of the focal loss, equation 1
SIZE_WEIGHT, OFFSET_WEIGHT = 0.5, 1.0  # equation 4; 0.1 there, where objects are ten times larger


class Block(nn.Module):
    """Two 3 x 3 convolutions with batch norm around a shortcut."""

    def __init__(self, before: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = (
            nn.Identity()
            if before == width and stride == 1
            else nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False),
                               nn.BatchNorm2d(width))
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


class CentrePoint(nn.Module):
    """The detector, for images whose sides are multiples of 16.

    Args:
        classes: how many.
        width: channels at a quarter of the resolution; deeper maps have more.
    """

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        self.classes = classes
        deep = width * 3 // 2
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(inplace=True),
        )
        self.quarter = Block(width // 2, width, 2)
        self.eighth = Block(width, deep, 2)
        self.sixteenth = nn.Sequential(Block(deep, 2 * width, 2), Block(2 * width, 2 * width))
        self.up_eighth = nn.Conv2d(2 * width, deep, 1)
        self.up_quarter = nn.Conv2d(deep, width, 1)
        self.merge = Block(width, width)
        centres = nn.Conv2d(width, classes, 1)
        assert centres.bias is not None
        nn.init.constant_(centres.bias, -2.19)  # a chance of 0.1, as in the paper's code
        self.heat = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(inplace=True), centres)
        self.shape = nn.Sequential(  # width and height, then offset, in cells of the map
            nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(inplace=True), nn.Conv2d(width, 4, 1)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the heat map (b, classes, h / 4, w / 4) and shapes (b, 4, h / 4, w / 4)."""
        quarter = self.quarter(self.stem((images - 0.5) * 4))
        eighth = self.eighth(quarter)
        deep = self.up_eighth(self.sixteenth(eighth))
        eighth = eighth + functional.interpolate(deep, scale_factor=2.0)
        x = quarter + functional.interpolate(self.up_quarter(eighth), scale_factor=2.0)
        x = self.merge(x)
        return self.heat(x), self.shape(x)

    def loss(self, images: Tensor, targets: list[Target]) -> Tensor:
        """Penalty-reduced focal loss of the centres and L1 of sizes and offsets, (equations 1-4).

        Each image's terms count by its `weight`; all are divided by the weighted number of objects.
        """
        heat, shape = self(images)
        heat, shape = heat.float(), shape.float()
        b, _, height, width = heat.shape
        weights = torch.stack([t.get("weight", heat.new_ones(())) for t in targets]).to(heat)
        owner = torch.cat([t["labels"].new_full((len(t["labels"]),), i)
                           for i, t in enumerate(targets)])  # fmt: skip
        labels = torch.cat([t["labels"] for t in targets])
        boxes = torch.cat([t["boxes"] for t in targets]) / STRIDE
        sizes = boxes[:, 2:] - boxes[:, :2]
        centres = (boxes[:, 2:] + boxes[:, :2]) / 2
        cells = centres.floor().long()
        cells = torch.minimum(cells.clamp(min=0), cells.new_tensor([width - 1, height - 1]))
        maps = (owner * self.classes + labels)[:, None].expand(-1, height * width)
        truth = heat.new_zeros(b * self.classes, height * width)
        truth.scatter_reduce_(0, maps, bumps(cells, sizes, height, width).flatten(1), "amax")
        truth = truth.view(b, self.classes, height, width)
        learned = torch.stack([_outside(t, heat[0, 0]) for t in targets])[:, None]
        learned = (learned | (truth == 1)) * weights.view(b, 1, 1, 1)

        log_p, log_not = functional.logsigmoid(heat), functional.logsigmoid(-heat)
        p = heat.sigmoid()
        centre = (1 - p) ** ALPHA * log_p
        elsewhere = (1 - truth) ** BETA * p**ALPHA * log_not
        focal = -(torch.where(truth == 1, centre, elsewhere) * learned).sum()
        at = shape[owner, :, cells[:, 1], cells[:, 0]]
        goal = torch.cat([sizes, centres - cells], dim=1)
        apart = (at - goal).abs() * weights[owner, None]
        l1 = SIZE_WEIGHT * apart[:, :2].sum() + OFFSET_WEIGHT * apart[:, 2:].sum()
        return (focal + l1) / weights[owner].sum().clamp(min=1.0)

    def detect(self, images: Tensor, most: int = 100, threshold: float = 0.02) -> list[Target]:
        """Peaks of the heat map, at most 100 an image; a peak is the largest of 3 x 3 cells.

        Besides what every detector gives, `class_scores` (n, classes): of all classes at the peak.
        """
        heat, shape = self(images)
        heat = heat.float().sigmoid()
        peaks = heat * (functional.max_pool2d(heat, 3, 1, 1) == heat)
        b, _, height, width = heat.shape
        scores, places = peaks.flatten(1).topk(min(most, peaks[0].numel()))
        labels, cells = places // (height * width), places % (height * width)
        of_cells = heat.flatten(2).transpose(1, 2)
        at = shape.float().flatten(2).gather(2, cells[:, None].expand(-1, 4, -1)).transpose(1, 2)
        centres = torch.stack([cells % width, cells // width], dim=2) + at[..., 2:]
        half = at[..., :2].clamp(min=0.25) / 2
        boxes = torch.cat([centres - half, centres + half], dim=2) * STRIDE
        limit = boxes.new_tensor([images.shape[3], images.shape[2]] * 2)
        boxes = torch.minimum(boxes.clamp(min=0), limit)
        kept = scores > threshold
        return [
            {
                "boxes": boxes[i, kept[i]],
                "labels": labels[i, kept[i]],
                "scores": scores[i, kept[i]],
                "class_scores": of_cells[i, cells[i, kept[i]]],
            }
            for i in range(b)
        ]


def bumps(cells: Tensor, sizes: Tensor, height: int, width: int) -> Tensor:
    """Gaussians around centres, (n, height, width), 1 at the centre's cell, a third of the radius
    wide."""
    sigma = ((2 * radius(sizes).floor() + 1) / 6)[:, None]
    rows = torch.arange(height, device=cells.device) - cells[:, 1:]
    columns = torch.arange(width, device=cells.device) - cells[:, :1]
    down = torch.exp(-(rows**2) / (2 * sigma**2))
    right = torch.exp(-(columns**2) / (2 * sigma**2))
    found = down[:, :, None] * right[:, None, :]
    return torch.where(found < 1e-4, 0.0, found)


def radius(sizes: Tensor) -> Tensor:
    """Of the bump of a box (n, 2), in cells, (n,), before it is rounded down.

    As CornerNet's code has it (arXiv 1808.01244), which CenterNet took over: of its three cases
    the one that counts, 2.8 times as large as the corners may really move for an overlap of 0.7.
    """
    w, h = sizes.unbind(1)
    total = w + h
    moved = (total**2 + 4 * w * h * (1 - OVERLAP) / OVERLAP).sqrt() - total
    return OVERLAP * moved


def _outside(target: Target, like: Tensor) -> Tensor:
    """Cells of a map like (h, w) that lie in no ignored box."""
    free = torch.ones_like(like, dtype=torch.bool)
    ignored = target.get("ignored")
    if ignored is None or not len(ignored):
        return free
    x, y = (torch.arange(n, device=like.device) + 0.5 for n in (like.shape[1], like.shape[0]))
    left, top, right, bottom = (ignored / STRIDE)[..., None].unbind(1)
    inside = ((y > top) & (y < bottom))[:, :, None] & ((x > left) & (x < right))[:, None, :]
    return ~inside.any(dim=0)
