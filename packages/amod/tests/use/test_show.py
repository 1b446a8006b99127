"""Routing pictures: the masks are what the model did, and the panels show the masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import transforms

import amod
from amod.use.show import ANIMATED, GAP, LINE, faded, panel_title, routing_masks, show
from repro_shared.runtime.errors import UserError

NAME = "vit_tiny_patch16_224"
TINY: dict[str, Any] = {
    "img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3
}  # fmt: skip


def vit(name: str = NAME, **changes: Any) -> Any:
    model = timm.create_model(name, **{**TINY, **changes}).eval()
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture
def photo(tmp_path: Path) -> str:
    coarse = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((90, 60)).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


ROPE: dict[str, Any] = {"name": "vit_small_patch16_rope_224", "num_heads": 2}


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({}, {"capacity": 0.4}),
        (ROPE, {"capacity": 0.4}),
        ({"reg_tokens": 4}, {"capacity": 0.5, "protect_prefix": True}),
        ({"class_token": False, "global_pool": "avg"}, {"capacity": 0.3, "router": "l2norm"}),
        ({"depth": 6}, {"capacity": 0.5, "first": 2, "every": 3, "router": "linear"}),
        ({}, {"capacity": 1.0}),
    ],
)
def test_masks_are_the_tokens_that_change(
    changes: dict[str, Any], settings: dict[str, Any]
) -> None:
    model = amod.convert(vit(**changes), **settings)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    masks = routing_masks(model, images)
    assert list(masks) == list(model.routing.blocks(len(model.blocks)))
    changed = {}

    def compare(index: int) -> Any:
        return lambda _, given, output: changed.update({index: (output != given[0]).any(dim=-1)})

    for index in masks:
        assert not model.blocks[index].router._forward_hooks  # it is as it was
        model.blocks[index].register_forward_hook(compare(index))
    with torch.no_grad():
        model(images)
    for index, mask in masks.items():
        assert torch.equal(mask, changed[index])


def test_faded_leaves_kept_patches_and_fades_the_others() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    kept = np.array([[True, False, True], [False, True, False]])
    found = faded(image, kept)
    for row in range(8):
        for column in range(12):
            pixel = image[row, column]
            if not kept[row // 4, column // 4]:
                light = (float(pixel.astype(float).mean()) - 128) / 4
                pixel = np.array([round(ground + light) for ground in (88, 104, 140)])
            assert found[row, column].tolist() == pixel.tolist()


def test_titles_say_what_of_the_prefix_is_in() -> None:
    mask = torch.zeros(17, dtype=torch.bool)
    mask[3:8] = True
    assert panel_title(vit(), 3, mask) == "block 3: 5 of 17, CLS out"
    mask[0] = True
    assert panel_title(vit(), 3, mask) == "block 3: 6 of 17, CLS in"
    text = "block 1: 6 of 17, CLS in\n2 of 4 other prefix tokens in"
    assert panel_title(vit(reg_tokens=4), 1, mask) == text
    bare = vit(class_token=False, global_pool="avg")
    assert panel_title(bare, 1, mask) == "block 1: 6 of 17"


def test_picture_holds_the_image_and_a_panel_for_each_routed_block(
    photo: str, tmp_path: Path
) -> None:
    model = vit(num_classes=5)
    save_file(model.state_dict(), tmp_path / "vit.safetensors")
    out = show(photo, NAME, str(tmp_path / "vit.safetensors"), str(tmp_path / "new" / "a.png"),
               capacity=0.5, **TINY)  # fmt: skip
    picture = np.array(Image.open(out))
    top, side = GAP + 2 * LINE, 224
    panels = [
        picture[top : top + side, GAP + n * (side + GAP) : GAP + n * (side + GAP) + side]
        for n in range(3)
    ]
    assert picture.shape == (top + side + 2 * GAP, 3 * (side + GAP) + GAP, 3)
    cropped = transforms.Compose([
        transforms.Resize(35, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(32),
    ])(Image.open(photo))  # fmt: skip
    assert np.array_equal(panels[0][3::7, 3::7], np.array(cropped))  # each pixel is 7 x 7 large
    batch = transforms.Normalize((0.5,) * 3, (0.5,) * 3)(transforms.ToTensor()(cropped))[None]
    masks = routing_masks(amod.convert(model, capacity=0.5), batch)
    for panel, mask in zip(panels[1:], masks.values(), strict=True):
        patches = mask[0, 1:].reshape(4, 4).numpy()
        assert 0 < patches.sum() < 16
        assert np.array_equal(panel[3::7, 3::7], faded(np.array(cropped), patches))


def test_animations_go_over_the_capacities(photo: str, tmp_path: Path) -> None:
    for name, animate in (("a.gif", False), ("b.PNG", True)):
        out = show(photo, NAME, None, str(tmp_path / name), animate=animate, **TINY)
        with Image.open(out) as picture:
            assert picture.n_frames == len(ANIMATED)
            changes = []
            for number in range(len(ANIMATED)):
                picture.seek(number)
                frame = np.array(picture.convert("RGB")).astype(int)[GAP + 2 * LINE :][:224]
                image, *blocks = (frame[:, GAP + n * 236 :][:, :224] for n in range(3))
                changes.append(sum(float(np.abs(block - image).mean()) for block in blocks))
            assert changes == sorted(changes)  # ever more patches are faded
            assert changes[-1] > 3 * changes[0] > 0


def test_random_weights_are_named_and_repeatable(photo: str, tmp_path: Path) -> None:
    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        import amod.use.show as module

        arrange = module._arrange

        def spy(panels: Any, heading: str) -> Image.Image:
            seen.append(heading)
            return arrange(panels, heading)

        patch.setattr(module, "_arrange", spy)
        files = [show(photo, NAME, None, str(tmp_path / f"{n}.png"), **TINY) for n in (1, 2)]
    assert seen == [f"{NAME}, random weights, capacity 0.5"] * 2
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"out": "a.jpg"}, r"--out .*a\.jpg: the picture is written as \.png or \.gif"),
        ({"image": "nowhere.png"}, "nowhere.png: no such file"),
        ({"model": "no_such_vit"}, "timm has no model"),
        ({"model": "resnet18"}, "ResNet cannot be routed"),
        ({"weights": "nowhere.pth"}, "no weights at nowhere.pth"),
        ({"capacity": 0.0}, "capacity must be above 0"),
    ],
)
def test_refusals(changes: dict[str, Any], line: str, photo: str, tmp_path: Path) -> None:
    usual = {"image": photo, "model": NAME, "weights": None, "out": "a.png"} | changes
    usual["out"] = str(tmp_path / "new" / str(usual["out"]))
    with pytest.raises(UserError, match=line):
        show(**usual, **({} if usual["model"] == "resnet18" else TINY))
    assert not (tmp_path / "new").exists()
