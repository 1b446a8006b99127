"""mmseg models as the recipes describe them."""

from __future__ import annotations

import math
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.weights import load_strictly, read_weights
from seg_kd.use import adapter
from seg_kd.use.data import View, as_results
from seg_kd.use.models import BUILT_IN, Model, model_config, read_model_config

SMALL = Model(base_channels=8, head_channels=16, auxiliary_channels=8)


@pytest.mark.parametrize(("name", "millions"), [("pspnet_r18", 12.79), ("pspnet_r101", 67.97)])
def test_paper_models_have_the_zoo_s_parameter_counts(name: str, millions: float) -> None:
    config = model_config(BUILT_IN[name], 19, (512, 1024))
    with torch.device("meta"):
        adapter.framework()
        from mmengine.config import ConfigDict
        from mmseg.registry import MODELS

        model = MODELS.build(ConfigDict(config))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize(("stride", "size"), [(8, 8), (4, 16)])
def test_output_stride(stride: int, size: int) -> None:
    model = adapter.build_model(
        model_config(Model(base_channels=8, output_stride=stride), 5, (64, 64))
    ).eval()
    assert model.extract_feat(torch.zeros(1, 3, 64, 64))[-1].shape[-2:] == (size, size)


def test_exported_weights_load_in_mmseg(tmp_path: Path) -> None:
    config = model_config(SMALL, 5, (64, 64))
    model = adapter.build_model(config)
    (tmp_path / "model.pth").write_bytes(adapter.checkpoint_bytes(model.state_dict()))
    path = tmp_path / "config.py"
    path.write_text(f"model = {config!r}\n")
    adapter.framework()
    from mmengine.runner import load_checkpoint

    fresh = adapter.build_model(read_model_config(str(path), 5, (64, 64)))
    load_checkpoint(fresh, str(tmp_path / "model.pth"), strict=True)
    assert all(
        torch.equal(value, model.state_dict()[name]) for name, value in fresh.state_dict().items()
    )


def test_configs_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_text(f"model = {model_config(SMALL, 5, (64, 64))!r}\n")
    with pytest.raises(UserError, match="has 5 classes, the data have 7"):
        read_model_config(str(path), 7, (64, 64))
    with pytest.raises(UserError, match="no mmseg config"):
        read_model_config(str(tmp_path / "absent.py"), 5, (64, 64))
    path.write_text("x = 1\n")
    with pytest.raises(UserError, match="no `model`"):
        read_model_config(str(path), 5, (64, 64))
    path.write_text("x = undefined\n")
    with pytest.raises(UserError, match="cannot be read as an mmseg config"):
        read_model_config(str(path), 5, (64, 64))
    wrong = model_config(SMALL, 5, (64, 64))
    wrong["auxiliary_head"]["num_classes"] = 4
    path.write_text(f"model = {wrong!r}\n")
    with pytest.raises(UserError, match="an auxiliary head has 4 classes"):
        read_model_config(str(path), 5, (64, 64))
    for change in ({"type": "NoSuchNet"}, {"depth": 19}, {"no_such_setting": 1}):
        config = model_config(SMALL, 5, (64, 64))
        config["backbone"].update(change)
        with pytest.raises(UserError, match="mmseg cannot build this model"):
            adapter.build_model(config)


def test_downloads_are_removed_from_configs(tmp_path: Path) -> None:
    config = model_config(SMALL, 5, (64, 64))
    config["pretrained"] = "open-mmlab://resnet18_v1c"
    config["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": "https://x.example/y.pth"}
    path = tmp_path / "config.py"
    path.write_text(f"model = {config!r}\n")
    read = read_model_config(str(path), 5, (64, 64))
    assert read["pretrained"] is None
    assert read["backbone"]["init_cfg"] is None
    torch.save({"weight": torch.ones(1)}, tmp_path / "here.pth")
    local = {"type": "Pretrained", "checkpoint": str(tmp_path / "here.pth")}
    kaiming = {"type": "Kaiming", "layer": "Conv2d"}
    config["backbone"]["init_cfg"] = [
        kaiming,
        {"type": "mmengine.Pretrained", "checkpoint": "https://x.example/y.pth"},
        {"type": "PretrainedInit"},
        local,
    ]
    path.write_text(f"model = {config!r}\n")
    read = read_model_config(str(path), 5, (64, 64))
    assert read["backbone"]["init_cfg"] == [kaiming, local]
    config["backbone"] = {"type": "TIMMBackbone", "model_name": "hf-hub:timm/resnet18.a1_in1k"}
    path.write_text(f"model = {config!r}\n")
    with pytest.raises(UserError, match=r"hf-hub.*nothing is downloaded"):
        read_model_config(str(path), 5, (64, 64))


