"""Small convolutional classifiers of 32-pixel pictures: students, teachers and judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from cg_augment.use.classifiers import Classifier
from repro_shared.runtime.rng import isolated_rng
from repro_shared.runtime.weights import load_strictly, read_weights


@dataclass(frozen=True)
class Net:
    """How large a classifier is.

    Attributes:
        widths: channels behind each convolution of 3 x 3.
        strides: of each.
    """

    widths: tuple[int, ...]  # no default: a key leaves out what is at its default
    strides: tuple[int, ...]

    def make(self, classes: Sequence[str], size: int, seed: int, name: str) -> Classifier:
        """With torch's random weights, the same for a seed."""
        with isolated_rng(seed):
            return Classifier(
                Convolutions(self), nn.Linear(self.widths[-1], len(classes)), classes, size,
                name=name,
            )  # fmt: skip

    def load(self, classes: Sequence[str], size: int, file: Path, name: str) -> Classifier:
        """Of a file of weights, frozen; UserError for those of another network."""
        made = self.make(classes, size, 0, name)
        load_strictly(made, read_weights(file), str(file))
        return made.frozen()


STUDENT = Net((20, 40, 80), (2, 2, 1))
TEACHER = Net((24, 48, 64, 64), (2, 1, 2, 1))
JUDGE = Net((32, 48, 96), (2, 1, 2))


class Convolutions(nn.Module):
    """Normalised pictures (n, 3, h, w) to features (n, width), the means over all places."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        layers, before = list[nn.Module](), 3
        for width, stride in zip(net.widths, net.strides, strict=True):
            layers += [
                nn.Conv2d(before, width, 3, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            before = width
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Features."""
        made: Tensor = self.layers(images).mean(dim=(2, 3))
        return made
