"""Networks of diffusers with their conditions bound: classes, texts, and passes without either."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cg_augment.method.sampler import Decode
from repro_shared.runtime.errors import UserError

Call = Callable[[Tensor, Tensor, Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Conditioned:
    """A network with the conditions of all images.

    Attributes:
        call: x (n, ...), timesteps (n,) and conditions (n, ...) by name, to the output.
        given: conditions by name, (kinds, ...).
        kind: which of them each image has, int64 (images,).
        without: conditions of the pass without, (1, ...) or (kinds, ...); None for a single pass.
        scale: output without + scale (output with - output without) (arXiv 2207.12598).
        dtype: of the network; x comes and goes in its own.
    """

    call: Call
    given: Mapping[str, Tensor]
    kind: Tensor
    without: Mapping[str, Tensor] | None = None
    scale: float = 1.0
    dtype: torch.dtype = torch.float32

    def __call__(self, x: Tensor, timestep: float, rows: Tensor) -> Tensor:
        """The output in the type of x."""
        kinds = self.kind[rows.to(self.kind.device)]
        own = x.to(self.dtype)
        times = torch.full((len(x),), timestep, device=x.device, dtype=torch.float32)
        picked = {name: values[kinds.to(values.device)] for name, values in self.given.items()}
        if self.without is None:
            return self.call(own, times, picked).to(x.dtype)
        both = {
            name: torch.cat([values[kinds.to(values.device)] if len(values) > 1
                             else values.expand(len(x), *values.shape[1:]), picked[name]])
            for name, values in self.without.items()
        }  # fmt: skip
        output = self.call(torch.cat([own, own]), torch.cat([times, times]), both).to(x.dtype)
        plain, conditioned = output.chunk(2)
        return plain + self.scale * (conditioned - plain)


def by_class(unet: Any, labels: Tensor) -> Conditioned:
    """A UNet2DModel, with classes if it was trained with them.

    Raises:
        UserError: a label that it has no embedding for.
    """
    embedding = getattr(unet, "class_embedding", None)
    count = getattr(embedding, "num_embeddings", None)
    if count is not None and len(labels) and int(labels.max()) >= count:
        raise UserError(
            f"label {int(labels.max())}: the diffusion model knows {count} classes, from 0 to "
            f"{count - 1}"
        )
    given = {} if embedding is None else {"class_labels": labels.to(unet.device)}

    def call(x: Tensor, times: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        made: Tensor = unet(x, times, **conditions, return_dict=False)[0]
        return made

    return Conditioned(call, given, torch.arange(len(labels)), dtype=unet.dtype)


def by_text(
    unet: Any,
    given: Mapping[str, Tensor],
    kind: Tensor,
    without: Mapping[str, Tensor] | None = None,
    scale: float = 1.0,
) -> Conditioned:
    """A UNet2DConditionModel: `text` goes to its attention, the rest are added (SDXL)."""
    if getattr(unet.config, "time_cond_proj_dim", None) is not None:
        raise UserError(
            "this network takes the guidance scale as an input, which is not known here"
        )

    def call(x: Tensor, times: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        added = {name: value for name, value in conditions.items() if name != "text"}
        made: Tensor = unet(
            x, times, encoder_hidden_states=conditions["text"],
            added_cond_kwargs=added or None, return_dict=False,
        )[0]  # fmt: skip
        return made

    return Conditioned(call, given, kind, without, scale, unet.dtype)


def by_transformer(
    transformer: Any,
    given: Mapping[str, Tensor],
    kind: Tensor,
    without: Mapping[str, Tensor] | None = None,
    scale: float = 1.0,
) -> Conditioned:
    """An SD3Transformer2DModel, which gives noise less x0."""

    def call(x: Tensor, times: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        made: Tensor = transformer(
            hidden_states=x, timestep=times, encoder_hidden_states=conditions["text"],
            pooled_projections=conditions["pooled"], return_dict=False,
        )[0]  # fmt: skip
        return made

    return Conditioned(call, given, kind, without, scale, transformer.dtype)


def pixels(latents: Tensor) -> Tensor:
    """Of a model without a decoder: -1 to 1 as 0 to 1."""
    return latents / 2 + 0.5


def decoder(vae: Any) -> Decode:
    """Of an AutoencoderKL or AutoencoderTiny: latents as the network has them, to about 0 to 1.

    Raises:
        UserError: a decoder that is known to overflow in its type.
    """
    config = vae.config
    if getattr(config, "force_upcast", False) and vae.dtype == torch.float16:
        raise UserError(
            "this decoder overflows in float16 and would give black images: pipe.vae.to("
            "torch.float32) first, or torch.bfloat16"
        )

    def decode(latents: Tensor) -> Tensor:
        scaled = latents / float(config.scaling_factor)
        mean, std = (getattr(config, name, None) for name in ("latents_mean", "latents_std"))
        if mean is not None and std is not None:
            of, by = (torch.tensor(each).reshape(1, -1, 1, 1).to(latents) for each in (mean, std))
            scaled = scaled * by + of
        scaled = scaled + float(getattr(config, "shift_factor", None) or 0.0)
        made: Tensor = vae.decode(scaled.to(vae.dtype), return_dict=False)[0]
        return made.to(latents.dtype) / 2 + 0.5

    return decode


def encode(vae: Any, images: Tensor) -> Tensor:
    """Images (n, 3, h, w), 0 to 1, to latents as the network has them: the mode, no noise."""
    config = vae.config
    if getattr(config, "latents_mean", None) is not None:
        raise UserError("noised images with a decoder that normalises its latents: not known here")
    with torch.no_grad():
        made = vae.encode((2 * images - 1).to(device=vae.device, dtype=vae.dtype))
    latents = made.latent_dist.mode() if hasattr(made, "latent_dist") else made.latents
    found: Tensor = latents - float(getattr(config, "shift_factor", None) or 0.0)
    return found * float(config.scaling_factor)
