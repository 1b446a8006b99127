"""Teachers of both libraries, made in memory: the same features as the library's own calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import transformers
from safetensors.torch import save_file
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_distill.use import open_clip_teachers, transformers_teachers
from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.teachers import Teacher, damaged_rows, encode_pixels, load_teacher
from repro_shared.runtime.errors import UserError

VISION = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
    "image_size": 32, "patch_size": 8,
}  # fmt: skip
TEXT = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
    "vocab_size": 99, "max_position_embeddings": 12,
}  # fmt: skip


class Letters:
    """A tokenizer: a letter a token."""

    def __call__(self, texts: Any, **given: Any) -> Any:
        if isinstance(texts, str):
            return {"input_ids": [1, *(ord(c) % 90 + 2 for c in texts), 98]}
        room = given["max_length"] - 2
        rows = [[1, *(ord(c) % 90 + 2 for c in text[:room]), 98] for text in texts]
        ids = torch.tensor([row + [0] * (given["max_length"] - len(row)) for row in rows])
        return transformers.BatchEncoding({"input_ids": ids, "attention_mask": (ids > 0).long()})

    def decode(self, tokens: list[int], **_: Any) -> str:
        return "".join(chr(t - 2 + 90) if t - 2 + 90 < 127 else "?" for t in tokens if t < 98)


def kinds() -> dict[str, Any]:
    torch.manual_seed(0)
    c = transformers
    return {
        "clip": c.CLIPModel(c.CLIPConfig(
            text_config={**TEXT, "eos_token_id": 98}, vision_config=VISION, projection_dim=16)),
        "siglip": c.SiglipModel(c.SiglipConfig(
            text_config={**TEXT, "projection_size": 32}, vision_config=VISION)),
        "siglip2": c.Siglip2Model(c.Siglip2Config(
            text_config={**TEXT, "projection_size": 32},
            vision_config={**{k: v for k, v in VISION.items() if k != "image_size"},
                           "num_patches": 16})),
        "dinov3_vit": c.DINOv3ViTModel(c.DINOv3ViTConfig(**VISION, num_register_tokens=1)),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2", "dinov3_vit"])
def test_transformers(kind: str) -> None:
    model = kinds()[kind].eval()
    prepared = Preprocessing(32)
    teacher = transformers_teachers.of_model("tiny", model, Letters(), prepared)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found = encode_pixels(teacher, pixels, 2)
    images = prepared.normalise(torch.from_numpy(pixels))
    with torch.no_grad():
        if kind == "siglip2":
            from transformers.models.siglip2.image_processing_siglip2 import (
                convert_image_to_patches,
            )

            rows = torch.stack([convert_image_to_patches(image, 8) for image in images])
            theirs = model.get_image_features(
                pixel_values=rows, spatial_shapes=torch.tensor([[4, 4]] * 3),
                pixel_attention_mask=torch.ones(3, 16, dtype=torch.long),
            ).pooler_output  # fmt: skip
        elif kind == "dinov3_vit":
            theirs = model(pixel_values=images).pooler_output
        else:
            theirs = model.get_image_features(pixel_values=images).pooler_output
    assert np.allclose(found, theirs.numpy(), atol=1e-5)
    assert found.shape == (3, teacher.width)
    assert (teacher.texts is None) == (kind == "dinov3_vit")
    if teacher.texts is not None:
        one, two = teacher.texts.encode(["abc", "abd"]), teacher.texts.encode(["abc"])
        assert torch.allclose(one[:1], two, atol=1e-5)
        assert not torch.allclose(one[0], one[1])
        assert teacher.texts.lost("short") == ""
        assert teacher.texts.lost("abcdefghijklmnop") != ""


def test_only_known_kinds() -> None:
    model = transformers.ViTModel(transformers.ViTConfig(**VISION))
    with pytest.raises(UserError, match="of type 'vit'; known are clip, siglip"):
        transformers_teachers.of_model("tiny", model, None, Preprocessing(32))


def test_c15_preprocessing_of_processors() -> None:
    # An odd number of pixels to cut away is halved upwards by torchvision and open_clip, and here,
    # and downwards by transformers; an even one is the same for all.
    clip = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    ours = transformers_teachers.preprocessing_of(clip)
    picture = np.random.default_rng(1).integers(0, 256, (50, 38, 3), dtype=np.uint8)
    theirs = clip(picture, return_tensors="pt")["pixel_values"][0]
    mine = ours.normalise(torch.from_numpy(ours.centre(picture).copy())[None])[0]
    assert torch.allclose(theirs, mine, atol=1e-5)
    siglip = transformers.SiglipImageProcessor(size={"height": 32, "width": 32})
    assert transformers_teachers.preprocessing_of(siglip).resize == "squash"
    dino = CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
    ours = transformers_teachers.preprocessing_of(dino)  # as DINOv2's: resized to 256, cut to 224
    assert (ours.size, ours.shorter) == (32, 40)
    assert Preprocessing.read(asdict(ours)) == ours
    theirs = dino(picture, return_tensors="pt")["pixel_values"][0]
    mine = ours.normalise(torch.from_numpy(ours.centre(picture).copy())[None])[0]
    assert torch.allclose(theirs, mine, atol=1e-5)
    odd = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 32, "width": 32})
    with pytest.raises(UserError, match="only squares"):
        transformers_teachers.preprocessing_of(odd)


def test_from_a_folder_of_transformers(tmp_path: Path) -> None:
    model = kinds()["dinov3_vit"]
    model.save_pretrained(tmp_path)
    transformers.DINOv3ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    teacher = load_teacher(f"transformers:{tmp_path}")
    assert teacher.preprocessing.mean == pytest.approx((0.485, 0.456, 0.406))
    assert (
        teacher.sha256 == transformers_teachers.of_model("x", model, None, Preprocessing(32)).sha256
    )
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    name = sorted(state)[0]
    save_file({k: v for k, v in state.items() if k != name}, tmp_path / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(UserError, match="missing keys: "):
        load_teacher(f"transformers:{tmp_path}")
    with pytest.raises(UserError, match="transformers:nowhere"):
        load_teacher("transformers:nowhere/at-all")


def test_open_clip_equals_its_own_calls(teacher: Teacher) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found = encode_pixels(teacher, pixels, 2)
    network: Any = teacher.network
    with torch.no_grad():
        theirs = network.encode_image(teacher.preprocessing.normalise(torch.from_numpy(pixels)))
    assert np.allclose(found, theirs.numpy(), atol=1e-5)
    whole, tower = teacher.parameters
    assert whole > tower > 0


def test_c1_another_normalisation_is_read_and_shown(teacher_of: Callable[..., Teacher]) -> None:
    other = teacher_of(mean=0.5, std=0.5)
    assert other.preprocessing.mean == (0.5, 0.5, 0.5)
    assert "mean 0.5, 0.5, 0.5, deviation 0.5, 0.5, 0.5" in str(other.preprocessing)


def open_clip_folder(folder: Path, config: dict[str, Any], model: Any) -> Path:
    form = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(form))
    save_file(dict(model.state_dict()), folder / "open_clip_model.safetensors")
    return folder


def test_c8_a_missing_key_is_refused(
    tmp_path: Path, clip_config: dict[str, Any], model_of: Callable[..., Any]
) -> None:
    model = model_of(3)
    folder = open_clip_folder(tmp_path, clip_config, model)
    teacher = load_teacher(f"open_clip:{folder}")
    assert teacher.preprocessing.std == (0.5, 0.5, 0.5)
    assert torch.equal(teacher.network.state_dict()["visual.proj"], model.visual.proj)
    state = dict(model.state_dict())
    del state["visual.proj"]
    save_file(state, folder / "open_clip_model.safetensors")
    with pytest.raises(UserError, match=r"visual\.proj"):
        load_teacher(f"open_clip:{folder}")


def test_a_tower_of_timm_without_a_projection() -> None:
    """As open_clip's SigLIP, MobileCLIP and EVA models have it."""
    form = {"timm_model_name": "test_efficientnet", "timm_pool": "avg", "timm_proj": "none",
            "image_size": 32}  # fmt: skip
    text = {"context_length": 8, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    model = open_clip.CLIP(256, form, text)
    teacher = open_clip_teachers.of_model("tiny", model, open_clip.tokenizer.SimpleTokenizer())
    assert teacher.width == 256


def test_damaged_folders(
    tmp_path: Path, clip_config: dict[str, Any], model_of: Callable[..., Any]
) -> None:
    folder = open_clip_folder(tmp_path, clip_config, model_of())
    weights = folder / "open_clip_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(UserError, match="no open_clip model"):
        load_teacher(f"open_clip:{folder}")
    weights.write_bytes(whole)
    for config in ({}, {**clip_config, "depth": 1}):
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
        with pytest.raises(UserError, match="no open_clip model"):
            load_teacher(f"open_clip:{folder}")
    kinds()["dinov3_vit"].save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(whole[:1000])
    with pytest.raises(UserError, match="transformers:"):
        load_teacher(f"transformers:{folder}")


def test_a_tokenizer_that_is_not_here(
    tmp_path: Path, clip_config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = {**clip_config["text_cfg"], "hf_tokenizer_name": "nowhere/at-all"}
    config = {**clip_config, "text_cfg": text}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-hf-test", config)
    (tmp_path / "w.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"fetch its tokenizer once"):
        load_teacher(f"open_clip:tiny-hf-test:{tmp_path / 'w.pt'}")


def test_weights_that_are_not_here() -> None:
    for given, said in {
        "open_clip:ViT-B-32:datacomp_xl_s13b_b90k": "not on this machine, and nothing is",
        "open_clip:ViT-B-32:nothing.pt": "no such file, and no tag",
        "open_clip:ViT-B-32": "needs weights: a file, or a tag",
        "open_clip:ViT-Z": "no model 'ViT-Z'",
        "clip:ViT-B-32": "unknown teacher",
    }.items():
        with pytest.raises(UserError, match=said):
            load_teacher(given)


def test_a_file_of_weights_for_a_named_model(
    tmp_path: Path, model_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = open_clip.get_model_config("ViT-B-32")
    small = {**config, "embed_dim": 16,
             "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16,
                            "patch_size": 8},
             "text_cfg": {**config["text_cfg"], "width": 32, "heads": 2, "layers": 1}}  # fmt: skip
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-tiny-test", small)
    model = model_of(5)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    teacher = open_clip_teachers.load(f"ViT-tiny-test:{tmp_path / 'w.pt'}")
    assert teacher.name == "open_clip:ViT-tiny-test:w.pt"
    assert torch.equal(teacher.network.state_dict()["visual.proj"], model.visual.proj)
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="not all weights"):
        open_clip_teachers.load(f"ViT-tiny-test:{tmp_path / 'w.pt'}")


def test_rows_that_are_no_direction() -> None:
    rows = np.ones((4, 3), np.float32)
    assert damaged_rows(rows) is None
    rows[2] = 0
    assert damaged_rows(rows) == (2, "zeros only")
    rows[1, 0] = np.nan
    assert damaged_rows(rows) == (1, "a value that is not finite")
