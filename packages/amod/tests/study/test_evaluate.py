"""Accuracy against a slow loop, and the paper's cells beside it."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import transforms

import amod
import amod.study.evaluate as module
from amod.study import stages
from amod.study.evaluate import evaluate
from amod.use.metadata import stored
from amod.use.options import RoutingSettings
from amod.use.views import eval_transform
from amod.use.weights import create_model
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
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven classes of three images of random sizes."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for number in range(21):
        height, width = rng.integers(30, 60, 2)
        coarse = rng.integers(0, 80, (6, 6, 3)) + rng.integers(0, 176, (1, 1, 3))
        (root / f"class-{number % 7}").mkdir(exist_ok=True)
        image = Image.fromarray(coarse.astype(np.uint8)).resize((int(width), int(height)))
        image.save(root / f"class-{number % 7}" / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "vit.safetensors"
    save_file(vit().state_dict(), path)
    return str(path)


def slow_accuracy(model: nn.Module, data: Path) -> tuple[float, float]:
    """Image by image: the share of images whose class is ranked first, and among the first five."""
    prepare = transforms.Compose([
        transforms.Resize(35, interpolation=transforms.InterpolationMode.BICUBIC),  # 32 / 0.9
        transforms.CenterCrop(32),
        transforms.ToTensor(),
        transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ])  # fmt: skip
    ranks = []
    for path in data.glob("*/*.png"):
        with Image.open(path) as image, torch.no_grad():
            logits = model(prepare(image.convert("RGB"))[None])[0].tolist()
        own = logits[int(path.parent.name.removeprefix("class-"))]
        ranks.append(sum(logit > own for logit in logits))
    return tuple(100 * sum(r < k for r in ranks) / len(ranks) for k in (1, 5))  # type: ignore[return-value]


@pytest.mark.parametrize("router", ["attention", "l2norm"])
def test_accuracies_equal_a_slow_loop(data: Path, weights: str, router: str) -> None:
    table = evaluate(NAME, weights, str(data), (0.5, 0.25), RoutingSettings(router), batch_size=4,
                     model_kwargs=TINY)  # fmt: skip
    dense, half, quarter = table.rows
    assert dense == ("dense", *map(pytest.approx, slow_accuracy(vit(), data)), 21)
    name = "A-MoD" if router == "attention" else router
    for row, capacity in ((half, 0.5), (quarter, 0.25)):
        expected = slow_accuracy(amod.convert(vit(), capacity=capacity, router=router), data)
        assert row == (f"{name} {100 * capacity:g} %", *map(pytest.approx, expected), 21)
    assert len({row[1:] for row in table.rows}) == 3  # so the rows could not be exchanged
    assert len(table.columns) == 4  # seven classes are not ImageNet: nothing of the paper beside
    assert "in the natural order of their names: 0 = class-0, 1 = class-1" in table.notes[0]
    assert "crop 0.9, bicubic" in table.notes[1]


def test_practical_preset_protects_and_starts_late(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def spy(model: Any, loader: Any, tell: Any) -> tuple[float, float, int]:
        seen.append(getattr(model, "routing", None))
        return 0.0, 0.0, 0

    monkeypatch.setattr(stages, "top_accuracy", spy)
    deep = {**TINY, "depth": 6}
    routing = RoutingSettings(preset="practical")
    table = evaluate(NAME, None, str(data), (0.25,), routing, model_kwargs=deep)
    assert seen == [None, amod.Routing(capacity=0.25, **amod.PRESETS["practical"])]
    assert table.notes[2] == "Random weights."


def test_learned_routers_are_loaded_and_the_dense_row_is_without_them(
    data: Path, tmp_path: Path
) -> None:
    trained = amod.convert(vit(), router="linear", capacity=0.5)
    nn.init.normal_(trained.blocks[1].router.weight)
    torch.save({"model": trained.state_dict()}, tmp_path / "mod.pth")
    table = evaluate(NAME, str(tmp_path / "mod.pth"), str(data), (0.5,), RoutingSettings("linear"),
                     model_kwargs=TINY)  # fmt: skip
    assert table.rows[0][1:3] == tuple(map(pytest.approx, slow_accuracy(vit(), data)))
    assert table.rows[1][1:3] == tuple(map(pytest.approx, slow_accuracy(trained, data)))


@pytest.mark.parametrize(
    ("name", "cells", "notes"),
    [
        ("deit_small_patch16_224.fb_in1k", (None, 13.49, 0.35, None), 5),
        ("vit_base_patch16_224", (None, 78.88, 66.62, None), 4),
    ],
)
def test_table_3_stands_beside_imagenet(
    name: str, cells: tuple[Any, ...], notes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")
    for number in range(1000):
        (tmp_path / "val" / f"n{number:08}").mkdir(parents=True)
        (tmp_path / "val" / f"n{number:08}" / "1.png").symlink_to(tmp_path / "one.png")
    scored: list[float] = []

    def spy(model: Any, *_: Any) -> tuple[float, float, int]:
        scored.append(model.routing.capacity if hasattr(model, "routing") else 1.0)
        return scored[-1], 2.0, 1000

    monkeypatch.setattr(stages, "top_accuracy", spy)
    tiny = create_model(NAME, 1000, **TINY)  # the name counts here, not the size
    for place in (module, stages):
        monkeypatch.setattr(place, "create_model", lambda *_: copy.deepcopy(tiny))
    found = [
        evaluate(name, None, str(tmp_path / "val"), (0.5, 0.125, 0.7), RoutingSettings(router))
        for router in ("attention", "linear")
    ]
    assert tuple(row[-1] for row in found[0].rows) == cells
    assert [row[1] for row in found[0].rows] == [1.0, 0.5, 0.125, 0.7]  # a row's cell is its own
    assert found[0].columns[-1].header == "reported top-1 (percent)"
    assert len(found[0].notes) == notes
    assert "does not say which checkpoints" in found[0].notes[3]
    assert [column.name for column in found[1].columns][-1] == "images"


@pytest.fixture
def perfect(tmp_path: Path) -> tuple[str, Path]:
    """A model of twelve classes that is right on all pictures, in folders 0 to 11."""
    model = vit(12, depth=2)
    images, rng = tmp_path / "images", np.random.default_rng(1)
    with torch.no_grad():
        features = []
        for number in range(12):
            (images / str(number)).mkdir(parents=True)
            pixels = rng.integers(0, 256, (4, 4, 3), np.uint8)
            picture = Image.fromarray(pixels).resize((36, 36), Image.Resampling.NEAREST)
            picture.save(images / str(number) / "a.png")
            view = eval_transform(model)[0](picture.convert("RGB"))
            features.append(model.forward_head(model.forward_features(view[None]), True)[0])
        stacked = torch.stack(features) - torch.stack(features).mean(0)
        model.head.weight.copy_(torch.linalg.pinv(stacked).T)
        model.head.bias.copy_(-model.head.weight @ torch.stack(features).mean(0))
    save_file(model.state_dict(), tmp_path / "perfect.safetensors")
    return str(tmp_path / "perfect.safetensors"), images


SHALLOW = {**TINY, "depth": 2}


def scored(weights: str, images: Path, **more: Any) -> tuple[Any, ...]:
    return evaluate(NAME, weights, str(images), (1.0,), model_kwargs=SHALLOW, **more).rows[0]


def test_numbered_folders_are_the_classes_of_their_numbers(
    perfect: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    # torchvision 714, timm 222: in the order of text, 2 of 12 are right.
    assert scored(*perfect)[1:] == (100.0, 100.0, 12)
    said = capsys.readouterr().err
    assert "as text: weights trained in that order need --class-map)" in said
    assert "10 = 10, 11 = 11" in said
    assert "dense, batches: 1/1  top1 100" in said


def test_weights_without_a_classifier(data: Path, tmp_path: Path) -> None:
    save_file(vit(0).state_dict(), tmp_path / "features.safetensors")
    with pytest.raises(UserError, match="have no classifier: train one"):
        evaluate(NAME, str(tmp_path / "features.safetensors"), str(data), model_kwargs=TINY)


def test_a_class_map_says_which_outputs_the_folders_are(
    perfect: tuple[str, Path], tmp_path: Path
) -> None:
    weights, images = perfect
    names = [f"n{5 * number % 12:03}" for number in range(12)]
    for number, name in enumerate(names):
        (images / str(number)).rename(images / name)
    assert scored(weights, images)[1] < 100
    (tmp_path / "names.txt").write_text("\n".join(names))
    assert scored(weights, images, class_map=str(tmp_path / "names.txt"))[1] == 100
    save_file(load_file(weights), tmp_path / "named.safetensors", stored(names))
    assert scored(str(tmp_path / "named.safetensors"), images)[1] == 100


def test_a_subset_is_scored_among_its_own_classes(
    perfect: tuple[str, Path], tmp_path: Path
) -> None:
    # As ImageNet-A and -R: 200 of 1000 classes. A model that always says 0, then the right one:
    weights, images = perfect
    state = load_file(weights)
    state["head.bias"][0] += 100
    save_file(state, tmp_path / "zero.safetensors")
    for number in (0, 1, 3, 4, 6, 7, 8, 9, 10, 11):
        shutil.rmtree(images / str(number))
    (tmp_path / "two.json").write_text('{"2": 2, "5": 5}')
    (tmp_path / "all.json").write_text(json.dumps({str(n): n for n in range(12)}))
    zero = str(tmp_path / "zero.safetensors")
    table = evaluate(NAME, zero, str(images), (1.0,), model_kwargs=SHALLOW,
                     class_map=str(tmp_path / "two.json"))  # fmt: skip
    assert table.rows[0][1:] == table.rows[1][1:] == (100.0, 100.0, 2)
    assert "2 classes, as" in table.notes[0]
    assert "2 = 2, 5 = 5." in table.notes[0]
    assert scored(zero, images, class_map=str(tmp_path / "all.json"))[1:] == (0.0, 100.0, 2)
    with pytest.raises(UserError, match="have 2 classes, numbered to 1, the model has 12: give"):
        scored(zero, images)
    # The first two outputs, which JSON may say; a list of names is an order, of all of them.
    (tmp_path / "first.json").write_text('{"2": 0, "5": 1}')
    assert scored(zero, images, class_map=str(tmp_path / "first.json"))[3] == 2
    for name, text in (("first.txt", "2\n5\n"), ("list.json", '["2", "5"]')):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match="give a JSON file that says which ones they are"):
            scored(zero, images, class_map=str(tmp_path / name))
    (tmp_path / "far.json").write_text('{"2": 2, "5": 50}')
    with pytest.raises(UserError, match=r"to 50, the model has 12: correct the class map$"):
        scored(zero, images, class_map=str(tmp_path / "far.json"))


def test_folders_that_hold_splits_are_no_matter_of_a_class_map(
    perfect: tuple[str, Path], tmp_path: Path
) -> None:
    weights, images = perfect
    images.rename(tmp_path / "val")
    names = [str(number) for number in range(12)]
    save_file(load_file(weights), tmp_path / "named.safetensors", stored(names))
    with pytest.raises(UserError, match=r"holds splits \(val\): give the folder of one$"):
        scored(str(tmp_path / "named.safetensors"), tmp_path)


def test_averaged_weights_of_a_training_script(data: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "timm.pth")
    torch.save({"state_dict": vit(12).state_dict(), "state_dict_ema": vit().state_dict()}, path)
    table = evaluate(NAME, path, str(data), (0.5,), model_kwargs=TINY, ema=True)
    assert table.rows[0][1:3] == tuple(map(pytest.approx, slow_accuracy(vit(), data)))
    assert table.notes[2].startswith("Weights: averaged weights (EMA) of timm.pth")
    torch.save(vit().state_dict(), path)
    with pytest.raises(UserError, match="no averaged weights"):
        evaluate(NAME, path, str(data), (0.5,), model_kwargs=TINY, ema=True)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"model": "no_such_vit"}, "timm has no model 'no_such_vit'"),
        ({"model": "hf-hub:timm/vit_tiny"}, "timm has no model"),
        ({"model": f"{NAME}.no_such_tag"}, "cannot make the model .*no_such_tag"),
        ({"model": "resnet18", "model_kwargs": {}}, "ResNet cannot be routed"),
        ({"capacities": (0.5, 1.5)}, "capacity must be above 0"),
        ({"routing": RoutingSettings("best")}, "unknown router 'best'"),
        ({"routing": RoutingSettings(preset="best")}, "unknown preset 'best'"),
        ({"batch_size": 0}, "--batch-size must be at least 1, got 0"),
        ({"ema": True}, "--ema must be given with --weights"),
        ({"data": "nowhere"}, "nowhere: no such folder"),
        ({"weights": "nowhere.pth"}, "no weights at nowhere.pth"),
    ],
)
def test_refusals(changes: dict[str, Any], line: str, data: Path) -> None:
    usual = {"model": NAME, "weights": None, "data": str(data), "model_kwargs": TINY}
    with pytest.raises(UserError, match=line):
        evaluate(**(usual | changes))
