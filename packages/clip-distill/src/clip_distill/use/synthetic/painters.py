"""Diffusion pipelines from local folders: Stable Diffusion 1.5 and XL, with LCM's few steps.

The images are decoded here and not by the pipeline: one at a time, so that memory does not grow
with the batch; always in float32, since these decoders overflow in half precision; and before
anything is rounded, so that a value that is not finite is seen. A safety checker never runs: it
would put a black image in the place of one that it dislikes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clip_distill.use.quiet import quiet
from clip_distill.use.synthetic.adapters import put_in
from clip_distill.use.synthetic.language_model import check_loaded
from clip_distill.use.teachers import Compute, weights_digest
from repro_shared.runtime.errors import UserError, one_line

Scheduler = Literal["lcm", "own"]
KNOWN = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Sampling:
    """How an image is made; the defaults are the authors'.

    Attributes:
        steps: of the scheduler.
        guidance: classifier-free; 1 or less is none, and costs half.
        size: of the square images, in pixels; 0 is what the network was made for.
        scheduler: LCM's, or the pipeline's own.
    """

    steps: int = 6
    guidance: float = 0.5
    size: int = 0
    scheduler: Scheduler = "lcm"

    @property
    def passes(self) -> int:
        """Of an image through the network."""
        return self.steps * (2 if self.guidance > 1 else 1)


@dataclass(frozen=True)
class Painter:
    """A pipeline that paints prompts.

    Attributes:
        name: of its folder.
        pipe: of diffusers, with its weights.
        sampling: how.
        adapter: name of the LoRA that is in the weights; "" for none.
    """

    name: str
    pipe: Any
    sampling: Sampling
    adapter: str = ""
    _digest: list[str] = field(default_factory=list, compare=False)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """All that have weights, in a fixed order."""
        names = ("unet", "vae", "text_encoder", "text_encoder_2")
        found = (getattr(self.pipe, name, None) for name in names)
        return tuple(network for network in found if network is not None)

    @property
    def size(self) -> int:
        """Of the images, in pixels."""
        own = int(self.pipe.unet.config.sample_size) * int(self.pipe.vae_scale_factor)
        return self.sampling.size or own

    def form(self) -> dict[str, Any]:
        """What decides an image beside prompt and seed, as plain values."""
        if not self._digest:
            self._digest.append(weights_digest(*self.networks))
        scheduler = type(self.pipe.scheduler).__name__
        return {
            "name": self.name, "kind": type(self.pipe).__name__, "sha256": self._digest[0],
            "adapter": self.adapter, **asdict(self.sampling), "scheduler": scheduler,
            "size": self.size, "compute": str(self.pipe.unet.dtype).removeprefix("torch."),
        }  # fmt: skip

    @property
    def context(self) -> int:
        """Tokens that all of its text encoders take, special ones included."""
        return min(_contexts(self.pipe))

    def lost(self, text: str) -> str:
        """What a tokenizer of the pipeline would cut from a prompt, silently; "" for nothing."""
        for tokenizer, context in zip(_tokenizers(self.pipe), _contexts(self.pipe), strict=True):
            tokens = tokenizer(text, truncation=False, verbose=False).input_ids
            if len(tokens) > context:
                kept = context - 1  # the last one is the end mark
                return str(tokenizer.decode(tokens[kept:], skip_special_tokens=True)).strip()
        return ""

    def paint(self, prompts: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Images, float32 (n, 3, size, size) from 0 to 1 on the CPU, values not finite as they are.

        Each image has its own generator on the CPU: its noise depends on its seed alone.
        """
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        latents = self.pipe(
            prompt=list(prompts), generator=generators, num_inference_steps=self.sampling.steps,
            guidance_scale=self.sampling.guidance, height=self.size, width=self.size,
            output_type="latent",
        ).images  # fmt: skip
        with torch.inference_mode():
            return torch.cat([self._decode(each[None]) for each in latents])

    def _decode(self, latent: Tensor) -> Tensor:
        vae, config = self.pipe.vae, self.pipe.vae.config
        plain = latent.to(vae.dtype) / config.scaling_factor
        mean, std = (getattr(config, name, None) for name in ("latents_mean", "latents_std"))
        if mean is not None and std is not None:
            shift, scale = (plain.new_tensor(each)[None, :, None, None] for each in (mean, std))
            plain = plain * scale + shift
        image: Tensor = vae.decode(plain, return_dict=False)[0]
        return (image.float() / 2 + 0.5).clamp(0, 1).cpu()  # clamping keeps NaN


