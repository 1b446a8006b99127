"""The one place that knows mmseg: its import, its registries, its pipelines and their quirks.

mmseg takes seconds to import, so `framework()` does it on first use, after arguments and data have
been checked. Facts worked around here: `onedl-mmsegmentation` shares its import name with
mmsegmentation; SyncBN, which needs DDP, is reverted; weights named in a config are read as tensors
only, and never downloaded.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from repro_shared.runtime.checks import check_device
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.weights import read_weights
from seg_kd.use.data import View, as_results


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
    from mmengine.runner import CheckpointLoader

    # What init_cfg names is read like any other file of weights.
    CheckpointLoader.register_scheme("", _local_checkpoint, force=True)
    return mmseg


def _local_checkpoint(filename: str, map_location: Any = None) -> dict[str, Any]:
    return {"state_dict": read_weights(filename)}


def set_device(device: str) -> None:
    """Make mmengine use `cpu` or `cuda`; it otherwise takes whatever accelerator it sees.

    Raises:
        UserError: neither of the two, cuda asked for and not there, or several processes that no
            verb has joined to a group: `train` and `distill` do.
    """
    import mmengine.device.utils as device_utils

    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        raise UserError(
            "this runs in one process: start it without torchrun, which `train` and `distill` take"
        )
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
        with warnings.catch_warnings():  # advice on settings that are the config's or set below
            warnings.simplefilter("ignore")
            model = MODELS.build(ConfigDict(config))  # mmseg reads its settings as attributes
            model.init_weights()
    except UserError:
        raise
    except Exception as error:  # the user's config decides what runs here
        raise UserError(f"mmseg cannot build this model: {reason(error)}") from error
    return revert_sync_batchnorm(model)


def mask_padding(model: Any) -> bool:
    """Average every cross-entropy over labelled pixels alone; whether that changes any.

    mmseg's default divides by all pixels, so that padding and unlabelled pixels shrink the loss.
    Where classes have weights it does not.
    """
    from mmseg.models.losses import CrossEntropyLoss

    changed = [
        module
        for module in model.modules()
        if isinstance(module, CrossEntropyLoss)
        and not (module.avg_non_ignore or module.use_mask or module.class_weight)
    ]
    for module in changed:
        module.avg_non_ignore = True
    return bool(changed)


def reason(error: Exception) -> str:
    """What went wrong in mmseg or torch, short enough for a line."""
    text = " ".join(str(error).split()) or "no reason given"
    return f"{type(error).__name__}: {text[:300]}{'...' if len(text) > 300 else ''}"


def checkpoint_bytes(state: dict[str, Tensor]) -> bytes:
    """{"state_dict": ...} as mmseg's `load_checkpoint` reads it; tensors only."""
    buffer = io.BytesIO()
    torch.save({"state_dict": state}, buffer)
    return buffer.getvalue()


def training_transform(
    view: View, edges: bool = False
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """mmseg's training pipeline after loading: resize, crop, flip, distort, pack.

    With `edges` a map of class boundaries is made of the label map, as PIDNet's loss wants it.
    """
    framework()
    from mmcv.transforms import Compose, RandomFlip
    from mmseg.datasets.transforms import (
        GenerateEdge,
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
    if edges:
        steps.append(GenerateEdge(edge_width=4))  # PIDNet's own setting
    rest = Compose([*steps, PackSegInputs()])

    def transform(results: dict[str, Any]) -> dict[str, Any]:
        # The global generator is what the other transforms draw from; `Views` seeds it.
        factor = float(np.random.uniform(low, high))  # noqa: NPY002
        sides = view.fit and (int(view.fit[0] * factor), int(view.fit[1] * factor))
        return rest(resize(results, sides or factor))

    return transform


def resize(results: dict[str, Any], scale: float | tuple[int, int]) -> dict[str, Any]:
    """Scale image (bilinear) and label map (nearest) by a factor, or into two sides, with mmcv."""
    import mmcv

    image = mmcv.imrescale(results["img"], scale)
    label = mmcv.imrescale(results["gt_seg_map"], scale, interpolation="nearest")
    return {**results, "img": image, "img_shape": image.shape[:2], "gt_seg_map": label}


def fitted_into(results: dict[str, Any], sides: tuple[int, int] | None) -> dict[str, Any]:
    """Scale an image into two sides for scoring; mmseg resizes its answer to `ori_shape`."""
    return results if sides is None else resize(results, sides)


def test_transform() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Whole images at their own size."""
    framework()
    from mmseg.datasets.transforms import PackSegInputs

    return PackSegInputs()


def training_batch(edges: bool) -> Callable[[list[tuple[Any, Any]]], Any]:
    """Makes a batch of (image, label map) pairs of one size, as a loader gives it, unchanged."""
    framework()
    from mmcv.transforms import Compose
    from mmseg.datasets.transforms import GenerateEdge, PackSegInputs

    transform = Compose([*([GenerateEdge(edge_width=4)] if edges else []), PackSegInputs()])
    return lambda samples: collate([transform(as_results(*each)) for each in samples])


def fitted(image: np.ndarray, label: np.ndarray, size: tuple[int, int]) -> tuple[Any, Any]:
    """An image (bilinear) and its label map (nearest) at a size (height, width)."""
    import mmcv

    wide = (size[1], size[0])
    return mmcv.imresize(image, wide), mmcv.imresize(label, wide, interpolation="nearest")


def collate(samples: list[dict[str, Any]]) -> Any:
    """mmengine's pseudo_collate: lists, not stacks; the preprocessor pads and stacks."""
    from mmengine.dataset import pseudo_collate

    return pseudo_collate(samples)
