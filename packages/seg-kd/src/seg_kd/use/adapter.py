"""The one place that knows mmseg: its import, its registries, its configs and their quirks.

mmseg takes seconds to import, so `framework()` does it on first use, after arguments and data have
been checked. Facts worked around here: `onedl-mmsegmentation` shares its import name with
mmsegmentation; `Config` inheritance by package name needs pkg_resources, which current setuptools
dropped, so configs are given as files; SyncBN, which needs DDP, is reverted; pretrained weights
named in a config would be downloaded, so they are removed.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from repro_shared.runtime.errors import UserError
from seg_kd.study.recipes.base import Data, Model

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def check_distributions() -> None:
    """Refuse the two distributions that both install `mmseg`.

    Raises:
        UserError: upstream mmsegmentation lies beside its continuation, or neither is there.
    """
    if _installed("mmsegmentation"):
        raise UserError(
            "mmsegmentation and onedl-mmsegmentation both install the import `mmseg`: "
            "run `pip uninstall mmsegmentation onedl-mmsegmentation`, then reinstall seg-kd"
        )
    if not _installed("onedl-mmsegmentation"):
        raise UserError("onedl-mmsegmentation is missing: reinstall seg-kd")


@cache
def framework() -> ModuleType:
    """Import mmseg, register its modules and return the module `mmseg`."""
    check_distributions()
    from mmengine.logging import MMLogger

    # mmengine logs every initialised parameter to the current logger.
    MMLogger.get_instance("seg-kd", logger_name="seg-kd", log_level="ERROR")
    # mmseg prints that a plug-in for a data service is missing, and mmcv-lite warns of each
    # compiled operator that it does without; neither is used here.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mmseg
        from mmseg.utils import register_all_modules

        register_all_modules(init_default_scope=True)
    return mmseg


def set_device(device: str) -> None:
    """Make mmengine use `cpu` or `cuda`; it otherwise takes whatever accelerator it sees.

    Raises:
        UserError: neither of the two, cuda asked for and not there, or several processes.
    """
    import mmengine.device.utils as device_utils

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("seg-kd runs in one process: start it without torchrun")
    if device not in ("cpu", "cuda"):
        raise UserError(f"--device must be cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no usable CUDA device; use --device cpu")
    device_utils.DEVICE = device


# ---------------------------------------------------------------------------- models


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
        probe: Any = timm.create_model(
            model.backbone, features_only=True, output_stride=model.output_stride
        )
        widths = probe.feature_info.channels()
    head = {
        "num_classes": num_classes,
        "norm_cfg": norm,
        "align_corners": False,
        "dropout_ratio": 0.1,
    }
    # The mean is over labelled pixels (avg_non_ignore): crops of small images are often padded, and
    # mmseg's default would let the padding shrink the loss. The model zoo keeps the default.
    loss = {"type": "CrossEntropyLoss", "use_sigmoid": False, "avg_non_ignore": True}
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": preprocessor_config(crop),
        "backbone": backbone,
        "decode_head": {
            "type": "PSPHead",
            "in_channels": widths[-1],
            "in_index": len(widths) - 1,
            "channels": model.head_channels,
            "pool_scales": (1, 2, 3, 6),
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


def read_model_config(path: str, num_classes: int, crop: tuple[int, int]) -> dict[str, Any]:
    """The `model` of a user's own mmseg config file, safe to build without a network.

    Raises:
        UserError: no such file, no model in it, another number of classes.
    """
    from mmengine.config import Config

    if not Path(path).is_file():
        raise UserError(f"no mmseg config at {path}")
    try:
        config = Config.fromfile(path)
    except Exception as error:  # a config is a program, and may fail in any way
        raise UserError(f"{path} cannot be read as an mmseg config: {error}") from error
    model = config.get("model")
    if model is None or "decode_head" not in model:
        raise UserError(f"{path} has no `model` with a `decode_head`")
    model = model.to_dict()
    head = model["decode_head"]
    if isinstance(head, list):
        raise UserError(f"{path}: cascaded decode heads are not supported; give a model with one")
    if head.get("num_classes") != num_classes:
        raise UserError(
            f"{path} has {head.get('num_classes')} classes, the data have {num_classes}: "
            "set model.decode_head.num_classes (and the auxiliary head's)"
        )
    auxiliary = model.get("auxiliary_head") or []
    for other in auxiliary if isinstance(auxiliary, list | tuple) else [auxiliary]:
        if other.get("num_classes") != num_classes:
            raise UserError(
                f"{path}: an auxiliary head has {other.get('num_classes')} classes, the data have "
                f"{num_classes}"
            )
    _without_downloads(model)
    preprocessor = model.get("data_preprocessor") or preprocessor_config(crop)
    preprocessor["size"] = crop
    preprocessor.pop("size_divisor", None)
    model["data_preprocessor"] = preprocessor
    return model


def _without_downloads(node: Any) -> None:
    """Remove `pretrained` and init_cfg of type Pretrained unless they name a local file.

    Raises:
        UserError: a timm model with a source in its name, which timm would ask for.
    """
    if isinstance(node, list | tuple):
        for child in node:
            _without_downloads(child)
    if not isinstance(node, dict):
        return
    pretrained = node.get("pretrained")
    if pretrained and not (isinstance(pretrained, str) and Path(pretrained).is_file()):
        node["pretrained"] = False if node.get("type") == "TIMMBackbone" else None
    if ":" in str(node.get("model_name", "")):
        raise UserError(f"{node['model_name']}: nothing is downloaded; name a model of timm's own")
    init = node.get("init_cfg")
    if isinstance(init, list | tuple):
        node["init_cfg"] = [each for each in init if not _downloads(each)]
    elif _downloads(init):
        node["init_cfg"] = None
    for child in node.values():
        _without_downloads(child)


def _downloads(init: Any) -> bool:
    """Whether an init_cfg loads weights from elsewhere than a local file."""
    if not isinstance(init, dict):
        return False
    kind = init.get("type")
    name = str(getattr(kind, "__name__", kind)).rpartition(".")[2]
    return name.startswith("Pretrained") and not Path(str(init.get("checkpoint"))).is_file()


def build_model(config: dict[str, Any]) -> Any:
    """Build and initialise an mmseg segmentor; draws from torch's global generator.

    Raises:
        UserError: a config that mmseg cannot build.
    """
    framework()
    from mmengine.config import ConfigDict
    from mmengine.model import revert_sync_batchnorm
    from mmseg.registry import MODELS

    try:
        model = MODELS.build(ConfigDict(config))  # mmseg reads its settings as attributes
        model.init_weights()
    except Exception as error:  # the user's config decides what runs here
        raise UserError(f"mmseg cannot build this model: {error}") from error
    return revert_sync_batchnorm(model)


@contextmanager
def captured_feature(head: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the pre-classifier feature (before dropout) of an mmseg decode head's forward.

    Every head that classifies through `BaseDecodeHead.cls_seg` passes this feature to its dropout
    or, without one, to its 1x1 classifier; hooking there works for all of them.
    """
    dropout, classifier = getattr(head, "dropout", None), getattr(head, "conv_seg", None)
    target = dropout if dropout is not None else classifier
    if target is None:
        raise UserError(f"{type(head).__name__} has no 1x1 classifier to take a feature before")
    features: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features.append(inputs[0])

    handle = target.register_forward_pre_hook(keep)
    try:
        yield features
    finally:
        handle.remove()


