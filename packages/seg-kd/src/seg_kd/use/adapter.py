"""The one place that knows mmseg: its import, its registries, its pipelines and their quirks.

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
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from repro_shared.runtime.checks import check_device
from repro_shared.runtime.errors import UserError
from seg_kd.use.data import View


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
    check_device(device)
    device_utils.DEVICE = device


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


def checkpoint_bytes(state: dict[str, Tensor]) -> bytes:
    """{"state_dict": ...} as mmseg's `load_checkpoint` reads it; tensors only."""
    buffer = io.BytesIO()
    torch.save({"state_dict": state}, buffer)
    return buffer.getvalue()


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


def training_transform(view: View) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """mmseg's training pipeline after loading: resize, crop, flip, distort, pack."""
    framework()
    import numpy as np
    from mmcv.transforms import Compose, RandomFlip
    from mmseg.datasets.transforms import (
        PackSegInputs,
        PhotoMetricDistortion,
        RandomCrop,
    )

    low, high = view.resize_range
    steps: list[Any] = [
        RandomCrop(crop_size=view.crop, cat_max_ratio=view.largest_class),
        RandomFlip(prob=view.flip),
    ]
    if view.photometric:
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
