"""What is saved comes back the same, and what cannot be loaded says why. No network."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import pytest
import timm
import torch
from huggingface_hub import HfApi, hub_mixin
from safetensors.torch import save_file
from torch import Tensor

import amod
from amod.method.blocks import routed_blocks
from amod.use import hub

SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 4,
                         "num_heads": 3, "num_classes": 7}  # fmt: skip


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def converted(name: str = "vit_tiny_patch16_224", **routing: Any) -> Any:
    torch.manual_seed(0)
    return amod.convert(timm.create_model(name, **SMALL), **routing).eval()


def images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "routing",
    [
        {"capacity": 0.3, "first": 2, "k_align": 2},
        {"router": "linear"},
        {"router": "linear-sigmoid", "every": 3},
        {"router": "linear-unit"},
        {"router": "attention-multiplied", "score": "cls-row", "protect_prefix": True},
        {"router": "l2norm", "backend": "explicit"},
        {"router": "random"},
    ],
)
def test_round_trip(routing: dict[str, Any], tmp_path: Path) -> None:
    model = converted(**routing)
    hub.save_pretrained(model, tmp_path / "model")
    loaded = hub.from_pretrained(tmp_path / "model")
    assert type(loaded) is type(model)
    assert loaded.routing == model.routing
    assert repr(routed_blocks(loaded)) == repr(routed_blocks(model))
    assert not loaded.training
    assert list(loaded.state_dict()) == list(model.state_dict())
    logits = []
    for one in (model, loaded):
        torch.manual_seed(0)  # of a random router
        logits.append(one(images()))
    assert torch.equal(*logits)


def test_folder_is_readable_and_timm_finds_the_dense_model(tmp_path: Path) -> None:
    model = converted(capacity=0.25)
    hub.save_pretrained(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architecture"] == "vit_tiny_patch16_224"
    assert config["amod"] == {
        "capacity": 0.25,
        "first": 1,
        "every": 2,
        "protect_prefix": False,
        "backend": "auto",
        "k_align": 1,
        "score": "column-mean",
        "router": "attention",
    }
    assert "from amod.use.hub import from_pretrained" in (tmp_path / "README.md").read_text()
    dense = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert type(dense) is timm.models.VisionTransformer
    amod.set_capacity(model, 1.0)
    assert torch.equal(dense(images()), model(images()))


def test_registered_models_are_what_timm_itself_loads(tmp_path: Path) -> None:
    model = timm.create_model("amod_deit_tiny_patch16_224", **SMALL, preset="practical", first=3)
    model.eval()
    amod.set_capacity(model, 0.5)
    hub.save_pretrained(model, tmp_path)
    for loaded in (
        hub.from_pretrained(tmp_path),
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval(),
    ):
        assert loaded.routing == model.routing
        assert torch.equal(loaded(images()), model(images()))


def test_saving_again_replaces_the_model_and_keeps_the_card(tmp_path: Path) -> None:
    hub.save_pretrained(converted(capacity=0.25), tmp_path)
    (tmp_path / "README.md").write_text("mine")
    hub.save_pretrained(converted(capacity=0.75), tmp_path)
    assert hub.from_pretrained(tmp_path).routing.capacity == 0.75
    assert (tmp_path / "README.md").read_text() == "mine"


def test_push_uploads_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, loaded = converted(router="linear"), []

    class Api(HfApi):
        def create_repo(self, repo_id: str, **_: Any) -> Any:
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, **arguments: Any) -> Any:
            loaded.append(hub.from_pretrained(arguments["folder_path"]))
            return f"commit in {arguments['repo_id']}"

    monkeypatch.setattr(hub_mixin, "HfApi", Api)
    assert hub.push_to_hub(model, "somebody/model") == "commit in somebody/model"
    assert torch.equal(loaded[0](images()), model(images()))


def test_what_cannot_be_saved_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(ValueError, match="VisionTransformer is not routed"):
        hub.save_pretrained(timm.create_model("vit_tiny_patch16_224", **SMALL), folder)
    with pytest.raises(ValueError, match="function of yours cannot be saved"):
        hub.save_pretrained(converted(router=lambda x, scores: scores), folder)
    own = amod.convert(timm.models.VisionTransformer(**SMALL))
    with pytest.raises(ValueError, match=r"not made by timm\.create_model"):
        hub.save_pretrained(own, folder)
    assert not folder.exists()


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absent is no folder, and the hub did not give it"):
        hub.from_pretrained(tmp_path / "absent")
    with pytest.raises(ValueError, match="absent/model is no folder, and the hub did not give it"):
        hub.from_pretrained("absent/model")
    with pytest.raises(ValueError, match=r"has no config\.json"):
        hub.from_pretrained(tmp_path)
    hub.save_pretrained(converted(), tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    whole, text = weights.read_bytes(), config.read_text()

    def fails(line: str) -> None:
        with pytest.raises(ValueError, match=line) as caught:
            hub.from_pretrained(tmp_path)
        assert "\n" not in str(caught.value)

    weights.write_bytes(whole[:-10])
    fails("is not this model's weights")
    save_file({}, weights)
    fails(r"is not this model's weights: .*Missing key")
    weights.unlink()
    fails(r"has no model\.safetensors")
    config.write_text(text[:40])
    fails(r"config\.json is no JSON")
    for old, new in (
        ("vit_tiny_patch16_224", "vit_of_tomorrow"),
        ('"first": 1', '"first": 0'),
        ('"architecture"', '"arch"'),
        ('"embed_dim"', '"embedding"'),
    ):
        assert old in text
        config.write_text(text.replace(old, new))
        fails(r"config\.json describes no model that can be made")
    config.write_text(text.replace('"amod"', '"other"'))
    fails("is a dense model")
