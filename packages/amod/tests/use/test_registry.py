"""The registered models behave as timm's own, and are what `convert` makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import _builder
from torch import Tensor

import amod
from amod.use import registry

SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 4,
                         "num_heads": 3}  # fmt: skip
NAME = "deit_small_patch16_224"


def dense(seed: int = 0, **changes: Any) -> Any:
    torch.manual_seed(seed)
    return timm.create_model(NAME, **{**SMALL, **changes}).eval()


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_timm_lists_the_models_with_the_dense_models_weights() -> None:
    assert timm.list_models("amod_*") == [
        "amod_deit_base_patch16_224",
        "amod_deit_small_patch16_224",
        "amod_deit_tiny_patch16_224",
        "amod_vit_base_patch16_224",
        "amod_vit_large_patch16_224",
    ]
    for name in registry.DENSE:
        ours, theirs = (
            timm.list_models(f"{prefix}{name}", include_tags=True) for prefix in ("amod_", "")
        )
        assert ours == [f"amod_{tagged}" for tagged in theirs]
        for tagged in (name, *theirs):  # the first is the default
            routed, plain = (
                timm.get_pretrained_cfg(prefix + tagged).to_dict() for prefix in ("amod_", "")
            )
            assert routed.pop("architecture") == f"amod_{name}"
            assert plain.pop("architecture") == name
            assert routed == plain
    assert timm.get_pretrained_cfg(f"amod_{NAME}").hf_hub_id == f"timm/{NAME}.fb_in1k"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("deit_tiny", 5_717_416),
        ("deit_small", 22_050_664),
        ("deit_base", 86_567_656),
        ("vit_base", 86_567_656),
        ("vit_large", 304_326_632),
    ],
)
def test_sizes(name: str, parameters: int) -> None:
    model = timm.create_model(f"amod_{name}_patch16_224", device="meta")
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.routing == amod.Routing()


def test_settings_go_to_the_conversion_and_the_rest_to_timm() -> None:
    routing: dict[str, Any] = {"capacity": 0.4, "first": 2, "every": 3, "score": "patch-rows",
                               "protect_prefix": True, "backend": "explicit",
                               "k_align": 2}  # fmt: skip
    model = timm.create_model(
        f"amod_{NAME}", **SMALL, num_classes=7, drop_path_rate=0.1, router="linear", **routing
    )
    assert model.routing == amod.Routing(0.4, 2, 3, "patch-rows", True, "explicit", 2)
    assert "blocks.2.router.weight" in model.state_dict()
    assert model.num_classes == 7
    assert model.blocks[3].drop_path1.drop_prob == pytest.approx(0.1)
    assert model.pretrained_cfg["architecture"] == f"amod_{NAME}"
    preset = timm.create_model(f"amod_{NAME}", **{**SMALL, "depth": 8}, preset="practical", first=3)
    assert preset.routing == amod.Routing(first=3, protect_prefix=True, k_align=8)
    with pytest.raises(ValueError, match="unknown preset 'fast': choose one of paper, practical"):
        timm.create_model(f"amod_{NAME}", **SMALL, preset="fast")
    with pytest.raises(ValueError, match="unknown router 'best'"):
        timm.create_model(f"amod_{NAME}", **SMALL, router="best")


def test_dense_checkpoints_load_by_every_way_that_timm_has(tmp_path: Path) -> None:
    plain = dense()
    path = tmp_path / "dense.pth"
    torch.save(plain.state_dict(), path)
    expected = amod.convert(dense(), capacity=0.3)(images())
    overlay: dict[str, Any] = {"file": str(path), "input_size": (3, 32, 32)}
    ways: list[dict[str, Any]] = [
        {"checkpoint_path": str(path)},
        {"pretrained": True, "pretrained_cfg_overlay": overlay},
    ]
    for way in ways:
        model = timm.create_model(f"amod_{NAME}", **SMALL, capacity=0.3, **way).eval()
        assert torch.equal(model(images()), expected)
    new_head = timm.create_model(f"amod_{NAME}", **SMALL, num_classes=7, router="linear", **ways[1])
    kept = {
        n: p
        for n, p in new_head.named_parameters()
        if not n.startswith("head") and ".router." not in n
    }
    assert set(kept) == {n for n, _ in plain.named_parameters() if not n.startswith("head")}
    assert all(torch.equal(p, plain.get_parameter(n)) for n, p in kept.items())


@pytest.mark.parametrize("tag", ["", ".augreg_in1k"])
def test_pretrained_asks_the_hub_for_the_dense_model(
    tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "vit_base_patch16_224"
    asked: list[str] = []

    def download(model_id: str, **_: Any) -> dict[str, Tensor]:
        asked.append(model_id)
        return dense().state_dict()

    monkeypatch.setattr(_builder, "load_state_dict_from_hf", download)
    model = timm.create_model(f"amod_{name}{tag}", pretrained=True, **SMALL)
    assert asked == [f"timm/{name}{tag or '.augreg2_in21k_ft_in1k'}"]
    assert torch.equal(model.head.weight, dense().head.weight)


def test_feature_extractors_give_complete_maps() -> None:
    torch.manual_seed(0)
    net = timm.create_model(
        f"amod_{NAME}", **SMALL, features_only=True, out_indices=(0, 2), capacity=0.3
    ).eval()
    assert net.feature_info.channels() == [48, 48]
    assert net.feature_info.reduction() == [8, 8]
    assert len(net.model.blocks) == 3  # timm removes what no map needs
    routed = amod.convert(dense(), capacity=0.3)
    routed.load_state_dict(net.model.state_dict(), strict=False)
    expected = routed.forward_intermediates(images(), indices=[0, 2], intermediates_only=True)
    torch.testing.assert_close(net(images()), expected, rtol=0, atol=0)
    assert [tuple(one.shape) for one in expected] == [(2, 48, 4, 4)] * 2
