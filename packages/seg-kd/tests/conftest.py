"""Fixtures: a small label-map folder, a recipe that trains in a second, tiny models."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repro_shared.study.paper import Study
from seg_kd.study.arms import objectives, students, teacher
from seg_kd.study.recipes import SCENES, comparison, equal_time, equal_time_digits
from seg_kd.use import adapter
from seg_kd.use.data import Scenes
from seg_kd.use.models import Model, model_config


def write_pair(root: Path, split: str, name: str, label: np.ndarray) -> None:
    """One image whose colours follow its label map."""
    rng = np.random.default_rng(sum(map(ord, name)))
    image = (label[..., None] * 20 + rng.integers(0, 20, (*label.shape, 3))).astype(np.uint8)
    for kind, array in (("images", image), ("labels", label)):
        (root / kind / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(root / kind / split / f"{name}.png")


@pytest.fixture(autouse=True)
def on_the_cpu() -> None:
    """mmengine takes whatever accelerator it sees, unless it is told."""
    adapter.set_device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six training and two evaluation images, 11 classes, 11 = unlabelled, 40 x 48 pixels."""
    rng = np.random.default_rng(0)
    root = tmp_path / "street scenes"
    for split, count in (("train", 6), ("val", 2)):
        for index in range(count):
            blocks = rng.integers(0, 12, (5, 6), dtype=np.uint8)
            write_pair(root, split, f"{split}_{index}", np.kron(blocks, np.ones((8, 8), np.uint8)))
    return root


@pytest.fixture(scope="session")
def tiny() -> Study:
    """The digit comparison at the smoke scale, without the equal-iteration runs and controls."""
    study = equal_time_digits("smoke")
    like = students(study, "time")[0].config
    arms = comparison(like, teacher(study), objectives(study), budgets=(8,))
    return equal_time(replace(study, data=Scenes(SCENES, 8, 4), arms=arms), rounds=2)


# Tiny mmseg configs, one for each kind of decode head: five classes, crops of 64 x 64.
CROP = (64, 64)
CLASSES = 5
BN = {"type": "BN"}
PLAIN = model_config(Model(base_channels=8, head_channels=16, auxiliary_channels=8), CLASSES, CROP)
LOSS = {"type": "CrossEntropyLoss", "avg_non_ignore": True}
OHEM = {"type": "OhemCrossEntropy", "min_kept": 100}
EVERY: dict[str, Any] = {"num_classes": CLASSES, "norm_cfg": BN, "align_corners": False}
ON_C4: dict[str, Any] = {**EVERY, "in_channels": 64, "in_index": 3, "channels": 16}
FCN = {"type": "FCNHead", **ON_C4, "num_convs": 1, "loss_decode": LOSS}
UPDATE = {
    "type": "KernelUpdateHead",
    "num_classes": CLASSES,
    "num_ffn_fcs": 2,
    "num_heads": 2,
    "num_mask_fcs": 1,
    "feedforward_channels": 16,
    "in_channels": 16,
    "out_channels": 16,
    "dropout": 0.0,
    "conv_kernel_size": 1,
    "ffn_act_cfg": {"type": "ReLU", "inplace": True},
    "with_ffn": True,
    "feat_transform_cfg": {"conv_cfg": {"type": "Conv2d"}, "act_cfg": None},
    "kernel_updator_cfg": {
        "type": "KernelUpdator",
        "in_channels": 16,
        "feat_channels": 16,
        "out_channels": 16,
        "act_cfg": {"type": "ReLU", "inplace": True},
        "norm_cfg": {"type": "LN"},
    },
}


def _with(head: Any, **others: Any) -> dict[str, Any]:
    return {**PLAIN, "decode_head": head, **others}


MAPS = {  # heads with one main map, and what they return in training
    "one map": PLAIN,
    "three maps (DANet)": _with({"type": "DAHead", **ON_C4, "pam_channels": 8}),
    "a map and a vector (EncNet)": _with(
        {
            **EVERY,
            "type": "EncHead",
            "in_channels": [32, 64],
            "in_index": (2, 3),
            "channels": 16,
            "num_codes": 4,
        }
    ),
    "a map for each stage (K-Net)": _with(
        {
            "type": "IterativeDecodeHead",
            "num_stages": 2,
            "kernel_generate_head": FCN,
            "kernel_update_head": [UPDATE, UPDATE],
        }
    ),
    "two maps (DDRNet)": _with(
        {
            **EVERY,
            "type": "DDRHead",
            "in_channels": 32,
            "channels": 16,
            "loss_decode": [OHEM, OHEM],
        },
        backbone={"type": "DDRNet", "channels": 8, "ppm_channels": 16, "norm_cfg": BN},
        auxiliary_head=None,
    ),
    "maps and edges (PIDNet)": _with(
        {
            **EVERY,
            "type": "PIDHead",
            "in_channels": 32,
            "channels": 16,
            "align_corners": True,
            "loss_decode": [LOSS, OHEM, {"type": "BoundaryLoss"}, OHEM],
        },
        backbone={
            "type": "PIDNet",
            "channels": 8,
            "ppm_channels": 16,
            "num_stem_blocks": 1,
            "num_branch_blocks": 1,
            "norm_cfg": BN,
        },
        auxiliary_head=None,
    ),
    "a cascade (OCRNet)": _with(
        [FCN, {"type": "OCRHead", **ON_C4, "ocr_channels": 8, "loss_decode": LOSS}],
        type="CascadeEncoderDecoder",
        num_stages=2,
    ),
}
SEGMENTER = _with(
    {
        "type": "SegmenterMaskTransformerHead",
        **{k: v for k, v in ON_C4.items() if k not in ("norm_cfg", "align_corners")},
        "embed_dims": 16,
        "num_layers": 1,
        "num_heads": 2,
    }
)
"""A map without a 1x1 classifier."""

BINARY = _with(
    {
        **PLAIN["decode_head"],
        "num_classes": 2,
        "out_channels": 1,
        "threshold": 0.3,
        "loss_decode": {**LOSS, "use_sigmoid": True},
    },
    auxiliary_head=None,
)
"""One score for two classes."""


@pytest.fixture(params=MAPS)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A config of each kind of decode head with one main map of class scores."""
    return copy.deepcopy(MAPS[request.param])


@pytest.fixture
def plain() -> dict[str, Any]:
    """A config whose head gives one map."""
    return copy.deepcopy(PLAIN)


@pytest.fixture
def segmenter() -> dict[str, Any]:
    """A config whose head has no 1x1 classifier."""
    return copy.deepcopy(SEGMENTER)


@pytest.fixture
def binary() -> dict[str, Any]:
    """A config with one score for two classes."""
    return copy.deepcopy(BINARY)
