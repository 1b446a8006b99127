"""Diffusion models from local folders, ready to be guided; nothing is downloaded."""

from __future__ import annotations

import copy
import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from cg_augment.method.sampler import Decode
from cg_augment.use.generating.pixel_models import pixels_of, scale_of
from cg_augment.use.schedules import KNOWN
from cg_augment.use.zero_shot import quiet
from repro_shared.datasets.fingerprint import fingerprint_folder
from repro_shared.runtime.errors import UserError, one_line

Scheduler = Literal["own", "ddim", "ddpm", "euler", "euler-ancestral", "dpm++", "flow"]
Compute = Literal["float32", "bfloat16"]
TEXTUAL = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "StableDiffusion3Pipeline")
PIXELS = ("DDPMPipeline", "DDIMPipeline")
_SCHEDULERS = {
    "ddim": "DDIMScheduler", "ddpm": "DDPMScheduler", "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler", "dpm++": "DPMSolverMultistepScheduler",
    "flow": "FlowMatchEulerDiscreteScheduler",
}  # fmt: skip
_DECIDE = (".safetensors", ".json", ".txt", ".model")  # weights, settings and vocabularies
_LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")
_OPTIONAL = {"StableDiffusion3Pipeline": ("text_encoder_3", "tokenizer_3", *_LEFT_OUT[1:])}


@dataclass(frozen=True)
class Loaded:
    """A diffusion model.

    Attributes:
        name: of its folder.
        kind: class of the pipeline, or UNet2DModel.
        source: as `guide` takes it.
        textual: whether it needs prompts.
        decode: in the place of the source's decoder; None for that.
        preview: a decoder for gradients alone; None for the one that makes the images.
        digest: of the folder's weights and settings.
        scheduler: what it is sampled with.
        side: of its images in pixels.
        scale: of a pixel model's latents, on pixels from -1 to 1.
    """

    name: str
    kind: str
    source: Any
    textual: bool
    decode: Decode | None
    preview: Any
    digest: str
    scheduler: str
    side: int
    scale: float = 1.0


def load(
    folder: str, scheduler: Scheduler, compute: Compute, preview: str | None, device: str
) -> Loaded:
    """A pipeline's folder, a UNet2DModel's with its scheduler, or a name in the hub's cache.

    The final decoder is in float32 and decodes one image at a time; with bfloat16 a copy of it is
    there for gradients.

    Raises:
        UserError: nothing there, another kind, weights that are lacking, or pickled ones.
    """
    import diffusers

    where = _local(folder)
    kind = _kind(where)
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[compute]
    decode: Decode | None = None
    seen: Any = None
    scale = 1.0
    try:
        with quiet():
            diffusers.utils.logging.disable_progress_bar()
            if kind == "UNet2DModel":
                unet = part_of_folder(diffusers.UNet2DModel, where, None, dtype)
                source: Any = (unet.to(device), _scheduler_of(where))
            else:
                source = _pipeline(where, kind, dtype).to(device)
                if kind in PIXELS:
                    source = (source.unet, source.scheduler)
            if preview is not None:
                seen = part_of_folder(diffusers.AutoencoderTiny, Path(preview), None, dtype)
                seen = seen.to(device)
    except UserError:
        raise
    except ImportError:
        raise UserError(f"a {kind} needs: pip install transformers") from None
    except Exception as error:  # every file in it has its own way of failing
        said = f"{type(error).__name__}: {one_line(str(error))[:240]}"
        raise UserError(f"--pipeline {folder}: {said}") from None
    if isinstance(source, tuple):
        if preview is not None:
            raise UserError(f"--preview: {where.name} makes pixels and has no decoder to replace")
        unet, own = source
        source = (unet, _exchanged(own, scheduler, where.name))
        scale = scale_of(where)
        decode, side = pixels_of(unet, scale)
    else:
        source.scheduler = _exchanged(source.scheduler, scheduler, where.name)
        source.vae.enable_slicing()
        if compute != "float32" and seen is None:
            seen = copy.deepcopy(source.vae).to(dtype)
            seen.disable_slicing()
        network = getattr(source, "unet", None) or source.transformer
        if not isinstance(own_side := network.config.sample_size, int):
            raise UserError(f"{where.name} does not say the side of its square images: {own_side}")
        side = own_side * int(source.vae_scale_factor)
    used = source[1] if isinstance(source, tuple) else source.scheduler
    return Loaded(
        where.name, kind, source, kind in TEXTUAL, decode, seen, digest_of(where, preview),
        type(used).__name__, side, scale,
    )  # fmt: skip


