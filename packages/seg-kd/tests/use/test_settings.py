"""What a config says of training is read, and what is not followed is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from repro_shared.runtime.errors import UserError
from seg_kd.use.settings import read_settings, settings_of

SEGFORMER: dict[str, Any] = {
    "optim_wrapper": {
        "type": "OptimWrapper",
        "optimizer": {"type": "AdamW", "lr": 6e-5, "betas": (0.9, 0.99), "weight_decay": 0.01},
        "paramwise_cfg": {"custom_keys": {"norm": {"decay_mult": 0.0}, "head": {"lr_mult": 10.0}}},
        "clip_grad": {"max_norm": 1.0, "norm_type": 2},
    },
    "param_scheduler": [
        {"type": "LinearLR", "start_factor": 1e-6, "by_epoch": False, "begin": 0, "end": 1500},
        {"type": "PolyLR", "eta_min": 0.0, "power": 1.0, "begin": 1500, "end": 160000,
         "by_epoch": False},
    ],
    "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 160000, "val_interval": 16000},
    "train_dataloader": {
        "batch_size": 2,
        "dataset": {
            "type": "RepeatDataset",
            "dataset": {
                "pipeline": [
                    {"type": "LoadImageFromFile"},
                    {"type": "LoadAnnotations"},
                    {"type": "RandomResize", "scale": (2048, 512), "ratio_range": (0.75, 1.5),
                     "keep_ratio": True},
                    {"type": "RandomCrop", "crop_size": (64, 96), "cat_max_ratio": 0.9},
                    {"type": "RandomFlip", "prob": 0.25},
                    {"type": "PackSegInputs"},
                ]
            },
        },
    },
}  # fmt: skip


def test_all_that_a_transformers_config_says_is_followed() -> None:
    found = settings_of(SEGFORMER)
    assert found.values == {
        "kind": "AdamW",
        "learning_rate": 6e-5,
        "betas": (0.9, 0.99),
        "weight_decay": 0.01,
        "multipliers": '{"custom_keys":{"head":{"lr_mult":10.0},"norm":{"decay_mult":0.0}}}',
        "clip_norm": 1.0,
        "power": 1.0,
        "minimum_rate": 0.0,
        "warmup": 1500 / 160000,
        "warmup_start": 1e-6,
        "iterations": 160000,
        "batch_size": 2,
        "resize_range": (0.75, 1.5),
        "fit": (2048, 512),
        "crop": (64, 96),
        "largest_class": 0.9,
        "flip": 0.25,
        "photometric": False,
    }
    assert found.unused == []


def test_what_a_config_leaves_out_is_what_its_framework_does() -> None:
    values = settings_of({"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}}}).values
    assert (values["momentum"], values["weight_decay"]) == (0.0, 0.0)
    assert "power" not in values  # no schedule: seg-kd's own


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"optim_wrapper": {"optimizer": {"type": "Adam", "lr": 1e-3}}}, "Adam is neither"),
        ({"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 1, "nesterov": True}}}, "nesterov"),
        (
            {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 1}, "accumulative_counts": 4}},
            "accumulative_counts",
        ),
        (
            {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 1}, "constructor": "Layers"}},
            "Layers",
        ),
        (
            {"optim_wrapper": {"optimizer": {"type": "SGD"}, "clip_grad": {"clip_value": 1}}},
            "clip_grad",
        ),
        ({"param_scheduler": {"type": "CosineAnnealingLR"}}, "CosineAnnealingLR"),
        ({"param_scheduler": [{"type": "PolyLR", "by_epoch": True}]}, "PolyLR"),
        ({"train_cfg": {"max_epochs": 10}}, "max_epochs"),
        ({"load_from": "https://x.y/z.pth"}, "load_from"),
        ({"custom_hooks": [{"type": "EMAHook"}]}, "custom_hooks"),
        ({"train_pipeline": [{"type": "RandomRotate", "prob": 0.5}]}, "RandomRotate"),
        (
            {"train_pipeline": [{"type": "RandomResize", "scale": (64, 32), "keep_ratio": False}]},
            "RandomResize",
        ),
        ({"train_pipeline": [{"type": "RandomFlip", "prob": 0.5, "direction": "vertical"}]},
         "direction"),
        ({"train_pipeline": [{"type": "LoadAnnotations", "reduce_zero_label": True}]},
         "--reduce-zero-label"),
    ],
)  # fmt: skip
def test_what_is_not_followed_is_named(config: dict[str, Any], said: str) -> None:
    assert any(said in line for line in settings_of(config).unused)


def test_a_batch_for_many_gpus_is_remarked() -> None:
    config = {"train_dataloader": {"batch_size": 2}, "auto_scale_lr": {"base_batch_size": 16}}
    assert "16 images" in settings_of(config).remarks["batch_size"]


def test_mmsegs_own_configs_are_read_whole() -> None:
    found = read_settings("mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py")
    assert found.unused == ["test pipeline, Resize: images are scored whole, at their own size"]
    assert found.values["kind"] == "AdamW"
    assert found.values["crop"] == (1024, 1024)


def test_a_setting_of_the_wrong_type_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text("optim_wrapper = dict(optimizer=dict(type='SGD', lr='fast'))\n")
    with pytest.raises(UserError, match=r"odd\.py: its training settings cannot be read"):
        read_settings(str(path))
