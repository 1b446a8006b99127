"""timm's own view of a picture for a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor


def eval_transform(model: Any) -> tuple[Callable[[Image.Image], Tensor], dict[str, Any]]:
    """timm's own evaluation transform of a ViT, and the configuration that it was made from.

    The size is the model's, which may differ from that of its pretrained configuration.
    """
    size = {"input_size": (3, *model.patch_embed.img_size)}
    config = resolve_model_data_config(model, args=size)
    return create_transform(**config), config
