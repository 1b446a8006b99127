"""Teachers of open_clip."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from huggingface_hub import constants
from open_clip.factory import load_checkpoint
from open_clip.transform import PreprocessCfg
from torch import nn

from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.quiet import quiet
from clip_distill.use.teachers import Teacher, Texts
from repro_shared.runtime.errors import UserError, one_line

LOCAL = "local-dir:"


def of_model(
    name: str, model: nn.Module, tokenizer: Any, preprocess: PreprocessCfg | None = None
) -> Teacher:
    """A teacher of an open_clip model and its tokenizer.

    Args:
        name: the model's, without a path.
        model: as open_clip makes it; its own preprocessing is used unless another one is given.
        tokenizer: of open_clip.
        preprocess: open_clip's form.

    Raises:
        UserError: images that are not square, or a resizing that is not known here.
    """
    network: Any = model.eval().requires_grad_(False)
    given = preprocess or PreprocessCfg(**open_clip.get_model_preprocess_cfg(network))
    sides = given.size if isinstance(given.size, tuple | list) else (given.size, given.size)
    if sides[0] != sides[1]:
        raise UserError(f"{name}: takes images of {sides}; only square ones are known here")
    try:
        prepared = Preprocessing(
            int(sides[0]), tuple(given.mean), tuple(given.std),
            given.interpolation, given.resize_mode,
        )  # fmt: skip
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    with torch.inference_mode():
        width = network.encode_image(torch.zeros(1, 3, *sides, device=network.logit_scale.device))
    context = int(getattr(network, "context_length", 0) or tokenizer.context_length)
    texts = Texts(
        lambda given: network.encode_text(
            tokenizer(given, context_length=context).to(network.logit_scale.device)
        ),
        lambda text: lost(tokenizer, text, context),
        context,
    )
    return Teacher(
        name=f"open_clip:{name}",
        network=network,
        preprocessing=prepared,
        width=int(width.shape[1]),
        encode=network.encode_image,
        texts=texts,
        image_tower=network.visual,
        libraries=("open_clip_torch", "timm"),
        logit_scale=float(network.logit_scale.detach().exp()),
    )


def load(rest: str) -> Teacher:
    """`MODEL:TAG_OR_FILE` or a folder with `open_clip_config.json`."""
    if Path(rest).is_dir():
        return _from_folder(Path(rest))
    name, _, weights = rest.partition(":")
    if open_clip.get_model_config(name) is None:
        raise UserError(f"open_clip has no model {name!r}, and there is no such folder")
    if not weights:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise UserError(f"open_clip:{name} needs weights: a file, or a tag ({tags})")
    tag = open_clip.get_pretrained_cfg(name, weights) or {}
    path = _cached(name, weights, tag) if tag else Path(weights)
    if not path.is_file():
        raise UserError(f"{weights}: no such file, and no tag of open_clip's {name}")
    try:
        with quiet(), _offline():
            model: Any = open_clip.create_model(
                name, load_weights=False, force_quick_gelu=bool(tag.get("quick_gelu"))
            )
            tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # parts from the hub, in many ways
        raise UserError(
            f"open_clip:{name} cannot be made with what is on this machine, and nothing is "
            f"downloaded here: fetch its tokenizer once with open_clip.get_tokenizer({name!r}) "
            f"({one_line(str(error))[:160]})"
        ) from None
    _fill(model, path, f"open_clip:{name}")
    known = PreprocessCfg.__dataclass_fields__
    own = {**open_clip.get_model_preprocess_cfg(model), **{k: tag[k] for k in tag if k in known}}
    what = weights if tag else path.name
    return of_model(f"{name}:{what}", model, tokenizer, PreprocessCfg(**own))


def _from_folder(folder: Path) -> Teacher:
    where = f"{LOCAL}{folder}"
    try:
        with quiet(), _offline():
            model, _, _ = open_clip.create_model_and_transforms(where, require_pretrained=True)
            tokenizer = open_clip.get_tokenizer(where)
    except Exception as error:  # every file in it has its own way of failing
        said = f"{type(error).__name__}: {one_line(str(error))[:300]}"
        raise UserError(f"{folder}: no open_clip model ({said})") from None
    return of_model(folder.name, model, tokenizer)


@contextmanager
def _offline() -> Iterator[None]:
    """Inside, parts of models and tokenizers come from the hub's cache or not at all."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _fill(model: nn.Module, path: Path, name: str) -> None:
    """All weights from a file, or a UserError: half a teacher teaches nothing."""
    try:
        with quiet():
            load_checkpoint(model, str(path), strict=True, weights_only=True)
    except Exception as error:  # every form of file has its own way of failing
        raise UserError(
            f"{path}: not all weights of {name} ({one_line(str(error))[:300]})"
        ) from None


def _cached(name: str, tag: str, form: dict[str, Any]) -> Path:
    """The file of a tag as open_clip has kept it on this machine."""
    from huggingface_hub import try_to_load_from_cache
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    if repository := form.get("hf_hub"):
        model_id, filename = os.path.split(repository)
        names = (filename,) if filename else (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
        for each in names:
            found = try_to_load_from_cache(model_id, each)
            if isinstance(found, str):
                return Path(found)
    if url := form.get("url"):
        path = Path("~/.cache/clip").expanduser() / os.path.basename(url)
        if path.is_file():
            return path
    raise UserError(
        f"the weights {tag!r} of open_clip's {name} are not on this machine, and nothing is "
        f"downloaded here: fetch them once with open_clip.create_model({name!r}, {tag!r})"
    )


def lost(tokenizer: Any, text: str, context: int) -> str:
    """What open_clip's tokenizer would cut away silently."""
    if hasattr(tokenizer, "bpe"):
        tokens = tokenizer.encode(text)
        kept = context - 2  # between the two special tokens
        return str(tokenizer.decode(tokens[kept:])).strip() if len(tokens) > kept else ""
    inner = tokenizer.tokenizer
    tokens = inner(tokenizer.clean_fn(text), truncation=False).input_ids
    if len(tokens) <= context:
        return ""
    return str(inner.decode(tokens[context - 1 :], skip_special_tokens=True)).strip()


def config_of(specification: str) -> dict[str, Any]:
    """open_clip's configuration of a teacher by its name on the command line."""
    rest = specification.removeprefix("open_clip:")
    if Path(rest).is_dir():
        form = json.loads((Path(rest) / "open_clip_config.json").read_text(encoding="utf-8"))
        return dict(form["model_cfg"])
    name, _, tag = rest.partition(":")
    config = open_clip.get_model_config(name)
    assert config is not None  # it was loaded
    if (open_clip.get_pretrained_cfg(name, tag) or {}).get("quick_gelu"):
        return {**config, "quick_gelu": True}  # as `load` makes it
    return dict(config)
