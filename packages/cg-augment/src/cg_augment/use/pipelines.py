"""Pipelines of diffusers as a `Sampler`: pixel models, Stable Diffusion 1, XL (Turbo) and 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cg_augment.method.sampler import Decode, Sampler
from cg_augment.method.schedule import Schedule
from cg_augment.use import networks
from cg_augment.use.prompts import check_prompts
from cg_augment.use.schedules import read_schedule
from repro_shared.runtime.errors import UserError


@dataclass(frozen=True)
class Sampling:
    """How images are made, guided or not.

    Attributes:
        steps: of the sampler.
        eta: of DDIM.
        guidance_scale: of the guidance without a classifier; 1 or less for none (SDXL-Turbo: 0).
        negative_prompt: of its pass without.
        size: height and width in pixels; None for the model's own.
        strength: share of the steps that noised images are denoised with.
        dtype: of the latents.
    """

    steps: int = 20
    eta: float = 0.0
    guidance_scale: float = 3.0
    negative_prompt: str = ""
    size: tuple[int, int] | None = None
    strength: float = 1.0
    dtype: torch.dtype = torch.float32


def sampler_of(
    source: Any,
    labels: Sequence[int],
    prompts: Sequence[str] | None = None,
    sampling: Sampling | None = None,
    images: Tensor | None = None,
    preview: Any = None,
    decode: Decode | None = None,
    condition: Tensor | None = None,
) -> Sampler:
    """A sampler with the conditions of all images.

    Args:
        source: a pipeline of diffusers (Stable Diffusion 1.x, SDXL, SD3, DDPM, DDIM), or a network
            and a scheduler: `(unet, scheduler)`.
        labels: of the images; a UNet2DModel that knows classes is conditioned on them.
        prompts: of the images, for pipelines with text.
        sampling: how.
        images: (n, 3, h, w), 0 to 1, to begin from.
        preview: an AutoencoderTiny or a function, for gradients only.
        decode: in the place of the source's decoder.
        condition: (n, tokens, width) for a bare UNet2DConditionModel.

    Raises:
        UserError: a source that is not known, or whatever does not fit to it.
    """
    how = sampling or Sampling()
    kind = torch.as_tensor(list(labels), dtype=torch.int64)
    if isinstance(source, tuple):
        made = _bare(source, kind, condition, how)
    elif (name := type(source).__name__) in ("DDPMPipeline", "DDIMPipeline"):
        made = _bare((source.unet, source.scheduler), kind, None, how)
    elif name in _TEXTUAL:
        if prompts is None or len(prompts) != len(kind):
            raise UserError(f"{name} needs a prompt for each of the {len(kind)} images")
        check_prompts(source, [*prompts, how.negative_prompt])
        made = _TEXTUAL[name](source, prompts, how)
    else:
        raise UserError(
            f"{name} is not known here; known: {', '.join(_TEXTUAL)}, DDPMPipeline, DDIMPipeline, "
            "or a tuple (UNet2DModel, scheduler)"
        )
    if decode is not None:
        made = replace(made, decode=decode)
    if preview is not None:
        seen = networks.decoder(preview) if hasattr(preview, "config") else preview
        extra = (preview,) if hasattr(preview, "config") else ()
        made = replace(made, preview=seen, modules=(*made.modules, *extra))
    return made if images is None else _from_images(source, made, images, how)


def _from_images(source: Any, made: Sampler, images: Tensor, how: Sampling) -> Sampler:
    if isinstance(source, tuple) or not hasattr(source, "vae"):
        origin = 2 * images - 1
    else:
        origin = networks.encode(source.vae, images)
    if tuple(origin.shape[1:]) != made.shape:
        raise UserError(
            f"images of {images.shape[-2]} x {images.shape[-1]} pixels do not fit to the diffusion "
            f"model: its latents are {made.shape}, theirs {tuple(origin.shape[1:])}"
        )
    schedule = made.schedule.last(how.strength)
    return replace(made, schedule=schedule, origin=origin.to(made.like))


def _bare(source: tuple[Any, Any], labels: Tensor, condition: Tensor | None, how: Sampling) -> Any:
    unet, scheduler = source
    size = unet.config.sample_size
    if size is None:
        raise UserError("this network does not say its size: set unet.config.sample_size")
    own = (size, size) if isinstance(size, int) else tuple(size)
    if how.size is not None and how.size != own:
        raise UserError(f"the diffusion model makes images of {own}, not of {how.size}")
    schedule = read_schedule(scheduler, how.steps, eta=how.eta)
    if condition is not None:
        if len(condition) != len(labels):
            raise UserError(f"{len(condition)} conditions for {len(labels)} images")
        network = networks.by_text(unet, {"text": condition}, torch.arange(len(labels)))
    else:
        network = networks.by_class(unet, labels.to(unet.device))
    shape = (int(unet.config.in_channels), *own)
    return Sampler(
        schedule, network, shape, networks.pixels, modules=(unet,), device=unet.device,
        dtype=how.dtype,
    )  # fmt: skip


def _unique(prompts: Sequence[str]) -> tuple[list[str], Tensor]:
    """Each prompt once, and which one each image has."""
    once = list(dict.fromkeys(prompts))
    return once, torch.tensor([once.index(prompt) for prompt in prompts])


def _size(pipe: Any, own: int | Sequence[int], how: Sampling) -> tuple[int, int]:
    """Height and width of the latents."""
    if how.size is None:
        return (own, own) if isinstance(own, int) else (own[0], own[1])
    factor = pipe.vae_scale_factor
    if how.size[0] % factor or how.size[1] % factor:
        raise UserError(f"height and width must be multiples of {factor}, got {how.size}")
    return how.size[0] // factor, how.size[1] // factor


def _sd(pipe: Any, prompts: Sequence[str], how: Sampling) -> Sampler:
    once, kind = _unique(prompts)
    double = how.guidance_scale > 1
    with torch.no_grad():
        text, plain = pipe.encode_prompt(
            once, pipe.device, 1, double, [how.negative_prompt] * len(once) if double else None
        )
    without = {"text": plain} if double else None
    network = networks.by_text(pipe.unet, {"text": text}, kind, without, how.guidance_scale)
    schedule = read_schedule(pipe.scheduler, how.steps, eta=how.eta)
    return _latent(pipe, pipe.unet, schedule, network, _size(pipe, pipe.unet.config.sample_size,
                   how), how)  # fmt: skip


def _sdxl(pipe: Any, prompts: Sequence[str], how: Sampling) -> Sampler:
    once, kind = _unique(prompts)
    double = how.guidance_scale > 1
    # An empty negative prompt is the vector of nothing, or zeros, as the pipeline is configured.
    negative = [how.negative_prompt] * len(once) if how.negative_prompt else None
    with torch.no_grad():
        text, plain, pooled, plain_pooled = pipe.encode_prompt(
            prompt=once, device=pipe.device, num_images_per_prompt=1,
            do_classifier_free_guidance=double, negative_prompt=negative,
        )  # fmt: skip
    sides = _size(pipe, pipe.unet.config.sample_size, how)
    height, width = (side * pipe.vae_scale_factor for side in sides)
    second = getattr(pipe, "text_encoder_2", None)
    width_of_text = pooled.shape[-1] if second is None else second.config.projection_dim
    sizes = pipe._get_add_time_ids(
        (height, width), (0, 0), (height, width), text.dtype, width_of_text
    ).to(text.device)

    def named(text: Tensor, pooled: Tensor) -> Mapping[str, Tensor]:
        return {"text": text, "text_embeds": pooled, "time_ids": sizes.expand(len(text), -1)}

    without = named(plain, plain_pooled) if double else None
    network = networks.by_text(
        pipe.unet, named(text, pooled), kind, without, how.guidance_scale
    )  # fmt: skip
    schedule = read_schedule(pipe.scheduler, how.steps, eta=how.eta)
    return _latent(pipe, pipe.unet, schedule, network, sides, how)


def _sd3(pipe: Any, prompts: Sequence[str], how: Sampling) -> Sampler:
    once, kind = _unique(prompts)
    double = how.guidance_scale > 1
    with torch.no_grad():
        text, plain, pooled, plain_pooled = pipe.encode_prompt(
            prompt=once, prompt_2=None, prompt_3=None, device=pipe.device,
            do_classifier_free_guidance=double, negative_prompt=how.negative_prompt,
        )  # fmt: skip
    config = pipe.transformer.config
    sides = _size(pipe, config.sample_size, how)
    without = {"text": plain, "pooled": plain_pooled} if double else None
    network = networks.by_transformer(
        pipe.transformer, {"text": text, "pooled": pooled}, kind, without, how.guidance_scale
    )
    shift = None
    if pipe.scheduler.config.get("use_dynamic_shifting"):
        tokens = (sides[0] // config.patch_size) * (sides[1] // config.patch_size)
        shift = _shift(pipe.scheduler.config, tokens)
    schedule = read_schedule(pipe.scheduler, how.steps, eta=how.eta, mu=shift)
    return _latent(pipe, pipe.transformer, schedule, network, sides, how)


def _shift(config: Any, tokens: int) -> float:
    """Linear in the number of tokens, as the pipelines of diffusers have it."""
    get = config.get
    fewest, most = get("base_image_seq_len", 256), get("max_image_seq_len", 4096)
    low, high = get("base_shift", 0.5), get("max_shift", 1.15)
    return float(low + (tokens - fewest) * (high - low) / (most - fewest))


def _latent(
    pipe: Any,
    network: Any,
    schedule: Schedule,
    conditioned: networks.Conditioned,
    sides: tuple[int, int],
    how: Sampling,
) -> Sampler:
    channels = int(pipe.vae.config.latent_channels)
    if channels != int(network.config.in_channels):
        raise UserError(
            f"the network takes {network.config.in_channels} channels, latents have {channels}: a "
            "pipeline for inpainting or for conditions on images is not known here"
        )
    return Sampler(
        schedule, conditioned, (channels, *sides), networks.decoder(pipe.vae),
        modules=(network, pipe.vae), device=pipe.device, dtype=how.dtype,
    )  # fmt: skip


_TEXTUAL = {
    "StableDiffusionPipeline": _sd,
    "StableDiffusionXLPipeline": _sdxl,
    "StableDiffusion3Pipeline": _sd3,
}
