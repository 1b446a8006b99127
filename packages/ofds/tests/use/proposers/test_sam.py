"""SAM 2 and SAM 3 with drawn weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_masks

from ofds.use.proposers.hub import Machine
from ofds.use.proposers.sam2 import Sam2
from ofds.use.proposers.sam3 import Sam3

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def drawn(counts: bytes, image: np.ndarray) -> np.ndarray:
    """A mask from its run lengths."""
    return coco_masks.decode({"size": list(image.shape[:2]), "counts": counts})


def boxes(count: int, seed: int = 0) -> np.ndarray:
    """Boxes in an image of 50 x 80 pixels."""
    g = np.random.default_rng(seed)
    low = g.uniform(0, [50, 30], (count, 2))
    return np.concatenate([low, low + g.uniform(8, 20, (count, 2))], axis=1).astype(np.float32)


def test_batches_with_different_numbers_of_boxes_and_none(
    pretrained: Callable[[str], Path], machine: Machine, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    masker, images = Sam2(pretrained("sam2"), machine), [draw(50, 80, seed) for seed in range(3)]
    encoded, encode = [], masker.model.get_image_embeddings
    monkeypatch.setattr(
        masker.model, "get_image_embeddings", lambda x: encoded.append(len(x)) or encode(x)
    )
    given = [boxes(3), boxes(0), boxes(7, 1)]
    found = masker.outline(images, given)
    assert [len(each.features) for each in found] == [3, 0, 7]
    assert [len(each.masks) for each in found] == [3, 0, 7]
    assert encoded == [2]  # the image without boxes costs nothing
    for image, own, each in zip(images, given, found, strict=True):
        for box, feature, mask in zip(own, each.features, each.masks, strict=True):
            (alone,) = masker.outline([image], [box[None]])
            assert np.allclose(alone.features[0], feature, atol=1e-5)
            assert (drawn(alone.masks[0], image) != drawn(mask, image)).mean() < 0.001
    masker.outline(images, [boxes(0)] * 3)
    assert sum(encoded) == 2 + 10


def test_the_token_and_the_mask_are_those_of_the_library(
    pretrained: Callable[[str], Path], machine: Machine, draw: Any
) -> None:
    from transformers import Sam2Model, Sam2Processor

    folder, image, own = pretrained("sam2"), draw(50, 80), boxes(4)
    (found,) = Sam2(folder, machine).outline([image], [own])
    processor, model = Sam2Processor.from_pretrained(folder), Sam2Model.from_pretrained(folder)
    model.eval()
    kept: dict[str, Any] = {}
    model.mask_decoder.transformer.register_forward_hook(
        lambda _, given, out: kept.update(tokens=out[0])
    )
    given = processor(images=image, input_boxes=[own.tolist()], return_tensors="pt")
    size = given.pop("original_sizes")
    with torch.inference_mode():
        out = model(**given, multimask_output=False)
    # Tokens: object score, predicted overlap, then the masks', of which the first is for one mask.
    assert np.allclose(found.features, kept["tokens"][0, :, 2], atol=1e-5)
    theirs = processor.post_process_masks(out.pred_masks, size)[0][:, 0].numpy()
    for mask, other in zip(found.masks, theirs, strict=True):
        assert np.array_equal(drawn(mask, image), other)


def test_the_image_part_of_a_model_for_videos_is_taken(
    pretrained: Callable[[str], Path], machine: Machine, draw: Any, tmp_path: Path
) -> None:
    """The published checkpoints are such models."""
    import transformers as t

    from ofds.use.proposers.build import _masker

    config = t.Sam2Config.from_pretrained(pretrained("sam2"))
    video = t.Sam2VideoConfig(
        vision_config=config.vision_config.to_dict(),
        prompt_encoder_config=config.prompt_encoder_config.to_dict(),
        mask_decoder_config=config.mask_decoder_config.to_dict(),
        memory_attention_hidden_size=32, memory_attention_num_layers=1,
        memory_attention_num_attention_heads=1, memory_attention_feed_forward_hidden_size=32,
        memory_encoder_hidden_size=32, memory_encoder_output_channels=16,
        mask_downsampler_embed_dim=32, memory_fuser_num_layers=1, memory_fuser_embed_dim=32,
        memory_fuser_intermediate_dim=32, image_size=128,
    )  # fmt: skip
    torch.manual_seed(0)
    model = t.Sam2VideoModel(video)
    model.save_pretrained(tmp_path)
    t.Sam2Processor.from_pretrained(pretrained("sam2")).save_pretrained(tmp_path)
    (found,) = _masker(str(tmp_path), machine).outline([draw(50, 80)], [boxes(2)])
    assert found.features.shape == (2, 32)


def test_many_boxes_and_large_images_are_decoded_in_pieces(
    pretrained: Callable[[str], Path], machine: Machine, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ofds.use.proposers import sam2

    masker, image, own = Sam2(pretrained("sam2"), machine), draw(50, 80), boxes(9)
    (whole,) = masker.outline([image], [own])
    monkeypatch.setattr(sam2, "AT_ONCE", 4)
    monkeypatch.setattr(sam2, "PIXELS", 50 * 80 * 2)
    (pieces,) = masker.outline([image], [own])
    assert np.allclose(whole.features, pieces.features, atol=1e-5)
    assert len(pieces.masks) == 9


@pytest.mark.usefixtures("all_passes")
def test_sam3_scores_boxes_and_masks_are_those_of_the_library(
    pretrained: Callable[[str], Path], machine: Machine, draw: Any
) -> None:
    from transformers import Sam3Model, Sam3Processor

    folder, images = pretrained("sam3"), [draw(50, 80), draw(64, 40, 1)]
    said = {"cat": ("cat",), "big_dog": ("big_dog", "hound")}
    found = Sam3(folder, said, machine).detect(images, 0.0)
    processor, model = Sam3Processor.from_pretrained(folder), Sam3Model.from_pretrained(folder)
    model.eval()
    sizes = [image.shape[:2] for image in images]
    start = 0
    for label, text in ((0, "cat"), (1, "big dog"), (1, "hound")):
        given = processor(images=images, text=[text] * 2, return_tensors="pt",
                          input_data_format="channels_last")  # fmt: skip
        given.pop("original_sizes")
        with torch.inference_mode():
            out = model(**given)
            states = model.detr_decoder.box_head  # the boxes come from the states, see below
        theirs = processor.post_process_instance_segmentation(out, -1.0, target_sizes=sizes)
        for place, (image, seen) in enumerate(zip(images, found, strict=True)):
            rows = slice(start, start + 10)
            assert np.allclose(seen.scores[rows, label], theirs[place]["scores"], atol=1e-5)
            assert (seen.scores[rows, 1 - label] == 0).all()
            height, width = image.shape[:2]
            edges = theirs[place]["boxes"].numpy().clip(0, [width, height, width, height])
            assert np.allclose(seen.boxes[rows], edges, atol=1e-3)
            assert seen.masks is not None
            for mask, other in zip(seen.masks[rows], theirs[place]["masks"].numpy(), strict=True):
                assert (drawn(mask, image) != other).mean() < 0.01
            assert seen.features is not None
            offsets = states(model.detr_decoder.output_layer_norm(
                torch.from_numpy(seen.features[rows])))  # fmt: skip
            reference = torch.special.logit(out.decoder_reference_boxes[-1][place], eps=1e-3)
            centre = (offsets + reference).sigmoid()[:, :2].detach().numpy()
            middle = out.pred_boxes[place].numpy().reshape(-1, 2, 2).mean(axis=1)
            assert np.allclose(centre, middle, atol=1e-2)  # so they are the boxes' own states
        start += 10


def test_the_detector_of_sam3_for_videos_is_taken(
    pretrained: Callable[[str], Path], machine: Machine, draw: Any, tmp_path: Path
) -> None:
    """The published checkpoint is such a model."""
    import transformers as t

    detector = t.Sam3Config.from_pretrained(pretrained("sam3"))
    tracker = t.Sam3TrackerVideoConfig(
        vision_config=detector.vision_config.to_dict(),
        prompt_encoder_config={
            "hidden_size": 32, "image_size": 56, "patch_size": 14, "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 32, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
        memory_attention_hidden_size=32, memory_attention_num_layers=1,
        memory_attention_num_attention_heads=1, memory_attention_feed_forward_hidden_size=32,
        memory_encoder_hidden_size=32, memory_encoder_output_channels=16,
        mask_downsampler_embed_dim=32, memory_fuser_num_layers=1, memory_fuser_embed_dim=32,
        memory_fuser_intermediate_dim=32, image_size=56,
    )  # fmt: skip
    video = t.Sam3VideoConfig(detector_config=detector.to_dict(), tracker_config=tracker.to_dict())
    torch.manual_seed(1)
    model = t.Sam3VideoModel(video)
    model.save_pretrained(tmp_path)
    t.Sam3Processor.from_pretrained(pretrained("sam3")).save_pretrained(tmp_path)
    found = Sam3(tmp_path, {"cat": ("cat",)}, machine)
    theirs = model.detector_model.state_dict()
    assert all(torch.equal(theirs[name], own) for name, own in found.model.state_dict().items())
    assert len(found.detect([draw(50, 80)], 0.0)[0]) == 10


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_sees_nearly_the_same(
    dtype: str, pretrained: Callable[[str], Path], machine: Machine, draw: Any
) -> None:
    image, own, half = draw(50, 80), boxes(4), Machine("cpu", dtype)
    found = [
        (
            Sam2(pretrained("sam2"), each).outline([image], [own])[0].features,
            Sam3(pretrained("sam3"), {"cat": ("cat",)}, each).detect([image], 0.0)[0].features,
        )
        for each in (machine, half)
    ]
    for exact, near in zip(*found, strict=True):
        assert exact is not None
        assert near is not None
        cosine = (
            (exact * near).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(near, axis=1)
        )
        assert cosine.min() > 0.99
        assert near.dtype == np.float32
