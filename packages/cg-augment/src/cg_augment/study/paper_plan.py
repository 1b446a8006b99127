"""Hours of the paper's scale, by arithmetic: Stable Diffusion 1.x counted on shapes alone."""

from __future__ import annotations

from typing import Any

from cg_augment.method.cost import of_engine
from cg_augment.study.paper_recipes import Images
from cg_augment.study.paper_world import WORDS
from cg_augment.use.generating.guidance import engine_of
from repro_shared.study.paper import Study
from repro_shared.timing.counts import count_operations


def estimate(study: Study, tflops: float) -> list[str]:
    """For `--plan`: images, arithmetic and hours of a GPU that sustains so many TFLOPS."""
    found = list[str]()
    network, decoder = sd_macs()
    for arm in study.arms:
        if not isinstance(arm.config, Images):
            continue
        sizes = arm.config.sizes
        engine = engine_of(arm.config.engine, **arm.config.settings)
        passes = of_engine(engine, sizes.steps)
        macs = 2 * passes.network * network  # with the condition and without
        macs += (passes.decodes + passes.decodes_backward) * decoder
        count = sizes.each * len(WORDS)
        hours = 2 * macs * count / tflops / 1e12 / 3600
        found.append(
            f"  {arm.name}: {count:,} images of {macs / 1e12:.0f} TMAC with Stable Diffusion 1.x "
            f"at 512 pixels, {hours:,.0f} h of one GPU at {tflops:g} TFLOPS; those that stop early "
            "take less, those that are set apart come on top"
        )
    return found


def sd_macs() -> tuple[int, int]:
    """Multiply-accumulates of a pass of Stable Diffusion 1.x's UNet, and of its decoder, at 512."""
    unet, vae = sd_on_meta()
    import torch

    with torch.device("meta"), torch.no_grad():
        x, words = torch.empty(1, 4, 64, 64), torch.empty(1, 77, 768)
        network = count_operations(unet, x, torch.tensor(1), words).macs
        return network, count_operations(vae.decode, x).macs


def sd_on_meta() -> tuple[Any, Any]:
    """Stable Diffusion 1.x's UNet and autoencoder, without weights."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel

    unet: Any
    vae: Any
    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        )  # fmt: skip
    return unet.eval(), vae.eval()
