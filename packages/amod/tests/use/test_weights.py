"""Weights from files: the forms that load, and what is said of those that do not fit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from huggingface_hub import file_download
from safetensors.torch import save_file
from torch import nn

import amod
from amod.use.options import Checkpoint, RoutingSettings
from amod.use.weights import (
    cached_weights,
    classes_in,
    create_model,
    file_of,
    fitted,
    load_weights,
    routed_model,
)
from repro_shared.runtime.errors import UserError

NAME = "vit_tiny_patch16_224"
TINY: dict[str, int] = {
    "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3
}  # fmt: skip


def vit(classes: int = 7, **changes: Any) -> Any:
    torch.manual_seed(0)
    model = timm.create_model(NAME, **{**TINY, "num_classes": classes, **changes}).eval()
    for parameter in model.parameters():  # with timm's start all images look alike to it
        if parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(vit().state_dict(), path)
    return str(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3,
                       "args": argparse.Namespace(lr=0.1)},  # as timm's training script writes it
    ],
    ids=["bare", "DeiT", "timm"],
)  # fmt: skip
def test_forms_of_checkpoints(wrap: Any, tmp_path: Path) -> None:
    trained, model = vit(), create_model(NAME, 7, **TINY)
    torch.save(wrap(trained.state_dict()), tmp_path / "vit.pth")
    load_weights(model, tmp_path / "vit.pth")
    for key, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)
    assert classes_in(tmp_path / "vit.pth") == 7


def test_a_dense_checkpoint_loads_into_a_routed_model(weights: str) -> None:
    routed = amod.convert(create_model(NAME, 7, **TINY), router="linear")
    before = {k: v.clone() for k, v in routed.state_dict().items() if ".router." in k}
    assert len(before) == 2
    load_weights(routed, weights)
    assert torch.equal(routed.head.weight, vit().head.weight)
    for key, value in before.items():
        assert torch.equal(routed.state_dict()[key], value)


def test_weights_that_do_not_fit_say_what_differs(tmp_path: Path, weights: str) -> None:
    model = create_model(NAME, 3, **TINY)
    with pytest.raises(UserError, match=r"of classes: head\.weight: 7x48 in the file, 3x48"):
        load_weights(model, weights)
    save_file(vit(embed_dim=96).state_dict(), tmp_path / "wide.safetensors")
    with pytest.raises(UserError, match=r"architecture: cls_token: 1x1x96 in the file, 1x1x48 in "
                       r"the model; .* and \d+ more$"):  # fmt: skip
        load_weights(model, tmp_path / "wide.safetensors")
    save_file(vit(3, reg_tokens=2).state_dict(), tmp_path / "registers.safetensors")
    with pytest.raises(UserError, match="reg_token: 1x2x48 in the file, absent in the model"):
        load_weights(model, tmp_path / "registers.safetensors")
    save_file(vit(3, depth=3).state_dict(), tmp_path / "short.safetensors")
    with pytest.raises(UserError, match=r"blocks.3.norm1.weight: absent in the file, 48 in"):
        load_weights(model, tmp_path / "short.safetensors")


def test_weights_of_a_learned_router_need_its_name(tmp_path: Path) -> None:
    trained = amod.convert(vit(), router="linear", capacity=0.25)
    nn.init.normal_(trained.blocks[1].router.weight)
    path = str(tmp_path / "mod.safetensors")
    save_file(trained.state_dict(), path)
    with pytest.raises(UserError, match="has a learned router: say which it is with --router"):
        routed_model(NAME, path, 0.25, RoutingSettings(), **TINY)
    model = routed_model(NAME, path, 0.25, RoutingSettings("linear"), **TINY)
    images = torch.randn(2, 3, *model.patch_embed.img_size)
    torch.testing.assert_close(model(images), trained(images))
    deep = routed_model(
        NAME, None, 0.25, RoutingSettings("random", "practical"), **{**TINY, "depth": 6}
    )
    assert deep.routing == amod.Routing(capacity=0.25, **amod.PRESETS["practical"])
    with pytest.raises(UserError, match="unknown preset 'best'"):
        routed_model(NAME, None, 0.25, RoutingSettings(preset="best"), **TINY)  # type: ignore[arg-type]


@pytest.mark.parametrize("extra", [{}, {"no_embed_class": True}, {"reg_tokens": 2}])
def test_position_embeddings_of_another_size_are_resized_as_timm_does(
    extra: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = {**TINY, **extra}, {**TINY, **extra, "img_size": 56}
    trained, path = vit(**extra), tmp_path / "small.safetensors"
    nn.init.normal_(trained.pos_embed)
    save_file(trained.state_dict(), path)
    overlay = {"file": str(path), "num_classes": 7, "custom_load": False}
    theirs = timm.create_model(
        NAME, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=7, **large
    ).eval()
    ours = create_model(NAME, 7, **large)
    load_weights(ours, path, told=True)
    assert "position embeddings: 4 x 4 patches resized to 7 x 7" in capsys.readouterr().err
    images = torch.randn(2, 3, 56, 56)
    assert torch.equal(ours(images), theirs(images))
    same = create_model(NAME, 7, **small)
    load_weights(same, path, told=True)
    assert capsys.readouterr().err == ""
    state = trained.state_dict()
    assert fitted(same, state).keys() == state.keys()


def test_settings_of_a_preset_and_those_given_beside_it() -> None:
    practical = RoutingSettings(preset="practical")
    assert practical.resolved() == {
        "router": "attention", "first": 5, "every": 2, "score": "column-mean",
        "protect_prefix": True, "k_align": 8,
    }  # fmt: skip
    given = RoutingSettings("l2norm", "practical", first=3, every=3, score="cls-row", k_align=1)
    assert given.resolved() == {
        "router": "l2norm", "first": 3, "every": 3, "score": "cls-row",
        "protect_prefix": True, "k_align": 1,
    }  # fmt: skip
    assert RoutingSettings(first=0).resolved()["first"] == 0  # `convert` refuses it
    assert RoutingSettings(protect_prefix=True).resolved()["protect_prefix"]


def test_pretrained_weights_come_from_the_cache_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(file_download, "HF_HUB_CACHE", str(tmp_path / "hub"), raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    name, repository = "deit_small_patch16_224", "timm/deit_small_patch16_224.fb_in1k"
    with pytest.raises(
        UserError, match=rf"{repository}\) are not in this machine's cache.*--weigh"
    ):
        cached_weights(name)
    saved = tmp_path / "torch" / "hub" / "checkpoints" / "deit_small_patch16_224-cd65a155.pth"
    saved.parent.mkdir(parents=True)
    torch.save({"model": {"head.weight": torch.zeros(3, 2)}}, saved)
    assert cached_weights(name) == saved
    snapshot = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    (snapshot / "refs").mkdir(parents=True)
    (snapshot / "refs" / "main").write_text("0" * 40)
    file = snapshot / "snapshots" / ("0" * 40) / "model.safetensors"
    file.parent.mkdir(parents=True)
    save_file({"head.weight": torch.zeros(5, 2)}, file)
    assert cached_weights(name) == file
    assert file_of(Checkpoint(pretrained=True), name) == str(file)
    assert file_of(Checkpoint("mine.pth"), name) == "mine.pth"
    with pytest.raises(UserError, match="two origins"):
        Checkpoint("mine.pth", pretrained=True)
    with pytest.raises(UserError, match="--img-size must be at least 1, got 0"):
        Checkpoint(img_size=0)
    with pytest.raises(UserError, match="has no pretrained weights of vit_giant_patch14_224"):
        cached_weights("vit_giant_patch14_224")