def of_pipeline(
    name: str, pipe: Any, sampling: Sampling, adapter: str | Path | None = None
) -> Painter:
    """A painter of a pipeline; its scheduler is exchanged and an adapter put into its weights.

    Raises:
        UserError: another kind of pipeline, a size or number of steps that it does not take, or an
            adapter that does not fit.
    """
    if type(pipe).__name__ not in KNOWN:
        raise UserError(f"{name}: a {type(pipe).__name__}; known are {', '.join(KNOWN)}")
    for module in (pipe.unet, pipe.vae, pipe.text_encoder, getattr(pipe, "text_encoder_2", None)):
        if module is not None:
            module.eval().requires_grad_(False)
    step = int(pipe.vae_scale_factor)
    if sampling.size % step:
        raise UserError(f"--size {sampling.size}: {name} makes multiples of {step} pixels")
    if sampling.scheduler == "lcm":
        from diffusers import LCMScheduler

        pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
        most = int(pipe.scheduler.config.original_inference_steps)
        if sampling.steps > most:
            raise UserError(f"--steps {sampling.steps}: LCM's scheduler takes {most} at most")
    if adapter is not None:
        put_in(pipe, Path(adapter))
    pipe.vae.to(torch.float32)
    pipe.set_progress_bar_config(disable=True)
    pipe.safety_checker = None
    return Painter(name, pipe, sampling, Path(adapter).name if adapter is not None else "")


def load_painter(
    folder: str, sampling: Sampling, adapter: str | None, compute: Compute, device: str
) -> Painter:
    """A pipeline from a folder in diffusers' form, with safetensors.

    Raises:
        UserError: no such folder, another kind, pickled weights, or weights that do not fit.
    """
    where = Path(folder)
    try:
        kind = json.loads((where / "model_index.json").read_text(encoding="utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"--pipeline {folder}: no folder of diffusers' (model_index.json); nothing is "
            "downloaded: save one there with save_pretrained"
        ) from None
    if kind not in KNOWN:
        raise UserError(f"--pipeline {folder}: a {kind}; known are {', '.join(KNOWN)}")
    try:
        import diffusers
        import transformers
    except ImportError:
        raise UserError("this needs: pip install 'clip-distill[synthetic]'") from None
    parts = {"unet": diffusers.UNet2DConditionModel, "vae": diffusers.AutoencoderKL,
             "text_encoder": transformers.CLIPTextModel}  # fmt: skip
    more: dict[str, Any] = {"safety_checker": None, "feature_extractor": None,
                            "requires_safety_checker": False}  # fmt: skip
    if kind == "StableDiffusionXLPipeline":
        parts["text_encoder_2"] = transformers.CLIPTextModelWithProjection
        more = {"add_watermarker": False}
    dtype = DTYPES[compute]
    try:
        with quiet():
            for name, part in parts.items():
                more[name] = _part(where, name, part, torch.float32 if name == "vae" else dtype)
            pipe = getattr(diffusers, kind).from_pretrained(where, local_files_only=True, **more)
    except UserError:
        raise
    except Exception as error:  # every file in it has its own way of failing
        raise UserError(
            f"--pipeline {folder}: {type(error).__name__}: {one_line(str(error))[:240]}"
        ) from None
    return of_pipeline(where.resolve().name, pipe.to(device), sampling, adapter)


def _part(where: Path, name: str, part: Any, dtype: torch.dtype) -> nn.Module:
    """A network with all of its weights; half-precision files where there are no others."""
    names = [path.name for path in (where / name).glob("*.safetensors")]
    half = bool(names) and all(".fp16." in each for each in names)
    word = "dtype" if part.__module__.startswith("transformers") else "torch_dtype"
    model, report = part.from_pretrained(
        where, subfolder=name, local_files_only=True, use_safetensors=True,
        output_loading_info=True, variant="fp16" if half else None, **{word: dtype},
    )  # fmt: skip
    check_loaded(report, f"{where}/{name}")
    loaded: nn.Module = model
    return loaded


def _tokenizers(pipe: Any) -> list[Any]:
    both = (pipe.tokenizer, getattr(pipe, "tokenizer_2", None))
    return [tokenizer for tokenizer in both if tokenizer is not None]


def _contexts(pipe: Any) -> list[int]:
    """Of each tokenizer; its encoder has no places for more."""
    encoders = (pipe.text_encoder, getattr(pipe, "text_encoder_2", None))
    places = [int(e.config.max_position_embeddings) for e in encoders if e is not None]
    return [min(int(tokenizer.model_max_length), place)
            for tokenizer, place in zip(_tokenizers(pipe), places, strict=True)]  # fmt: skip
