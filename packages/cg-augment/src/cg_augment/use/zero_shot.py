"""Teachers that know classes by their names: a CLIP of open_clip or transformers with prompts.

Nothing is downloaded: weights come from a file, a folder or the library's own cache.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cg_augment.use.classifiers import Classifier, Interpolation
from repro_shared.runtime.errors import UserError, one_line

TEMPLATE = "a photo of a {}"
_RESAMPLING: dict[int, Interpolation] = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


class Similarity(nn.Module):
    """Logits `scale * cos(features, text of the class)`, as CLIP and its kind have them.

    Args:
        texts: (classes, width), any length.
        scale: 1 / temperature, as trained.
        bias: added (SigLIP); it shifts all classes alike.
    """

    texts: Tensor

    def __init__(self, texts: Tensor, scale: float, bias: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("texts", F.normalize(texts.detach().float(), dim=-1))
        self.scale, self.bias = scale, bias

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, width) to logits (n, classes)."""
        unit = F.normalize(features.float(), dim=-1)
        made: Tensor = self.scale * unit @ self.texts.T + self.bias
        return made


def prompts(classes: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """The texts of each class; UserError for a template without {}."""
    for template in templates:
        if "{}" not in template:
            raise UserError(f"--template {template!r} has no {{}} where the class's name goes")
    return [[each.replace("{}", name.replace("_", " ")) for each in templates] for name in classes]


def text_vectors(
    encode: Callable[[list[str]], Tensor],
    lost: Callable[[str], str],
    classes: Sequence[str],
    templates: Sequence[str],
) -> Tensor:
    """One vector a class, (classes, width): the mean of its prompts' unit vectors.

    Args:
        encode: texts to vectors (n, width), of any length.
        lost: what of a text the encoder would cut away; "" for nothing.
        classes: their names.
        templates: with {} for the name; several are averaged (CLIP, arXiv 2103.00020, 3.1.4).

    Raises:
        UserError: a prompt that would be cut: its class might be lost without a sign.
    """
    rows = list[Tensor]()
    with torch.inference_mode():
        for texts in prompts(classes, templates):
            for text in texts:
                if cut := lost(text):
                    raise UserError(f"prompt {text!r} is too long: {cut!r} would be cut away")
            rows.append(F.normalize(encode(texts).float(), dim=-1).mean(dim=0))
    return torch.stack(rows).clone()  # outside inference mode: gradients may pass


def of_open_clip(
    name: str,
    model: Any,
    tokenizer: Any,
    classes: Sequence[str],
    templates: Sequence[str] = (TEMPLATE,),
    form: dict[str, Any] | None = None,
) -> Classifier:
    """A zero-shot classifier of an open_clip model.

    Args:
        name: the model's; no path.
        model: as open_clip makes it.
        tokenizer: of open_clip.
        classes: their names.
        templates: of the prompts.
        form: preprocessing in open_clip's form, where it is not the model's own.
    """
    import open_clip
    from open_clip.transform import PreprocessCfg

    # A model that says nothing of its normalisation has CLIP's, as open_clip fills it in.
    given = PreprocessCfg(**(form or open_clip.get_model_preprocess_cfg(model)))
    size = given.size
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if sides[0] != sides[1]:
        raise UserError(f"{name}: takes images of {sides}; only square ones are known here")
    context = int(getattr(model, "context_length", 0) or tokenizer.context_length)

    def encode(texts: list[str]) -> Tensor:
        made: Tensor = model.encode_text(tokenizer(texts, context_length=context))
        return made

    def lost(text: str) -> str:
        if hasattr(tokenizer, "bpe"):
            tokens, kept = tokenizer.encode(text), context - 2  # between two special tokens
            return str(tokenizer.decode(tokens[kept:])).strip() if len(tokens) > kept else ""
        inner = tokenizer.tokenizer
        tokens = inner(tokenizer.clean_fn(text), truncation=False).input_ids
        if len(tokens) <= context:
            return ""
        return str(inner.decode(tokens[context - 1 :], skip_special_tokens=True)).strip()

    model.eval().requires_grad_(False)
    vectors = text_vectors(encode, lost, classes, templates)
    scale = float(model.logit_scale.detach().exp())
    bias = 0.0 if getattr(model, "logit_bias", None) is None else float(model.logit_bias.detach())
    way: Interpolation = "bilinear" if given.interpolation == "bilinear" else "bicubic"
    return Classifier(
        model.visual, Similarity(vectors, scale, bias), classes, int(sides[0]),
        given.mean, given.std, way, f"open_clip:{name}",
    ).frozen()  # fmt: skip


def load_open_clip(
    rest: str, classes: Sequence[str], templates: Sequence[str] = (TEMPLATE,)
) -> Classifier:
    """`MODEL:FILE`, or a folder with `open_clip_config.json`.

    Raises:
        UserError: no such model or file, not all weights in it, or a tokenizer that is not here.
    """
    try:
        import open_clip
        from open_clip.factory import load_checkpoint
    except ImportError:
        raise UserError("this teacher needs: pip install open_clip_torch") from None
    name, _, weights = rest.partition(":")
    folder = Path(rest).is_dir()
    if not folder and open_clip.get_model_config(name) is None:
        raise UserError(f"open_clip has no model {name!r}, and there is no such folder")
    if not folder and not Path(weights).is_file():
        raise UserError(f"open_clip:{name} needs a file of weights: {weights or 'none'} is no file")
    where = f"local-dir:{rest}" if folder else name
    try:
        with quiet(), offline():
            if folder:
                model, _, _ = open_clip.create_model_and_transforms(where, require_pretrained=True)
            else:
                model = open_clip.create_model(name, load_weights=False)
            tokenizer = open_clip.get_tokenizer(where)
    except Exception as error:  # every file in it has its own way of failing
        said = f"{type(error).__name__}: {one_line(str(error))[:200]}"
        raise UserError(f"open_clip:{rest} cannot be made without downloads ({said})") from None
    if not folder:
        try:
            with quiet():
                load_checkpoint(model, weights, strict=True, weights_only=True)
        except Exception as error:  # every form of file has its own way of failing
            said = one_line(str(error))[:300]
            raise UserError(f"{weights}: not all weights of open_clip:{name} ({said})") from None
    return of_open_clip(Path(name).name, model, tokenizer, classes, templates)


def of_transformers(
    name: str,
    model: Any,
    tokenizer: Any,
    processor: Any,
    classes: Sequence[str],
    templates: Sequence[str] = (TEMPLATE,),
) -> Classifier:
    """A zero-shot classifier of transformers' CLIP or SigLIP, or one trained on classes of its own.

    Raises:
        UserError: another kind of model, or a preparation of images that is not known here.
    """
    kind = model.config.model_type
    prepared = _preparation(processor, name)
    model.eval().requires_grad_(False)
    if tokenizer is None:
        named = model.config.id2label
        own = tuple(str(named[place]) for place in range(len(named)))
        return Classifier(
            model, nn.Identity(), own, *prepared, f"transformers:{name}",
            lambda network, images: network(pixel_values=images).logits,
        ).frozen()  # fmt: skip
    if kind not in ("clip", "siglip"):
        raise UserError(f"transformers:{name}: a model of type {kind!r}; known: clip, siglip")
    context = int(model.config.text_config.max_position_embeddings)

    def encode(texts: list[str]) -> Tensor:
        # SigLIP was trained with every text filled up, and looks at the filling.
        tokens = tokenizer(
            texts, padding="max_length", truncation=True, max_length=context, return_tensors="pt"
        )
        mask = {"attention_mask": tokens["attention_mask"]} if kind == "clip" else {}
        # An object since version 5, and not normalised.
        made: Tensor = model.get_text_features(input_ids=tokens["input_ids"], **mask).pooler_output
        return made

    def lost(text: str) -> str:
        tokens = tokenizer(text, truncation=False)["input_ids"]
        if len(tokens) <= context:
            return ""
        return str(tokenizer.decode(tokens[context - 1 :], skip_special_tokens=True)).strip()

    bias = getattr(model, "logit_bias", None)
    head = Similarity(
        text_vectors(encode, lost, classes, templates),
        float(model.logit_scale.detach().exp()),
        0.0 if bias is None else float(bias.detach()),
    )
    return Classifier(
        model, head, classes, *prepared, f"transformers:{name}",
        lambda network, images: network.get_image_features(pixel_values=images).pooler_output,
    ).frozen()  # fmt: skip


def load_transformers(
    source: str, classes: Sequence[str], templates: Sequence[str] = (TEMPLATE,)
) -> Classifier:
    """From a folder: CLIP or SigLIP with its tokenizer, or an image classifier with its labels.

    Raises:
        UserError: transformers is not installed, no such folder, or weights that do not fit.
    """
    try:
        from transformers import (
            AutoConfig,
            AutoImageProcessor,
            AutoModel,
            AutoModelForImageClassification,
            AutoTokenizer,
        )
    except ImportError:
        raise UserError("this teacher needs: pip install transformers") from None
    here: dict[str, Any] = {"local_files_only": True}
    try:
        with quiet():
            config: Any = AutoConfig.from_pretrained(source, **here)
            named = config.model_type in ("clip", "siglip")
            kind: Any = AutoModel if named else AutoModelForImageClassification
            model, report = kind.from_pretrained(
                source, **here, output_loading_info=True, dtype=torch.float32, use_safetensors=True
            )
            processor = AutoImageProcessor.from_pretrained(source, **here)
            tokenizer = AutoTokenizer.from_pretrained(source, **here) if named else None
    except Exception as error:  # every file in it has its own way of failing
        raise UserError(f"transformers:{source}: {one_line(str(error))[:300]}") from None
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, report.get(what) or ())):
            more = f" and {len(keys) - 3} more" if keys[3:] else ""
            said = f"{what.replace('_', ' ')}: {', '.join(keys[:3])}{more}"
            raise UserError(f"transformers:{source}: {said}")
    return of_transformers(Path(source).name, model, tokenizer, processor, classes, templates)


def _preparation(
    processor: Any, name: str
) -> tuple[int, tuple[float, ...], tuple[float, ...], Interpolation]:
    """Size, mean, deviation and interpolation of an image processor."""

    def sides(value: Any) -> list[int]:
        get = value.get if hasattr(value, "get") else lambda key: getattr(value, key, None)
        return [int(each) for key in ("shortest_edge", "height", "width") if (each := get(key))]

    crop = sides(processor.crop_size or {}) if getattr(processor, "do_center_crop", False) else []
    final = crop or sides(processor.size or {})
    if not final or len(set(final)) != 1:
        raise UserError(f"transformers:{name}: takes images of {final}; only squares are known")
    if not (processor.do_normalize and processor.do_rescale):
        raise UserError(f"transformers:{name}: its image processor does not normalise")
    if processor.resample not in _RESAMPLING:
        raise UserError(f"transformers:{name}: resampling {processor.resample} is not known here")
    way = _RESAMPLING[processor.resample]
    return final[0], tuple(processor.image_mean), tuple(processor.image_std), way


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, no log lines below errors and no warnings of other packages."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def offline() -> Iterator[None]:
    """Inside, parts of models and tokenizers come from the hub's cache or not at all."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
