"""Teachers of transformers: CLIP, SigLIP and SigLIP 2 (both kinds), DINOv2 and DINOv3.

`get_image_features` returns an object there since version 5; the features are its
`pooler_output`, and are not normalised.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clip_distill.use.preprocessing import Interpolation, Preprocessing
from clip_distill.use.quiet import quiet
from clip_distill.use.teachers import Teacher, Texts
from repro_shared.runtime.errors import UserError, one_line

WITHOUT_LANGUAGE = ("dinov3_vit", "dinov2", "dinov2_with_registers")
WITH_LANGUAGE = ("clip", "siglip", "siglip2")
_RESAMPLING: dict[int, Interpolation] = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def of_model(name: str, model: nn.Module, tokenizer: Any, preprocessing: Preprocessing) -> Teacher:
    """A teacher of a model of transformers.

    Args:
        name: the model's, without a path.
        model: CLIPModel, SiglipModel, Siglip2Model, DINOv3ViTModel, ...
        tokenizer: of transformers; None for a model without language.
        preprocessing: see `preprocessing_of`.

    Raises:
        UserError: a kind of model that is not known here.
    """
    network: Any = model.eval().requires_grad_(False)
    kind = network.config.model_type
    if kind in WITHOUT_LANGUAGE:
        return Teacher(
            name=f"transformers:{name}",
            network=network,
            preprocessing=preprocessing,
            width=int(network.config.hidden_size),
            encode=lambda images: network(pixel_values=images).pooler_output,
            texts=None,
            image_tower=network,
            libraries=("transformers",),
        )
    if kind not in WITH_LANGUAGE:
        known = ", ".join((*WITH_LANGUAGE, *WITHOUT_LANGUAGE))
        raise UserError(f"transformers:{name}: a model of type {kind!r}; known are {known}")

    def encode(images: Tensor) -> Tensor:
        given = patches(images, network.config.vision_config.patch_size) if kind == "siglip2" else {
            "pixel_values": images
        }  # fmt: skip
        features: Tensor = network.get_image_features(**given).pooler_output
        return features

    context = int(network.config.text_config.max_position_embeddings)

    def encode_text(texts: list[str]) -> Tensor:
        # SigLIP was trained with every text filled up, and looks at the filling.
        tokens = tokenizer(
            texts, padding="max_length", truncation=True, max_length=context, return_tensors="pt"
        ).to(network.device)
        mask = {"attention_mask": tokens["attention_mask"]} if kind == "clip" else {}
        features: Tensor = network.get_text_features(
            input_ids=tokens["input_ids"], **mask
        ).pooler_output
        return features

    def lost(text: str) -> str:
        tokens = tokenizer(text, truncation=False)["input_ids"]
        if len(tokens) <= context:
            return ""
        return str(tokenizer.decode(tokens[context - 1 :], skip_special_tokens=True)).strip()

    with torch.inference_mode():
        size = preprocessing.size
        width = encode(torch.zeros(1, 3, size, size, device=network.device)).shape[1]
    return Teacher(
        name=f"transformers:{name}",
        network=network,
        preprocessing=preprocessing,
        width=int(width),
        encode=encode,
        texts=Texts(encode_text, lost, context),
        image_tower=network.vision_model,
        libraries=("transformers", "tokenizers"),
        logit_scale=float(network.logit_scale.detach().exp()),
    )


def patches(images: Tensor, size: int) -> dict[str, Tensor]:
    """Images (b, 3, s, s) as SigLIP 2's models of any shape take them: rows of patches."""
    count, channels, height, width = images.shape
    down, right = height // size, width // size
    cut = images.reshape(count, channels, down, size, right, size).permute(0, 2, 4, 3, 5, 1)
    rows = cut.reshape(count, down * right, size * size * channels)
    return {
        "pixel_values": rows,
        "pixel_attention_mask": torch.ones(rows.shape[:2], dtype=torch.long, device=rows.device),
        "spatial_shapes": torch.tensor([[down, right]] * count, device=rows.device),
    }


def preprocessing_of(processor: Any, default_size: int = 224) -> Preprocessing:
    """Of one of transformers' image processors.

    Raises:
        UserError: a resizing or normalisation that is not known here.
    """

    def sides(value: Any) -> tuple[int, ...]:
        get = value.get if hasattr(value, "get") else lambda key: getattr(value, key, None)
        found = [get(key) for key in ("shortest_edge", "height", "width")]
        return tuple(int(each) for each in found if each)

    size = sides(processor.size or {})
    crops = getattr(processor, "do_center_crop", False)
    crop = sides(processor.crop_size or {}) if crops else ()
    if not size:  # SigLIP 2's models of any shape
        size = (default_size,) * 2
    # Either the shorter side, then a cut of that size, or height and width of the squeezed image.
    squash = len(size) == 2
    final = crop or size
    cut = size[0] != final[0]
    if len(set(final)) != 1 or len(set(size)) != 1 or (cut and (squash or size[0] < final[0])):
        raise UserError(
            f"images of {size}, cut to {final}: only squares out of them are known here"
        )
    if not (processor.do_normalize and processor.do_rescale):
        raise UserError("the image processor does not normalise: its teacher is not known here")
    if processor.resample not in _RESAMPLING:
        raise UserError(f"resampling {processor.resample} is not known here")
    return Preprocessing(
        final[0], tuple(processor.image_mean), tuple(processor.image_std),
        _RESAMPLING[processor.resample], "squash" if squash else "shortest",
        size[0] if cut else None,
    )  # fmt: skip


def load(source: str) -> Teacher:
    """From a folder, or from the hub's cache by name."""
    try:
        from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer
    except ImportError:
        raise UserError("this teacher needs: pip install 'clip-distill[transformers]'") from None
    here: dict[str, Any] = {"local_files_only": True}
    try:
        with quiet():
            config: Any = AutoConfig.from_pretrained(source, **here)
            model, report = AutoModel.from_pretrained(
                source, **here, output_loading_info=True, dtype=torch.float32
            )
            processor = AutoImageProcessor.from_pretrained(source, **here)
            tokenizer = None
            if config.model_type not in WITHOUT_LANGUAGE:
                tokenizer = AutoTokenizer.from_pretrained(source, **here)
    except Exception as error:  # every file in it has its own way of failing
        raise UserError(f"transformers:{source}: {one_line(str(error))[:300]}") from None
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, report.get(what) or ())):
            listed = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if keys[3:] else "")
            raise UserError(f"transformers:{source}: {what.replace('_', ' ')}: {listed}")
    vision = getattr(config, "vision_config", config)
    side = getattr(vision, "image_size", None) or int(
        getattr(vision, "num_patches", 196) ** 0.5
    ) * int(getattr(vision, "patch_size", 16))
    return of_model(Path(source).name, model, tokenizer, preprocessing_of(processor, int(side)))
