"""Features of boxes from any image network of timm, open_clip or torchvision.

Where a network has a map of features, an image goes through it once and every box takes the mean
of its part of the map (RoIAlign, arXiv 1703.06870); else every box is cut out and goes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ofds.use.proposers.crops import AROUND, as_tensor, by_crops
from ofds.use.proposers.hub import Machine, fingerprint, folder_of, loaded
from ofds.use.proposers.interface import Boxes, Floats, Picture
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.weights import load_strictly, read_weights

Regions = Literal["auto", "map", "crops"]
CELLS = 7  # of a box, each way
FREE_SIDE = 640  # for networks that take images of any size
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Net:
    """A network, and how it is to be fed.

    Attributes:
        module: that is moved to the device.
        vectors: from images (n, 3, h, w) to (n, d).
        maps: from images to (n, d, rows, columns); None where it has none.
        side: of the square that it was made for.
        free: takes squares of other sizes as they are.
        normal: mean and deviation of its input, for pixels from 0 to 1.
        sha256: of its weights.
    """

    module: nn.Module
    vectors: Callable[[Tensor], Tensor]
    maps: Callable[[Tensor], Tensor] | None
    side: int
    free: bool
    normal: tuple[Sequence[float], Sequence[float]]
    sha256: str


class Backbone:
    """Pooled regions of a network.

    Args:
        name: `timm:`, `open_clip:` or `torchvision:` and a model: a folder, a name on the hub whose
            files are in its library's cache, or for timm and torchvision a name of theirs.
        weights: a file for a name of theirs; else what is in the library's cache.
        machine: that it runs on.
        side: of the square that images (or crops) are stretched to; 0: the model's own, or 640 for
            maps of networks that take any size.
        regions: of a map, of crops, or of a map where there is one.
    """

    def __init__(
        self, name: str, weights: str, machine: Machine, side: int = 0, regions: Regions = "auto"
    ) -> None:
        library, _, model = name.partition(":")
        if library not in MAKERS or not model:
            raise UserError(f"--features {name}: give one of {', '.join(MAKERS)}, ':' and a model")
        self.net = loaded(name, lambda: MAKERS[library](model, weights, side))
        self.net.module.to(machine.device).eval()
        self.machine = machine
        if regions == "map" and self.net.maps is None:
            raise UserError(f"--features {name}: it has no map of features; use --regions crops")
        self.mapped = regions != "crops" and self.net.maps is not None
        self.side = side or (FREE_SIDE if self.mapped and self.net.free else self.net.side)
        how = (
            f"map, RoIAlign {CELLS} x {CELLS}, mean" if self.mapped else f"crop, {AROUND:g} around"
        )
        self.about = {
            "model": f"{library}:{Path(model).name}",
            "sha256": self.net.sha256,
            "preprocessing": f"{how}; stretched to {self.side} x {self.side}",
            "normal": [list(part) for part in self.net.normal],
        }

    def features(self, images: Sequence[Picture], boxes: Sequence[Boxes]) -> list[Floats]:
        """See `Featurizer`."""
        with self.machine.running():
            if not self.mapped:
                return by_crops(images, boxes, self.side, self._vectors, self.machine)
            return self._of_maps(images, boxes)

    def _vectors(self, crops: Tensor) -> Tensor:
        return self.net.vectors(self._normal(crops))

    def _normal(self, pixels: Tensor) -> Tensor:
        pixels = pixels.to(self.machine.device)
        mean, deviation = (pixels.new_tensor(part).view(3, 1, 1) for part in self.net.normal)
        return (pixels - mean) / deviation

    def _of_maps(self, images: Sequence[Picture], boxes: Sequence[Boxes]) -> list[Floats]:
        from torchvision.ops import roi_align

        assert self.net.maps is not None
        size = (self.side, self.side)
        squares = [
            np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
            for image in images
        ]
        maps = self.net.maps(self._normal(as_tensor(np.stack(squares)))).float()
        where = []
        for image, own in zip(images, boxes, strict=True):
            height, width = image.shape[:2]
            scale = np.array([maps.shape[3] / width, maps.shape[2] / height] * 2, np.float32)
            where.append(torch.from_numpy(own * scale).to(maps.device))
        pooled = roi_align(maps, where, CELLS, 1.0, 2, aligned=True)
        found = self.machine.numpy(pooled.mean(dim=(2, 3)))
        return np.split(found, np.cumsum([len(own) for own in boxes])[:-1])


def _timm(name: str, weights: str, side: int) -> Net:
    import timm

    model: Any
    if timm.is_model(name) and weights:
        model = timm.create_model(name, pretrained=False)
        load_strictly(model, read_weights(weights), weights)
        digest = sha256_file(weights)
    else:
        known: Any = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
        folder = folder_of((known and known.hf_hub_id) or name, "--features timm:")
        model = timm.create_model(f"local-dir:{folder}", pretrained=True)
        digest = fingerprint(folder)
    config: Any = model.pretrained_cfg
    free = not config.get("fixed_input_size", False)
    if side and not free:
        model.set_input_size((side, side))
    maps = None
    if hasattr(model, "forward_intermediates"):

        def maps(x: Tensor) -> Tensor:
            found = model.forward_intermediates(
                x, indices=1, intermediates_only=True, output_fmt="NCHW", norm=True
            )
            return found[-1]

    return Net(
        model,
        lambda x: model.forward_head(model.forward_features(x), pre_logits=True),
        maps,
        config["input_size"][-1],
        free,
        (config["mean"], config["std"]),
        digest,
    )


def _open_clip(name: str, weights: str, side: int) -> Net:
    import open_clip

    if weights or name in open_clip.list_models():
        raise UserError(
            f"--features open_clip:{name}: give the model's folder or its name on the hub, whose "
            "open_clip_config.json says how images are prepared"
        )
    folder = folder_of(name, "--features open_clip:")
    model: Any = open_clip.create_model(
        f"local-dir:{folder}", require_pretrained=True, pretrained_text=False
    )
    prepared = open_clip.get_model_preprocess_cfg(model)
    size = prepared["size"]
    size = size[0] if isinstance(size, tuple | list) else size
    if side not in (0, size):
        raise UserError(f"--side {side}: open_clip:{name} takes images of {size} pixels")

    def maps(x: Tensor) -> Tensor:
        found = model.visual.forward_intermediates(
            x, indices=1, intermediates_only=True, output_fmt="NCHW", normalize_intermediates=True
        )
        return found["image_intermediates"][-1]

    normal = (prepared["mean"], prepared["std"])
    return Net(model, model.encode_image, maps, size, False, normal, fingerprint(folder))


def _torchvision(name: str, weights: str, side: int) -> Net:
    from torchvision import models

    if name not in models.list_models(module=models):
        raise UserError(f"--features torchvision:{name}: no such image network of torchvision")
    path = Path(weights) if weights else cached(models.get_model_weights(name).DEFAULT.url, name)
    model = models.get_model(name, weights=None)
    load_strictly(model, read_weights(path), str(path))
    size = models.get_model_weights(name).DEFAULT.transforms().crop_size[0]
    *_, last = (each for each in model.modules() if isinstance(each, nn.Linear))
    taken: dict[str, Tensor] = {}
    last.register_forward_pre_hook(lambda _, given: taken.update(vector=given[0]))
    body = getattr(model, "layer4", None) or getattr(model, "features", None)

    def vectors(x: Tensor) -> Tensor:
        model(x)
        return taken["vector"]

    maps = None
    if body is not None:
        last_axis = hasattr(model, "permute")  # Swin's maps have the channels behind
        body.register_forward_hook(lambda _, given, found: taken.update(map=found))

        def maps(x: Tensor) -> Tensor:
            model(x)
            return taken["map"].permute(0, 3, 1, 2) if last_axis else taken["map"]

    return Net(model, vectors, maps, size, body is not None, IMAGENET, sha256_file(path))


def cached(url: str, name: str) -> Path:
    """Torchvision's weights in torch's own cache; UserError where they are not."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not path.is_file():
        raise UserError(
            f"torchvision:{name}: no weights in {path.parent}; nothing is downloaded here: put "
            f"{path.name} there, or name a file with its weights"
        )
    return path


MAKERS = {"timm": _timm, "open_clip": _open_clip, "torchvision": _torchvision}
