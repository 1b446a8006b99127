"""SAM 3 (arXiv 2511.16719) of transformers: finds and outlines what a short text names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ofds.use.proposers.hub import Machine, fingerprint, prepared, pretrained, processor
from ofds.use.proposers.interface import Detections, Picture, inside
from ofds.use.proposers.keep import joined
from ofds.use.proposers.sam2 import run_lengths
from repro_shared.runtime.errors import UserError

THRESHOLD = 0.3  # the library's default


class Sam3:
    """One pass of the decoder for each prompt, over images that are encoded once.

    Args:
        folder: of the model.
        said: prompts of each class.
        machine: that it runs on.
    """

    threshold = THRESHOLD

    def __init__(self, folder: Path, said: Mapping[str, Sequence[str]], machine: Machine) -> None:
        from transformers import Sam3Model, Sam3Processor

        self.machine, self.classes = machine, len(said)
        self.processor = processor(Sam3Processor, folder)
        self.model = pretrained(Sam3Model, folder, machine)
        texts = [(label, text) for label, own in enumerate(said.values()) for text in own]
        self.prompts = [(label, self._tokens(text.replace("_", " "))) for label, text in texts]
        self.about = {
            "model": "sam3",
            "sha256": fingerprint(folder),
            "feature": "last states of the decoder",
            "preprocessing": prepared(self.processor.image_processor),
        }

    def _tokens(self, text: str) -> Any:
        tokens = self.processor(text=[text], return_tensors="pt")
        longest = self.model.config.text_config.max_position_embeddings
        if tokens["input_ids"].shape[1] > longest:
            raise UserError(f"{text!r} is longer than the {longest} tokens that the detector reads")
        return tokens

    def detect(self, images: Sequence[Picture], least: float) -> list[Detections]:
        """See `Detector`; a score is the product of a box's and of the prompt's on the image."""
        pixels = self.processor.image_processor(
            images=list(images), input_data_format="channels_last", return_tensors="pt"
        )["pixel_values"]
        found: list[list[Detections]] = [[] for _ in images]
        with self.machine.running():
            seen = self.model.get_vision_features(pixels.to(self.machine.device))
            for label, tokens in self.prompts:
                out = self.model(
                    vision_embeds=seen,
                    output_hidden_states=True,
                    **{
                        name: tokens[name].expand(len(images), -1).to(self.machine.device)
                        for name in ("input_ids", "attention_mask")
                    },
                )
                scores, boxes, states = map(
                    self.machine.numpy,
                    (
                        out.pred_logits.float().sigmoid() * out.presence_logits.float().sigmoid(),
                        out.pred_boxes,
                        # The first state is that of the presence token, no box's.
                        out.decoder_hidden_states[-1][:, 1:],
                    ),
                )
                for place, image in enumerate(images):
                    height, width = image.shape[:2]
                    kept = np.flatnonzero(scores[place] >= least)
                    sides = np.array([width, height, width, height], np.float32)
                    column = np.zeros((len(kept), self.classes), np.float32)
                    column[:, label] = scores[place][kept]
                    drawn = out.pred_masks[place][kept].float().sigmoid() - 0.5  # as the library
                    masks = run_lengths(drawn, (height, width))
                    where = inside(boxes[place][kept] * sides, width, height)
                    found[place].append(Detections(where, column, states[place][kept], masks))
        return [joined(parts) for parts in found]