def test_padding_does_not_count_in_the_loss(plain: dict[str, Any]) -> None:
    plain["decode_head"]["loss_decode"] = {"type": "CrossEntropyLoss"}  # mmseg's default
    plain["auxiliary_head"] = None
    images = [np.zeros((16, 16, 3), np.uint8)] * 2
    labels = [np.ones((16, 16), np.uint8)] * 2
    losses = []
    for masked in (False, True):
        model = adapter.build_model(plain)
        assert not masked or adapter.mask_padding(model)
        assert not masked or not adapter.mask_padding(model)
        batch = adapter.training_batch(edges=False)(list(zip(images, labels, strict=True)))
        data = model.data_preprocessor(batch, True)
        assert data["inputs"].shape[-2:] == (64, 64)
        losses.append(float(model(**data, mode="loss")["decode.loss_ce"].detach()))
    assert losses[0] == pytest.approx(math.log(5) / 16, rel=0.2)  # 15 of 16 pixels are padding
    assert losses[1] == pytest.approx(math.log(5), rel=0.2)
    plain["decode_head"]["loss_decode"] |= {"class_weight": [1.0] * 5}  # which mmseg does mask
    assert not adapter.mask_padding(adapter.build_model(plain))


def test_init_cfg_reads_tensors_only(plain: dict[str, Any], tmp_path: Path) -> None:
    trained = adapter.build_model(plain).backbone
    path = tmp_path / "backbone.pth"
    plain["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": str(path)}
    torch.save({"state_dict": trained.state_dict(), "history": HistoryBuffer([1.0], [1])}, path)
    again = adapter.build_model(plain).backbone
    assert torch.equal(again.layer4[0].conv1.weight, trained.layer4[0].conv1.weight)
    path.write_bytes(pickle.dumps({"state_dict": Path()}))
    with pytest.raises(UserError, match=r"backbone\.pth is damaged or holds more") as raised:
        adapter.build_model(plain)
    assert len(str(raised.value)) < 300


def test_a_view_is_what_mmsegs_pipeline_makes_of_an_image() -> None:
    adapter.framework()
    from mmcv.transforms import Compose, RandomFlip, RandomResize
    from mmseg.datasets.transforms import PackSegInputs, PhotoMetricDistortion, RandomCrop

    pipeline = Compose([
        RandomResize(scale=(96, 48), ratio_range=(0.5, 2.0), resize_type="Resize", keep_ratio=True),
        RandomCrop(crop_size=(32, 40), cat_max_ratio=0.75),
        RandomFlip(prob=0.5),
        PhotoMetricDistortion(),
        PackSegInputs(),
    ])  # fmt: skip
    view = View((32, 40), resize_range=(0.5, 2.0), fit=(96, 48))
    ours = adapter.training_transform(view)
    rng = np.random.default_rng(0)
    for shape in ((60, 90), (90, 60), (20, 100)):
        image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        label = rng.integers(0, 5, shape, dtype=np.uint8)
        for seed in range(4):
            made = []
            for transform in (ours, pipeline):
                np.random.seed(seed)  # noqa: NPY002
                random.seed(seed)
                made.append(transform(as_results(image, label)))
            assert torch.equal(made[0]["inputs"], made[1]["inputs"])
            labels = [each["data_samples"].gt_sem_seg.data for each in made]
            assert torch.equal(*labels)


def test_two_distributions_of_mmseg_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_installed", lambda name: True)
    with pytest.raises(UserError, match="both install the import `mmseg`"):
        adapter.check_distributions()


def test_hostile_and_foreign_weights(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "pwned",)  # type: ignore[return-value]

    torch.save({"state_dict": Payload()}, tmp_path / "hostile.pth")
    with pytest.raises(UserError, match="is not loaded because it could run code"):
        read_weights(str(tmp_path / "hostile.pth"))
    assert not (tmp_path / "pwned").exists()
    model = adapter.build_model(model_config(SMALL, 5, (64, 64)))
    other = adapter.build_model(model_config(SMALL, 6, (64, 64)))
    with pytest.raises(UserError, match="another architecture"):
        load_strictly(model, other.state_dict(), "other.pth")
