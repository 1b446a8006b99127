"""Grounding DINO (arXiv 2303.05499) and MM-Grounding-DINO (arXiv 2401.02361), of transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ofds.use.proposers.hub import Machine, fingerprint, prepared, pretrained, processor
from ofds.use.proposers.interface import Detections, Picture, corners, inside
from ofds.use.proposers.keep import joined
from ofds.use.proposers.spans import captions, class_scores

THRESHOLD = 0.25  # the library's default


class GroundingDino:
    """Boxes scored against captions, by tokens.

    Args:
        folder: of the model.
        said: prompts of each class.
        machine: that it runs on.
    """

    threshold = THRESHOLD

    def __init__(self, folder: Path, said: Mapping[str, Sequence[str]], machine: Machine) -> None:
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        self.machine, self.classes = machine, len(said)
        self.processor = processor(AutoProcessor, folder)
        self.model = pretrained(AutoModelForZeroShotObjectDetection, folder, machine)
        config = self.model.config
        longest = min(config.max_text_len, config.text_config.max_position_embeddings)
        self.captions = captions(self.processor.tokenizer, said, longest)
        self.about = {
            "model": config.model_type,
            "sha256": fingerprint(folder),
            "captions": [caption.text for caption in self.captions],
            "preprocessing": prepared(self.processor.image_processor),
        }

    def detect(self, images: Sequence[Picture], least: float) -> list[Detections]:
        """See `Detector`; features are the decoder's last states."""
        pixels = self.processor.image_processor(
            images=list(images), input_data_format="channels_last", return_tensors="pt"
        )
        found: list[list[Detections]] = [[] for _ in images]
        for caption in self.captions:
            text = self.processor.tokenizer([caption.text] * len(images), return_tensors="pt")
            given = {**pixels, **text}
            with self.machine.running():
                out = self.model(**{k: v.to(self.machine.device) for k, v in given.items()})
            columns = (out.logits.float().sigmoid(), out.pred_boxes, out.last_hidden_state)
            tokens, boxes, states = map(self.machine.numpy, columns)
            for place, image in enumerate(images):
                height, width = image.shape[:2]
                scores = class_scores(tokens[place], caption, self.classes)
                where = inside(corners(boxes[place], width, height), width, height)
                kept = np.flatnonzero(scores.max(axis=1) >= least)
                found[place].append(Detections(where, scores, states[place]).of(kept))
        return [joined(parts) for parts in found]
