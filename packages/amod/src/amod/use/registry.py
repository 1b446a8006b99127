"""The paper's models for `timm.create_model`, e.g. `amod_deit_small_patch16_224`.

Each entry builds timm's dense model, with its weights where they are asked for, and converts it.
Settings of `amod.convert`, and `preset=` with a name of `amod.PRESETS`, go to the conversion, all
others to timm's own entry. The names carry the dense models' pretrained configurations, so that
`pretrained=True`, tags, `features_only=True` and frameworks that build timm models by their name
(mmseg's TIMMBackbone) work as they do for dense models.
"""

from __future__ import annotations

import inspect
from typing import Any

from timm.models import (
    generate_default_cfgs,
    get_arch_pretrained_cfgs,
    model_entrypoint,
    register_model,
    resolve_pretrained_cfg,
)

from amod.method.model import PRESETS, convert

PREFIX = "amod_"
DENSE = (
    "deit_tiny_patch16_224",
    "deit_small_patch16_224",
    "deit_base_patch16_224",
    "vit_base_patch16_224",
    "vit_large_patch16_224",
)
"""timm's names; the routed ones have `PREFIX` before them."""
SETTINGS = frozenset(inspect.signature(convert).parameters) - {"model"}

# timm looks for this name when an entry is registered. The weights are those of the dense models,
# whose tags come with the default first.
default_cfgs = generate_default_cfgs(
    {PREFIX + name: cfg for dense in DENSE for name, cfg in get_arch_pretrained_cfgs(dense).items()}
)


def _create(dense: str, pretrained: bool, settings: dict[str, Any]) -> Any:
    """A routed model, or with `features_only=True` timm's feature extractor around one.

    Weights are loaded before the conversion, so that a learned router does not get in the way.

    Raises:
        ValueError: unknown preset, or settings that cannot work.
    """
    preset = settings.pop("preset", "paper")
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    given = {name: settings.pop(name) for name in SETTINGS & settings.keys()}
    cfg = resolve_pretrained_cfg(
        PREFIX + dense,
        settings.pop("pretrained_cfg", None),
        settings.pop("pretrained_cfg_overlay", None),
    )
    model = model_entrypoint(dense)(pretrained=pretrained, pretrained_cfg=cfg, **settings)
    inner = model if hasattr(model, "blocks") else model.model  # features_only wraps it
    settings = {**PRESETS[preset], **given}
    # timm drops the blocks behind the last wanted feature; with few of them none is routed.
    if inner is model or len(inner.blocks) > settings.get("first", 1):
        convert(inner, **settings)
    return model


@register_model
def amod_deit_tiny_patch16_224(pretrained: bool = False, **settings: Any) -> Any:
    """Routed DeiT-Tiny: 12 blocks of width 192, 197 tokens."""
    return _create("deit_tiny_patch16_224", pretrained, settings)


@register_model
def amod_deit_small_patch16_224(pretrained: bool = False, **settings: Any) -> Any:
    """Routed DeiT-Small: 12 blocks of width 384, 197 tokens."""
    return _create("deit_small_patch16_224", pretrained, settings)


@register_model
def amod_deit_base_patch16_224(pretrained: bool = False, **settings: Any) -> Any:
    """Routed DeiT-Base: 12 blocks of width 768, 197 tokens; not one of the paper's models."""
    return _create("deit_base_patch16_224", pretrained, settings)


@register_model
def amod_vit_base_patch16_224(pretrained: bool = False, **settings: Any) -> Any:
    """Routed ViT-Base: 12 blocks of width 768, 197 tokens."""
    return _create("vit_base_patch16_224", pretrained, settings)


@register_model
def amod_vit_large_patch16_224(pretrained: bool = False, **settings: Any) -> Any:
    """Routed ViT-Large: 24 blocks of width 1024, 197 tokens."""
    return _create("vit_large_patch16_224", pretrained, settings)
