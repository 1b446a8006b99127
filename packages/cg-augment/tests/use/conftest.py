"""Tiny diffusion models with random weights, built in memory, and classifiers for them."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import diffusers
import pytest
import torch
import transformers
from torch import Tensor, nn

from repro_shared.runtime.rng import isolated_rng

VP: dict[str, Any] = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
TEXT = {
    "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1,
    "vocab_size": 90, "bos_token_id": 82, "eos_token_id": 83, "projection_dim": 16,
}  # fmt: skip
BLOCKS = {
    "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 8,
}  # fmt: skip


class Judge(nn.Module):
    """A small smooth classifier with a normalisation of its own: images, 0 to 1, to logits."""

    def __init__(self, classes: int = 2, mean: float = 0.5, std: float = 0.25) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        self.one = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.two = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        made: Tensor = self.two(torch.tanh(self.one((images - self.mean) / self.std)).mean((2, 3)))
        return 4 * made


def build(make: Callable[[], Any], seed: int, dtype: torch.dtype) -> Any:
    with isolated_rng(seed):
        return make().to(dtype).eval()


def tokenizer() -> Any:
    letters = [*string.ascii_lowercase, *"<>-._0123456789"]
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    named = {word: place for place, word in enumerate(words)}
    return transformers.CLIPTokenizer(vocab=named, merges=[], model_max_length=77)


def unet(dtype: torch.dtype = torch.float32, classes: int | None = 2, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        **BLOCKS, "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"), "attention_head_dim": 8,
        "num_class_embeds": classes, "in_channels": 3, "out_channels": 3, **changes,
    }  # fmt: skip
    return build(lambda: diffusers.UNet2DModel(**settings), 0, dtype)


def text_unet(dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        **BLOCKS, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "attention_head_dim": 4,
        "cross_attention_dim": 16, "in_channels": 4, "out_channels": 4, **changes,
    }  # fmt: skip
    return build(lambda: diffusers.UNet2DConditionModel(**settings), 0, dtype)


def vae(dtype: torch.dtype = torch.float32, channels: int = 4, **changes: Any) -> Any:
    settings: dict[str, Any] = {
        "block_out_channels": (8, 16), "norm_num_groups": 4, "latent_channels": channels,
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "sample_size": 16, **changes,
    }  # fmt: skip
    return build(lambda: diffusers.AutoencoderKL(**settings), 1, dtype)


def tiny_vae(dtype: torch.dtype = torch.float32, channels: int = 4) -> Any:
    settings: dict[str, Any] = {
        "latent_channels": channels, "encoder_block_out_channels": (8, 8),
        "decoder_block_out_channels": (8, 8), "num_encoder_blocks": (1, 1),
        "num_decoder_blocks": (1, 1),
    }  # fmt: skip
    return build(lambda: diffusers.AutoencoderTiny(**settings), 2, dtype)


def sd(dtype: torch.dtype = torch.float32, scheduler: Any = None) -> Any:
    encoder = transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT))
    pipe = diffusers.StableDiffusionPipeline(
        vae(dtype), encoder.to(dtype).eval(), tokenizer(), text_unet(dtype),
        scheduler or diffusers.DDIMScheduler(**VP, steps_offset=1, clip_sample=False),
        None, None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sdxl(dtype: torch.dtype = torch.float32) -> Any:
    config = transformers.CLIPTextConfig(**TEXT)
    network = text_unet(
        dtype, cross_attention_dim=32, addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=16 + 6 * 8,
        transformer_layers_per_block=1, use_linear_projection=True,
    )  # fmt: skip
    turbo = diffusers.EulerAncestralDiscreteScheduler(**VP, timestep_spacing="trailing")
    pipe = diffusers.StableDiffusionXLPipeline(
        vae(dtype), transformers.CLIPTextModel(config).to(dtype).eval(),
        transformers.CLIPTextModelWithProjection(config).to(dtype).eval(), tokenizer(),
        tokenizer(), network, turbo, add_watermarker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sd3(dtype: torch.dtype = torch.float32, **scheduler: Any) -> Any:
    config = transformers.CLIPTextConfig(**TEXT)
    network = build(lambda: diffusers.SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=1,
        attention_head_dim=8, num_attention_heads=2, joint_attention_dim=32,
        caption_projection_dim=16, pooled_projection_dim=32, pos_embed_max_size=8,
    ), 0, dtype)  # fmt: skip
    encoders = [transformers.CLIPTextModelWithProjection(config).to(dtype).eval() for _ in range(2)]
    pipe = diffusers.StableDiffusion3Pipeline(
        network, diffusers.FlowMatchEulerDiscreteScheduler(**{"shift": 3.0, **scheduler}),
        vae(dtype, scaling_factor=1.5, shift_factor=0.06), encoders[0], tokenizer(), encoders[1],
        tokenizer(), None, None,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


class Tiny:
    """All of them by name."""

    unet, text_unet, vae, tiny_vae = map(staticmethod, (unet, text_unet, vae, tiny_vae))
    sd, sdxl, sd3 = map(staticmethod, (sd, sdxl, sd3))
    vp = VP

    @staticmethod
    def judges(dtype: torch.dtype = torch.float32, classes: int = 2) -> tuple[Any, Any]:
        """A teacher and a student, each with its own normalisation."""
        teacher = build(lambda: Judge(classes, 0.48, 0.27), 5, dtype)
        student = build(lambda: Judge(classes, 0.5, 0.5), 6, dtype)
        return teacher, student


@pytest.fixture(scope="session")
def tiny() -> type[Tiny]:
    """Makes them."""
    return Tiny
