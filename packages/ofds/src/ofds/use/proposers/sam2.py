"""SAM 2 (arXiv 2408.00714) of transformers: masks from boxes, and what its decoder knows of them.

The feature of an object is the output of the mask decoder's token for single masks, which the
model does not return: a forward hook takes it. It is not the object pointer, a projection of that
token that only the video model has weights for. Where a single mask is unstable the library
takes one of three others; the token stays the first one, so that features can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_masks
from torch import Tensor

from ofds.use.proposers.hub import Machine, fingerprint, prepared, pretrained, processor
from ofds.use.proposers.interface import Boxes, Floats, Outlines, Picture

TOKENS = 2  # place of the tokens in the mask decoder's output
AT_ONCE = 64  # boxes that are decoded together
PIXELS = 1 << 26  # of masks that are enlarged together: 256 MiB


class Sam2:
    """Outlines boxes.

    Args:
        folder: of the model, for images or for videos (its image part is taken).
        machine: that it runs on.
    """

    def __init__(self, folder: Path, machine: Machine) -> None:
        from transformers import Sam2Model, Sam2Processor

        self.machine = machine
        self.processor = processor(Sam2Processor, folder)
        self.model = pretrained(Sam2Model, folder, machine)
        self._taken: Tensor | None = None
        self.model.mask_decoder.register_forward_hook(self._take)
        self.width: int = self.model.mask_decoder.hidden_size
        self.about = {
            "model": "sam2",
            "sha256": fingerprint(folder),
            "feature": "token of the mask decoder",
            "preprocessing": prepared(self.processor.image_processor),
        }

    def _take(self, module: Any, given: Any, output: Any) -> None:
        self._taken = output[TOKENS]

    def outline(self, images: Sequence[Picture], boxes: Sequence[Boxes]) -> list[Outlines]:
        """See `Masker`; images are encoded together, boxes decoded image by image.

        The library refuses a batch with different numbers of boxes; an image without any is not
        encoded at all.
        """
        found = [Outlines((), np.zeros((0, self.width), np.float32)) for _ in images]
        some = [place for place, own in enumerate(boxes) if len(own)]
        if not some:
            return found
        pixels = self.processor.image_processor(
            images=[images[place] for place in some],
            input_data_format="channels_last",
            return_tensors="pt",
        )["pixel_values"]
        with self.machine.running():
            maps = self.model.get_image_embeddings(pixels.to(self.machine.device))
            for row, place in enumerate(some):
                size, own = images[place].shape[:2], [each[row : row + 1] for each in maps]
                parts = [
                    self._decoded(own, boxes[place][start : start + AT_ONCE], size)
                    for start in range(0, len(boxes[place]), AT_ONCE)
                ]
                masks = tuple(mask for part, _ in parts for mask in part)
                found[place] = Outlines(masks, np.concatenate([tokens for _, tokens in parts]))
        return found

    def features(self, images: Sequence[Picture], boxes: Sequence[Boxes]) -> list[Floats]:
        """The tokens alone."""
        return [each.features for each in self.outline(images, boxes)]

    def _decoded(
        self, maps: list[Tensor], boxes: Boxes, size: tuple[int, ...]
    ) -> tuple[tuple[bytes, ...], Floats]:
        given = self.processor(
            original_sizes=[list(size)], input_boxes=[boxes.tolist()], return_tensors="pt"
        )["input_boxes"].to(self.machine.device)
        out = self.model(image_embeddings=maps, input_boxes=given, multimask_output=False)
        assert self._taken is not None
        tokens = self.machine.numpy(self._taken[0, :, 0])
        return run_lengths(out.pred_masks[0, :, 0].float(), size), tokens


def run_lengths(logits: Tensor, size: tuple[int, ...]) -> tuple[bytes, ...]:
    """Compressed run lengths of masks (n, h, w), enlarged to an image's height and width.

    A pixel is of the object where the logit is above 0, as in both libraries of SAM.
    """
    found, step = list[bytes](), max(1, PIXELS // (size[0] * size[1]))
    for start in range(0, len(logits), step):
        large = torch.nn.functional.interpolate(
            logits[start : start + step, None], tuple(size), mode="bilinear", align_corners=False
        )
        masks = (large[:, 0] > 0).cpu().numpy().astype(np.uint8)
        runs = coco_masks.encode(np.asfortranarray(masks.transpose(1, 2, 0)))
        found += [run["counts"] for run in runs]
    return tuple(found)
