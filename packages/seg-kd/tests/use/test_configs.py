"""Configs by mmseg's own names, and what a config's heads must not be."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from repro_shared.runtime.errors import UserError
from seg_kd.use.configs import read_config
from seg_kd.use.heads import needs_edges
from seg_kd.use.models import own_model, read_model_config

CROP = (64, 64)
NAME = "mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py"


def test_configs_of_the_package_by_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        f"_base_ = {NAME!r}\nmodel = dict(decode_head=dict(channels=32))\n"
    )
    built = read_model_config(str(tmp_path / "mine.py"), 19, CROP)
    assert built["backbone"]["depth"] == 18
    assert built["decode_head"]["channels"] == 32
    assert built["data_preprocessor"]["size"] == CROP
    assert own_model(NAME, 19, CROP).config(19, CROP)["decode_head"]["channels"] == 128
    for base, problem in (
        ("mmseg::pspnet/no_such.py", r"mmseg brings no .*see the files in .*pspnet"),
        ("mmdet::faster_rcnn/x.py", "only mmseg's own configs are found by name"),
    ):
        (tmp_path / "mine.py").write_text(f"_base_ = {base!r}\n")
        with pytest.raises(UserError, match=problem):
            read_config(str(tmp_path / "mine.py"))


def written(config: dict[str, Any], folder: Path) -> str:
    path = folder / "config.py"
    path.write_text(f"model = {config!r}\n")
    return str(path)


def test_every_kind_of_head_is_read(config: dict[str, Any], tmp_path: Path) -> None:
    built = read_model_config(written(config, tmp_path), 5, CROP)
    kinds = str(config["decode_head"])
    assert needs_edges(built) == ("PIDHead" in kinds)
    with pytest.raises(UserError, match="5 classes, the data have 6"):
        read_model_config(written(config, tmp_path), 6, CROP)


def test_heads_that_ignore_a_class_are_refused(plain: dict[str, Any], tmp_path: Path) -> None:
    for part, setting in (("decode_head", 0), ("auxiliary_head", 4)):
        config = copy.deepcopy(plain)
        config[part]["ignore_index"] = setting
        with pytest.raises(UserError, match=rf"model\.{part} ignores class {setting} .*--ignore"):
            read_model_config(written(config, tmp_path), 5, CROP)
    config = copy.deepcopy(plain)
    config["decode_head"]["loss_decode"] = {"type": "DiceLoss", "ignore_index": 0}
    with pytest.raises(UserError, match=r"decode_head ignores class 0 \(ignore_index\)"):
        read_model_config(written(config, tmp_path), 5, CROP)
    config["decode_head"]["loss_decode"] = {"type": "OhemCrossEntropy", "ignore_label": 2}
    with pytest.raises(UserError, match=r"decode_head ignores class 2 \(ignore_label\)"):
        read_model_config(written(config, tmp_path), 5, CROP)
    config["decode_head"] |= {"loss_decode": {"type": "OhemCrossEntropy"}, "ignore_index": 255}
    read_model_config(written(config, tmp_path), 5, CROP)


def test_class_weights_are_counted(
    plain: dict[str, Any], binary: dict[str, Any], tmp_path: Path
) -> None:
    for part in ("decode_head", "auxiliary_head"):
        config = copy.deepcopy(plain)
        loss = config[part]["loss_decode"]
        config[part]["loss_decode"] = [{**loss, "class_weight": [1.0] * 5}]
        read_model_config(written(config, tmp_path), 5, CROP)
        config[part]["loss_decode"].append({**loss, "class_weight": [1.0] * 4})
        said = rf"model\.{part}: class_weight of its loss has 4 values for 5 classes"
        with pytest.raises(UserError, match=said):
            read_model_config(written(config, tmp_path), 5, CROP)
    binary["decode_head"]["loss_decode"]["class_weight"] = [2.0]
    read_model_config(written(binary, tmp_path), 2, CROP)


def test_boundary_heads_and_heads_without_classes(plain: dict[str, Any], tmp_path: Path) -> None:
    boundary = {**plain["auxiliary_head"], "type": "STDCHead", "num_classes": 2}
    config = {**plain, "auxiliary_head": [plain["auxiliary_head"], boundary]}
    assert len(read_model_config(written(config, tmp_path), 5, CROP)["auxiliary_head"]) == 2
    depth = {**plain, "decode_head": {"type": "VPDDepthHead"}, "auxiliary_head": None}
    with pytest.raises(UserError, match="has no num_classes: it scores no classes"):
        read_model_config(written(depth, tmp_path), 5, CROP)


def test_heads_that_classify_masks_are_refused(tmp_path: Path) -> None:
    for name in ("maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512",
                 "mask2former/mask2former_r50_8xb2-90k_cityscapes-512x1024",
                 "san/san-vit-b16_coco-stuff164k-640x640"):  # fmt: skip
        with pytest.raises(UserError, match="Head classifies masks, not pixels"):
            read_model_config(f"mmseg::{name}.py", 19, CROP)


def test_padding_is_labelled_as_ignored_and_images_are_scored_whole(
    plain: dict[str, Any], tmp_path: Path
) -> None:
    plain["data_preprocessor"]["seg_pad_val"] = 0
    del plain["test_cfg"]
    built = read_model_config(written(plain, tmp_path), 5, CROP)
    assert built["data_preprocessor"]["seg_pad_val"] == 255
    assert built["test_cfg"] == {"mode": "whole"}
