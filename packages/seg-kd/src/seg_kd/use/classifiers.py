"""Which convolution of a network makes its class scores, and what it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class Classifier:
    """A 1x1 convolution to the classes: its name, what it made, and the place of what it read."""

    name: str
    scores: Tensor
    place: str
    feature: Tensor


@contextmanager
def classifiers(network: nn.Module, classes: int) -> Iterator[list[Classifier]]:
    """Note the 1x1 convolutions to the classes that run meanwhile."""
    found: list[Classifier] = []
    dropped: dict[int, str] = {}  # where the output of a dropout lies: its name

    def made(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            before = dropped.get(inputs[0].data_ptr(), name)
            found.append(Classifier(name, output, f"{before}:in", inputs[0]))

        return hook

    def passed(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            dropped[output.data_ptr()] = name  # not training: it is what was given

        return hook

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if isinstance(module, nn.Dropout | nn.Dropout2d):
                hooks.callback(module.register_forward_hook(passed(name)).remove)
            elif isinstance(module, nn.Conv2d) and (
                (module.out_channels, *module.kernel_size) == (classes, 1, 1)
            ):
                hooks.callback(module.register_forward_hook(made(name)).remove)
        yield found


def difference(scores: Tensor, main: Tensor) -> float:
    """The largest between a map, resized as one does, and another, as a share of its largest."""
    size, scale = (main.shape[-2], main.shape[-1]), float(main.abs().max().clamp(min=1e-6))
    resized = [
        F.interpolate(scores, size, mode="bilinear", align_corners=corners)
        for corners in (False, True)
    ]
    return min(float((each - main).abs().max()) for each in resized) / scale
