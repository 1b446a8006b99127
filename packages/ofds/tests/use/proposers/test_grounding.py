"""Grounding DINO and MM-Grounding-DINO with drawn weights: scores and boxes are what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ofds.use.proposers.grounding import GroundingDino
from ofds.use.proposers.hub import Machine
from ofds.use.proposers.pipeline import Keeping, Models, propose_on
from repro_shared.runtime.errors import UserError

NAMES = ["shirt", "t-shirt", "undershirt", "St. Bernard", "zucchini", "japanese_fruit",
         "container", "containernumber", "pottedplant", "melon"]  # fmt: skip


def said(names: list[str]) -> dict[str, tuple[str, ...]]:
    """Each class under its own name."""
    return {name: (name,) for name in names}


@pytest.fixture(params=["grounding", "mm_grounding"])
def folder(request: pytest.FixtureRequest, pretrained: Callable[[str], Path]) -> Path:
    """Of each of the two models."""
    return pretrained(request.param)


def by_hand(folder: Path, names: list[str], image: Any) -> tuple[list[Any], list[Any]]:
    """Scores and boxes of all queries of all chunks, one at a time, from the library's output."""
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    plain = {name: name.lower().replace(".", "").replace("_", " ") for name in names}
    found, boxes = [], []
    chunk, chunks, used = list[str](), list[list[str]](), 2
    for name in sorted(names, key=lambda name: plain[name]):
        length = len(processor.tokenizer.tokenize(plain[name])) + 1
        if used + length > 24:
            chunks.append(chunk)
            chunk, used = [], 2
        chunk.append(name)
        used += length
    for own in [*chunks, chunk]:
        text = " ".join(f"{plain[name]}." for name in own)
        inputs = processor(images=[image], text=text, return_tensors="pt")
        with torch.inference_mode():
            out = model(**inputs)
        size = [image.shape[:2]]
        theirs = processor.post_process_grounded_object_detection(
            out, threshold=-1.0, target_sizes=size
        )
        tokens = processor.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
        stops = [place for place, token in enumerate(tokens) if token == "."]
        for query in range(out.logits.shape[1]):
            row, start = np.zeros(len(names)), 1
            for name, stop in zip(own, stops, strict=True):
                logits = [float(out.logits[0, query, place]) for place in range(start, stop)]
                row[names.index(name)] = np.mean([1 / (1 + np.exp(-value)) for value in logits])
                start = stop + 1
            found.append(row)
            boxes.append(theirs[0]["boxes"][query].clamp(min=0).numpy())
    return found, boxes


@pytest.mark.usefixtures("all_passes")
def test_scores_and_boxes_are_those_of_a_slow_reference(
    folder: Path, machine: Machine, draw: Any
) -> None:
    image = draw(50, 80)
    (seen,) = GroundingDino(folder, said(NAMES), machine).detect([image], 0.0)
    scores, boxes = by_hand(folder, NAMES, image)
    assert np.allclose(seen.scores, scores, atol=1e-5)
    assert np.allclose(seen.boxes, np.minimum(boxes, [80, 50, 80, 50]), atol=1e-3)
    assert seen.features is not None
    assert seen.features.shape == (len(boxes), 32)


def test_what_several_passes_find_is_one_object(folder: Path, machine: Machine, draw: Any) -> None:
    detector = GroundingDino(folder, said(NAMES), machine)
    (seen,) = detector.detect([draw(50, 80)], 0.0)
    assert 12 <= len(seen) < 12 * len(detector.captions)


@pytest.mark.usefixtures("all_passes")
def test_every_box_has_exactly_one_class_of_the_list(
    folder: Path, machine: Machine, draw: Any
) -> None:
    models = Models(GroundingDino(folder, said(NAMES), machine))
    found = propose_on(
        models, ["a", "b"], [draw(50, 80), draw(40, 40, 1)], Keeping(0.0, 1.0, 10_000)
    )
    chunks = len(models.detector.about["captions"])
    assert [len(each) for each in found] == [12 * chunks] * 2
    assert chunks > 1
    for each in found:
        assert set(each.label) <= set(range(len(NAMES)))


def test_the_order_of_classes_does_not_matter(folder: Path, machine: Machine, draw: Any) -> None:
    images, other = [draw(50, 80)], NAMES[::-1]
    (first,) = GroundingDino(folder, said(NAMES), machine).detect(images, 0.0)
    (second,) = GroundingDino(folder, said(other), machine).detect(images, 0.0)
    assert np.array_equal(first.scores, second.scores[:, [other.index(name) for name in NAMES]])
    assert np.array_equal(first.boxes, second.boxes)


def test_a_batch_and_low_scores(folder: Path, machine: Machine, draw: Any) -> None:
    detector = GroundingDino(folder, said(NAMES[:3]), machine)
    images = [draw(50, 80), draw(50, 80, 1)]
    together = detector.detect(images, 0.0)
    for image, seen in zip(images, together, strict=True):
        (alone,) = detector.detect([image], 0.0)
        assert np.allclose(alone.scores, seen.scores, atol=1e-5)
        assert np.allclose(alone.boxes, seen.boxes, atol=1e-3)
        least = float(np.median(alone.scores.max(axis=1)))
        (some,) = detector.detect([image], least)
        assert 0 < len(some) < len(alone)
        assert some.scores.max(axis=1).min() >= least


def test_weights_that_are_missing_are_not_drawn(
    pretrained: Callable[[str], Path], machine: Machine, tmp_path: Path
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(pretrained("grounding"), tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    state.pop("model.text_projection.weight")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"1 weights are missing, such as model.text_projection"):
        GroundingDino(folder, said(["shirt"]), machine)