def _local(folder: str) -> Path:
    where = Path(folder)
    if where.is_dir():
        return where.resolve()
    if folder.count("/") == 1 and not folder.startswith((".", "/")):
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(folder, local_files_only=True))
        except Exception:  # its ways of saying that the cache lacks it are many
            pass
    raise UserError(
        f"--pipeline {folder or '(not given)'}: no such folder, and no such name in the hub's "
        "cache; nothing is downloaded: give a folder that save_pretrained wrote"
    )


def _kind(where: Path) -> str:
    for name in ("model_index.json", "config.json"):
        try:
            kind = json.loads((where / name).read_text(encoding="utf-8"))["_class_name"]
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{where / name}: damaged") from None
        if kind in (*TEXTUAL, *PIXELS, "UNet2DModel"):
            return str(kind)
        known = ", ".join((*TEXTUAL, *PIXELS))
        raise UserError(f"--pipeline {where}: a {kind}; known are {known} and UNet2DModel")
    raise UserError(f"--pipeline {where}: neither model_index.json nor config.json is here")


def _pipeline(where: Path, kind: str, dtype: torch.dtype) -> Any:
    import diffusers
    import transformers  # text encoders; an extra of this package

    transformers.utils.logging.disable_progress_bar()
    index = json.loads((where / "model_index.json").read_text(encoding="utf-8"))
    given: dict[str, Any] = {}
    # What was left away when the pipeline was saved (the T5 encoder of SD 3) may not be named.
    optional = {name: index.get(name, [None, None]) for name in _OPTIONAL.get(kind, ())}
    for name, value in {**index, **optional}.items():
        if name in _LEFT_OUT or (isinstance(value, list) and value[0] is None):
            given[name] = None
        elif isinstance(value, list) and value[0] in ("diffusers", "transformers"):
            part = getattr(importlib.import_module(value[0]), value[1])
            if isinstance(part, type) and issubclass(part, nn.Module):
                type_ = torch.float32 if name == "vae" else dtype
                given[name] = part_of_folder(part, where, name, type_)
    if kind == "StableDiffusionPipeline":
        given["requires_safety_checker"] = False
    if kind == "StableDiffusionXLPipeline":
        given["add_watermarker"] = False
    pipe = getattr(diffusers, kind).from_pretrained(where, local_files_only=True, **given)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def part_of_folder(part: Any, where: Path, name: str | None, dtype: torch.dtype) -> Any:
    """A network with all of its weights from safetensors; half-precision files if no others."""
    files = [path.name for path in (where / (name or "")).glob("*.safetensors")]
    half = bool(files) and all(".fp16." in each for each in files)
    word = "dtype" if part.__module__.startswith("transformers") else "torch_dtype"
    inner = {} if name is None else {"subfolder": name}
    model, report = part.from_pretrained(
        where, local_files_only=True, use_safetensors=True, output_loading_info=True,
        variant="fp16" if half else None, **{word: dtype}, **inner,
    )  # fmt: skip
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, report.get(what) or ())):
            more = f" and {len(keys) - 3} more" if keys[3:] else ""
            said = f"{what.replace('_', ' ')}: {', '.join(keys[:3])}{more}"
            raise UserError(f"{where / (name or '')}: weights do not fit: {said}")
    return model.eval().requires_grad_(False)


def _scheduler_of(where: Path) -> Any:
    import diffusers

    if not (file := where / "scheduler_config.json").is_file():
        raise UserError(
            f"{where}: a network without {file.name}; save the scheduler that it was trained with "
            "into the same folder (scheduler.save_pretrained)"
        )
    name = json.loads(file.read_text(encoding="utf-8"))["_class_name"]
    return getattr(diffusers, name).from_pretrained(where, local_files_only=True)


def _exchanged(own: Any, scheduler: Scheduler, name: str) -> Any:
    if scheduler == "own":
        if (kind := type(own).__name__) not in KNOWN:
            others = ", ".join(_SCHEDULERS)
            raise UserError(f"{name} has a {kind}, which is not known here: give --scheduler, one "
                            f"of {others}")  # fmt: skip
        return own
    flow = "FlowMatch" in type(own).__name__
    if flow != (scheduler == "flow"):
        raise UserError(f"--scheduler {scheduler}: {name} was trained for {type(own).__name__}")
    import diffusers

    return getattr(diffusers, _SCHEDULERS[scheduler]).from_config(own.config)


def digest_of(where: Path, preview: str | None) -> str:
    """Of all files that decide what a model makes."""
    folders = [where, *([Path(preview)] if preview else [])]
    parts = [
        fingerprint_folder(each, sorted(p for p in each.rglob("*") if p.suffix in _DECIDE))
        for each in folders
    ]
    return "-".join(parts)
