"""OWLv2 (arXiv 2306.09683) of transformers: classes named by text, by pictures of them, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ofds.use.proposers.hub import Machine, fingerprint, prepared, pretrained, processor
from ofds.use.proposers.interface import Detections, Picture, corners, inside
from repro_shared.runtime.errors import UserError

THRESHOLD = 0.1  # the library's default
TEMPLATE = "a photo of a {}"  # as in the model's own example; a prompt of the user's stays as it is


class Owl:
    """Boxes scored against embeddings of queries.

    Args:
        folder: of the model.
        said: prompts of each class; the class's name alone gets the template around it.
        shown: pictures of each class, on each of which its most object-like box is the query.
        machine: that it runs on.
    """

    threshold = THRESHOLD

    def __init__(
        self,
        folder: Path,
        said: Mapping[str, Sequence[str]],
        shown: Mapping[str, Sequence[Picture]],
        machine: Machine,
    ) -> None:
        from transformers import AutoProcessor, Owlv2ForObjectDetection

        self.machine, self.classes = machine, len(said)
        self.processor = processor(AutoProcessor, folder)
        self.model = pretrained(Owlv2ForObjectDetection, folder, machine)
        queries, self.labels = list[Tensor](), list[int]()
        for label, (name, texts) in enumerate(said.items()):
            if list(texts) == [name]:
                texts = [TEMPLATE.format(name.replace("_", " "))]
            own = [self._text(name, text) for text in texts]
            own += [self._picture(picture) for picture in shown.get(name, ())]
            queries += own
            self.labels += [label] * len(own)
        self.queries = torch.stack(queries)
        self.about = {
            "model": "owlv2",
            "sha256": fingerprint(folder),
            "template": TEMPLATE,
            "preprocessing": prepared(self.processor.image_processor),
        }

    def detect(self, images: Sequence[Picture], least: float) -> list[Detections]:
        """See `Detector`; features are the boxes' class embeddings."""
        with self.machine.running():
            found, grid = self._embedded(images)
            logits, embeddings = self.model.class_predictor(
                found, self.queries.expand(len(images), -1, -1)
            )
            columns = (logits.float().sigmoid(), self.model.box_predictor(found, grid), embeddings)
        queries, boxes, features = map(self.machine.numpy, columns)
        result = []
        for place, image in enumerate(images):
            height, width = image.shape[:2]
            scores = np.zeros((queries.shape[1], self.classes), np.float32)
            for column, label in enumerate(self.labels):
                scores[:, label] = np.maximum(scores[:, label], queries[place, :, column])
            kept = np.flatnonzero(scores.max(axis=1) >= least)
            side = max(height, width)  # the image is padded to a square, right and below
            where = inside(corners(boxes[place], side, side), width, height)
            result.append(Detections(where, scores, features[place]).of(kept))
        return result

    def _embedded(self, images: Sequence[Picture]) -> tuple[Tensor, Tensor]:
        """States of all patches, (b, patches, d), and the same as maps."""
        pixels = self.processor.image_processor(
            images=list(images), input_data_format="channels_last", return_tensors="pt"
        )["pixel_values"]
        grid = self.model.image_embedder(pixels.to(self.machine.device))[0]
        return grid.flatten(1, 2), grid

    def _text(self, name: str, text: str) -> Tensor:
        tokens: Any = self.processor.tokenizer([text], padding="max_length", return_tensors="pt")
        longest = self.model.config.text_config.max_position_embeddings
        if tokens["input_ids"].shape[1] > longest:
            raise UserError(
                f"class {name!r}: {text!r} is longer than the {longest} tokens that the detector "
                "reads; give a shorter prompt after a tab in the list of classes"
            )
        given = {key: value.to(self.machine.device) for key, value in tokens.items()}
        with self.machine.running():
            return self.model.owlv2.get_text_features(**given).pooler_output[0].float()

    def _picture(self, picture: Picture) -> Tensor:
        with self.machine.running():
            found, grid = self._embedded([picture])
            return self.model.embed_image_query(found, grid)[0][0, 0].float()