def feature_channels(model: Any, layer: str) -> int:
    """Channels of the distilled feature: `pre-classifier`, or `c4` (the head's input)."""
    head = model.decode_head
    return int(head.channels if layer == "pre-classifier" else _c4_channels(head))


def _c4_channels(head: Any) -> int:
    if not isinstance(head.in_channels, int) or not isinstance(head.in_index, int):
        raise UserError("layer c4 needs a decode head that reads one backbone stage")
    return head.in_channels


# ---------------------------------------------------------------------------- data


def training_transform(data: Data) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """mmseg's training pipeline after loading: resize, crop, flip, distort, pack."""
    framework()
    import numpy as np
    from mmcv.transforms import Compose, RandomFlip
    from mmseg.datasets.transforms import (
        PackSegInputs,
        PhotoMetricDistortion,
        RandomCrop,
    )

    low, high = data.resize_range
    steps: list[Any] = [
        RandomCrop(crop_size=data.crop, cat_max_ratio=data.largest_class),
        RandomFlip(prob=data.flip),
    ]
    if data.photometric:
        steps.append(PhotoMetricDistortion())
    rest = Compose([*steps, PackSegInputs()])

    def transform(results: dict[str, Any]) -> dict[str, Any]:
        # mmseg's RandomResize wants one target size for all images; only the factor is meant here.
        # The global generator is what the other transforms draw from; `Views` seeds it.
        scaled = resize(results, float(np.random.uniform(low, high)))  # noqa: NPY002
        return rest(scaled)

    return transform


def resize(results: dict[str, Any], factor: float) -> dict[str, Any]:
    """Scale image (bilinear) and label map (nearest) by `factor` with mmcv's rescale."""
    import mmcv

    image = mmcv.imrescale(results["img"], factor)
    label = mmcv.imrescale(results["gt_seg_map"], factor, interpolation="nearest")
    return {**results, "img": image, "img_shape": image.shape[:2], "gt_seg_map": label}


def test_transform() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Whole images at their own size."""
    framework()
    from mmseg.datasets.transforms import PackSegInputs

    return PackSegInputs()


def collate(samples: list[dict[str, Any]]) -> Any:
    """mmengine's pseudo_collate: lists, not stacks; the preprocessor pads and stacks."""
    from mmengine.dataset import pseudo_collate

    return pseudo_collate(samples)
