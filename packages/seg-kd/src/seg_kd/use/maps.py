"""What networks of any library return, as maps (B, C, h, w)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from repro_shared.runtime.errors import UserError

BEFORE = 8  # tokens, at most, that stand before those of the image: classes, registers


def score_map(output: Any, whose: str) -> Tensor:
    """The class scores in a network's answer.

    Of a dictionary (torchvision, transformers) they are `out` or `logits`, of a tuple the first.

    Raises:
        UserError: no such map: masks, boxes, one vector an image.
    """
    found = output
    if isinstance(found, Mapping):
        found = next((found[name] for name in ("out", "logits") if name in found), None)
    elif isinstance(found, list | tuple) and found:
        found = found[0]
    if not isinstance(found, Tensor) or found.ndim != 4:
        raise UserError(
            f"{whose} gives no map of class scores (B, K, h, w): what classifies masks or whole "
            "images can neither teach nor be taught; name the module that does with scores=..."
        )
    return found


def as_map(found: Any, image: tuple[int, int], place: str) -> Tensor:
    """What a module was given or made as a map; tokens (B, N, C) in a grid of the image's form.

    Args:
        found: a tensor, or several of which the last is meant (the stages of an encoder).
        image: height and width of the images.
        place: where it was, for errors.

    Raises:
        UserError: neither a map nor tokens that make one.
    """
    if isinstance(found, Mapping):
        found = found.get("last_hidden_state", next(iter(found.values()), None))
    while isinstance(found, list | tuple) and found:
        found = found[-1]
    if isinstance(found, Tensor) and found.ndim == 4:
        return found
    if isinstance(found, Tensor) and found.ndim == 3:
        grids = [
            (abs(count / height - image[1] * height / image[0]), before, height)
            for before in range(min(BEFORE + 1, found.shape[1]))
            for count in (found.shape[1] - before,)
            for height in (round((count * image[0] / image[1]) ** 0.5),)
            if height and count % height == 0
        ]
        off, before, height = min(grids, default=(2.0, 0, 0))
        if off <= 1:  # a row or a column that padding added
            return found[:, before:].mT.unflatten(2, (height, -1))
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    raise UserError(f"{place} gives no map of features (B, C, h, w): {shape}")


@dataclass
class SeenNetwork:
    """What went through a `network.Segmentor` in its last pass; see `method.terms.Maps`."""

    model: Any
    output: Any = None
    image: tuple[int, int] = (0, 0)
    maps: dict[str, Any] = field(default_factory=dict)

    def given(self, name: str) -> Callable[..., None]:
        """A hook that notes what a module is given."""

        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            self.maps[name] = inputs[0]

        return hook

    def made(self, name: str) -> Callable[..., None]:
        """A hook that notes what a module returns."""

        def hook(_: nn.Module, __: Any, output: Any) -> None:
            self.maps[name] = output

        return hook

    def answered(self, _: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """A hook that notes the answer."""
        self.image, self.output = tuple(inputs[0].shape[-2:]), output

    def logits(self) -> Tensor:
        """Class scores."""
        if "scores" in self.maps:
            return as_map(self.maps["scores"], self.image, self.model.places["scores"])
        return score_map(self.output, self.model.name)

    def layer(self, name: str) -> Tensor:
        """A feature; UserError where the network has no place for it."""
        place = name.replace("-", "_")
        if place not in self.maps:
            raise self.model.lacks(name)
        return as_map(self.maps[place], self.image, self.model.places[place])

    def auxiliary(self) -> Tensor:
        """UserError: a network of one's own has no auxiliary head that is distilled."""
        raise UserError(f"{self.model.name} has no auxiliary head that is distilled")
