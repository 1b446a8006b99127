"""OWLv2 with drawn weights, asked by text and by pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ofds.use.proposers.hub import Machine
from ofds.use.proposers.owl import Owl
from repro_shared.runtime.errors import UserError


def library(folder: Path) -> tuple[Any, Any]:
    """The library's own processor and model."""
    from transformers import AutoProcessor, Owlv2ForObjectDetection

    return (
        AutoProcessor.from_pretrained(folder),
        Owlv2ForObjectDetection.from_pretrained(folder).eval(),
    )


def test_text_queries_agree_with_the_library(
    pretrained: Callable[[str], Path], machine: Machine, draw: Any
) -> None:
    folder, images = pretrained("owl"), [draw(50, 80), draw(90, 40, 1)]
    found = Owl(folder, {"cat": ("cat",), "big_dog": ("big_dog",)}, {}, machine).detect(images, 0.0)
    processor, model = library(folder)
    texts = [["a photo of a cat", "a photo of a big dog"]] * 2
    given = processor(
        images=images, text=texts, return_tensors="pt", input_data_format="channels_last"
    )
    with torch.inference_mode():
        out = model(**given)
    theirs = processor.post_process_grounded_object_detection(
        out, threshold=-1.0, target_sizes=[image.shape[:2] for image in images]
    )
    for place, (image, seen) in enumerate(zip(images, found, strict=True)):
        assert np.allclose(seen.scores, out.logits[place].sigmoid(), atol=1e-5)
        height, width = image.shape[:2]
        edges = theirs[place]["boxes"].numpy().clip(0, [width, height, width, height])
        assert np.allclose(seen.boxes, edges, atol=1e-3)
        assert seen.features is not None
        assert np.allclose(seen.features, out.class_embeds[place], atol=1e-5)


def test_a_picture_as_the_query_agrees_with_the_library(
    pretrained: Callable[[str], Path], machine: Machine, draw: Any
) -> None:
    folder, image, query = pretrained("owl"), draw(50, 80), draw(30, 30, 5)
    said = {"cat": ("cat",), "dog": ("dog",)}
    (plain,) = Owl(folder, said, {}, machine).detect([image], 0.0)
    (shown,) = Owl(folder, said, {"dog": (query,)}, machine).detect([image], 0.0)
    processor, model = library(folder)
    given = processor(
        images=[image], query_images=[query], return_tensors="pt", input_data_format="channels_last"
    )
    with torch.inference_mode():
        theirs = model.image_guided_detection(**given).logits[0, :, 0].sigmoid().numpy()
    assert np.allclose(shown.scores[:, 1], np.maximum(plain.scores[:, 1], theirs), atol=1e-5)
    assert np.array_equal(shown.scores[:, 0], plain.scores[:, 0])


def test_a_text_that_is_too_long_is_refused(
    pretrained: Callable[[str], Path], machine: Machine
) -> None:
    with pytest.raises(UserError, match="longer than the 24 tokens"):
        Owl(pretrained("owl"), {"long": ("a prompt that is very long indeed",)}, {}, machine)
