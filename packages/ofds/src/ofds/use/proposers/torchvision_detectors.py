"""Any detector of torchvision.models.detection, with weights from a file or torch's own cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ofds.use.nets.detector import as_tensor
from ofds.use.proposers.backbones import CELLS, cached
from ofds.use.proposers.hub import Machine
from ofds.use.proposers.interface import Detections, Picture
from ofds.use.proposers.sam2 import run_lengths
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.weights import load_strictly, read_weights

THRESHOLD = 0.3  # ours


class TorchvisionDetector:
    """A detector with a fixed list of classes, of which the wanted ones are kept.

    Args:
        name: in torchvision.
        weights: file; empty for those on COCO, in torch's own cache.
        own: what the model's outputs mean, in their order, without the background; empty for the
            91 categories of COCO.
        classes: that are wanted.
        machine: that it runs on.

    Raises:
        UserError: no such model, no weights, or a wanted class that the model has not.
    """

    threshold = THRESHOLD

    def __init__(
        self, name: str, weights: str, own: Sequence[str], classes: Sequence[str], machine: Machine
    ) -> None:
        from torchvision import models

        known = models.list_models(module=models.detection)
        if name not in known:
            raise UserError(f"--detector torchvision:{name}: no such model; {', '.join(known)}")
        default = models.get_model_weights(name).DEFAULT
        listed = ["__background__", *own] if own else list(default.meta["categories"])
        if missing := [each for each in classes if each not in listed[1:]]:
            hint = "" if own else "; --labels FILE names the outputs of a model of yours, in order"
            raise UserError(f"the detector has no class {missing[0]!r}{hint}")
        path = Path(weights) if weights else cached(default.url, name)
        self.model: Any = models.get_model(
            name, weights=None, weights_backbone=None, num_classes=len(listed)
        )
        load_strictly(self.model, read_weights(path), str(path))
        self.model.to(machine.device).eval()
        self.machine, self.classes = machine, len(classes)
        self.column = torch.full((len(listed),), -1)
        for place, each in enumerate(classes):
            self.column[listed.index(each, 1)] = place
        self._seen: dict[str, Any] = {}
        self.model.backbone.register_forward_hook(lambda _, a, out: self._seen.update(maps=out))
        self.model.transform.register_forward_hook(
            lambda _, a, out: self._seen.update(sizes=out[0].image_sizes, padded=out[0].tensors)
        )
        self.about = {"model": f"torchvision:{name}", "sha256": sha256_file(path),
                      "preprocessing": repr(self.model.transform)}  # fmt: skip

    def detect(self, images: Sequence[Picture], least: float) -> list[Detections]:
        """See `Detector`; the model's own threshold (0.05 as a rule) and suppression come first."""
        given = [as_tensor(image[None])[0].to(self.machine.device) for image in images]
        with self.machine.running():
            results = self.model(given)
            kept = [
                (each["scores"] >= least) & (self.column.to(each["labels"])[each["labels"]] >= 0)
                for each in results
            ]
            boxes = [each["boxes"][own] for each, own in zip(results, kept, strict=True)]
            features = self._pooled(images, boxes)
        found = []
        for place, (each, own) in enumerate(zip(results, kept, strict=True)):
            label = self.column.to(each["labels"])[each["labels"][own]].cpu().numpy()
            scores = np.zeros((len(label), self.classes), np.float32)
            scores[np.arange(len(label)), label] = self.machine.numpy(each["scores"][own])
            masks = None
            if "masks" in each:
                drawn = each["masks"][own][:, 0].float() - 0.5
                masks = run_lengths(drawn, images[place].shape[:2])
            where = self.machine.numpy(boxes[place])
            found.append(Detections(where, scores, self.machine.numpy(features[place]), masks))
        return found

    def _pooled(self, images: Sequence[Picture], boxes: Sequence[Tensor]) -> list[Tensor]:
        """Features of the boxes: of the box head where there is one, else of the finest map."""
        from torchvision.ops import roi_align

        sizes, maps = self._seen["sizes"], self._seen["maps"]
        scaled = []
        for image, own, size in zip(images, boxes, sizes, strict=True):
            height, width = image.shape[:2]
            scaled.append(own.float() * own.new_tensor([size[1] / width, size[0] / height] * 2))
        heads = getattr(self.model, "roi_heads", None)
        if heads is not None:
            found = heads.box_head(heads.box_roi_pool(maps, scaled, sizes))
        else:
            first = (maps if isinstance(maps, Tensor) else next(iter(maps.values()))).float()
            scale = first.shape[3] / self._seen["padded"].shape[3]
            found = roi_align(first, scaled, CELLS, scale, 2, aligned=True).mean(dim=(2, 3))
        return list(found.split([len(own) for own in boxes]))
