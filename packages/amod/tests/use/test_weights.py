"""Weights from files: the forms that load, and what is said of those that do not fit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

import amod
from amod.use.weights import classes_in, create_model, load_weights, routed_model
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
        routed_model(NAME, path, 0.25, "attention", "paper", **TINY)
    model = routed_model(NAME, path, 0.25, "linear", "paper", **TINY)
    images = torch.randn(2, 3, *model.patch_embed.img_size)
    torch.testing.assert_close(model(images), trained(images))
    deep = routed_model(NAME, None, 0.25, "random", "practical", **{**TINY, "depth": 6})
    assert deep.routing == amod.Routing(capacity=0.25, **amod.PRESETS["practical"])
    with pytest.raises(UserError, match="unknown preset 'best'"):
        routed_model(NAME, None, 0.25, "random", "best", **TINY)
