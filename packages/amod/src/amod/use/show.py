"""`amod show`: which patches of an image each routed block processes."""

from __future__ import annotations

import io
import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from amod.method.blocks import routed_blocks
from amod.method.model import set_capacity
from amod.use.options import NO_FLAGS, RoutingSettings
from amod.use.views import eval_transform
from amod.use.weights import routed_model
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, ensure_output_dir
from repro_shared.runtime.images import read_rgb

ANIMATED = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
FRAME_MS = 700
# Pixels. A panel is scaled up until its title fits above it.
PANEL_WIDTH, GAP, TITLE_SIZE, LINE = 224, 12, 14, 18
# A skipped patch keeps a quarter of its contrast, on a blue gray that photographs hardly have, so
# that it is told from a processed patch in gray and in dark pictures too.
FADED, GROUND = 0.25, (88, 104, 140)


def show(
    image: str,
    model: str,
    weights: str | None,
    out: str,
    capacity: float | None = None,
    routing: RoutingSettings = NO_FLAGS,
    animate: bool = False,
    **changes: Any,
) -> Path:
    """Draw the routing of an image: a panel for each routed block, skipped patches faded.

    Arguments as of `amod show`; `changes` are settings for `timm.create_model`.

    Returns:
        Path of the written file.

    Raises:
        UserError: what is wrong with the image, the model, its weights, the capacity or `out`.
    """
    target = Path(out)
    kind = target.suffix.lower()
    if kind not in (".png", ".gif"):
        raise UserError(f"--out {out}: the picture is written as .png or .gif")
    pixels = read_rgb(image)
    network = routed_model(model, weights, capacity, routing, **changes)
    capacities = ANIMATED if animate or kind == ".gif" else (network.routing.capacity,)
    origin = "random weights" if weights is None else Path(weights).name
    try:
        frames = _frames(network, pixels, capacities, f"{model}, {origin}")
    except ValueError as error:
        raise UserError(str(error)) from error
    ensure_output_dir(target.parent)
    data = io.BytesIO()
    first, *others = frames
    motion: dict[str, Any] = {"append_images": others, "duration": FRAME_MS, "loop": 0}
    first.save(data, format=kind[1:].upper(), save_all=bool(others), **motion)
    atomic_write_bytes(target, data.getvalue())
    return target


def routing_masks(model: Any, images: Tensor) -> dict[int, Tensor]:
    """Which tokens each routed block processes, from one forward pass.

    Args:
        model: a converted model, in evaluation mode.
        images: (B, 3, H, W), normalised.

    Returns:
        By index of the block, bool (B, N), prefix tokens first.
    """
    blocks, tokens = routed_blocks(model), model.patch_embed.num_patches + model.num_prefix_tokens
    # At full capacity a block chooses nothing: it processes all.
    full = torch.ones(len(images), tokens, dtype=torch.bool, device=images.device)
    masks = dict.fromkeys(blocks, full)

    def listen(index: int) -> Any:
        def keep(_: Any, __: Any, output: tuple[Tensor, Tensor | None]) -> None:
            chosen = blocks[index].route.chosen(output[0])
            masks[index] = torch.zeros_like(full).scatter(1, chosen, True)

        return keep

    with ExitStack() as hooks, torch.no_grad():
        for index, block in blocks.items():
            hooks.callback(block.router.register_forward_hook(listen(index)).remove)
        model(images)
    return masks


def faded(image: NDArray[np.uint8], kept: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The image with all patches but the kept ones faded to a blue gray.

    Args:
        image: (H, W, 3).
        kept: (rows, columns) of patches, divisors of H and W.
    """
    height, width = (size // n for size, n in zip(image.shape[:2], kept.shape, strict=True))
    clear = kept.repeat(height, axis=0).repeat(width, axis=1)[..., None]
    ghost = GROUND + FADED * (image.mean(axis=2, keepdims=True) - 128)
    return np.where(clear, image, ghost).round().astype(np.uint8)


def panel_title(model: Any, index: int, mask: Tensor) -> str:
    """`block 3: 98 of 197, CLS in`, and on a second line how many other prefix tokens are in."""
    text = f"block {index}: {int(mask.sum())} of {len(mask)}"
    prefix = mask[: model.num_prefix_tokens]
    if model.cls_token is not None:
        text += ", CLS in" if prefix[0] else ", CLS out"
        prefix = prefix[1:]
    if len(prefix):
        text += f"\n{int(prefix.sum())} of {len(prefix)} other prefix tokens in"
    return text


def _frames(
    model: Any, pixels: NDArray[np.uint8], capacities: tuple[float, ...], subject: str
) -> list[Image.Image]:
    transform, config = eval_transform(model)
    batch = transform(Image.fromarray(pixels))[None]
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    shown = ((batch[0] * std + mean) * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    frames = []
    for capacity in capacities:
        set_capacity(model, capacity)
        panels = [("image", shown)]
        for index, (mask,) in routing_masks(model, batch).items():
            patches = mask[model.num_prefix_tokens :].reshape(model.patch_embed.grid_size)
            panels.append((panel_title(model, index, mask), faded(shown, patches.numpy())))
        frames.append(_arrange(panels, f"{subject}, capacity {capacity:g}"))
    return frames


def _arrange(panels: list[tuple[str, NDArray[np.uint8]]], heading: str) -> Image.Image:
    """One picture of all panels, in rows of four (of five from nine panels on)."""
    columns = min(len(panels), 4 if len(panels) <= 8 else 5)
    height, width = panels[0][1].shape[:2]
    scale = math.ceil(PANEL_WIDTH / width)
    band = LINE * max(title.count("\n") + 1 for title, _ in panels)
    step_x, step_y = scale * width + GAP, scale * height + band + GAP
    size = (GAP + columns * step_x, GAP + LINE + math.ceil(len(panels) / columns) * step_y + GAP)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(TITLE_SIZE)
    draw.text((GAP, GAP // 2), heading, "black", font)
    for place, (title, pixels) in enumerate(panels):
        x, y = GAP + place % columns * step_x, GAP + LINE + place // columns * step_y
        draw.text((x, y), title, "black", font)
        enlarged = Image.fromarray(pixels).resize(
            (scale * width, scale * height), Image.Resampling.NEAREST
        )
        canvas.paste(enlarged, (x, y + band))
    return canvas
