"""Classifiers: each prepares images for itself, in a path that gradients pass; their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from cg_augment.use.classifiers import (
    Classifier,
    load_classifier,
    load_timm,
    of_timm,
    reordered,
    save_classifier,
)
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.weights import save_weights

MODEL = "test_resnet"
CLASSES = ("ape", "bee", "cat")
Make = Callable[..., Any]


def images(count: int = 2, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_a_timm_model_sees_what_timm_would_show_it() -> None:
    made = of_timm(MODEL, CLASSES, 32, seed=1).eval()
    config = timm.data.resolve_model_data_config(made.network)
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    want = made.network((images() - mean) / std)
    assert torch.allclose(made(images()), want)
    features, logits = made.both(images())
    assert torch.allclose(logits, want)
    assert features.shape == (2, made.head.in_features)  # type: ignore[union-attr]


def test_images_of_another_size_are_resized_with_antialiasing() -> None:
    made = Classifier(nn.Flatten(), nn.Identity(), CLASSES, 4, (0.0,) * 3, (1.0,) * 3)
    checks = (torch.arange(8)[:, None] + torch.arange(8)[None]) % 2 * torch.ones(1, 3, 1, 1)
    # Without antialiasing a checkerboard would come out as single squares.
    assert float((made(checks) - 0.5).abs().max()) < 0.1


def test_two_classifiers_have_their_own_normalisation() -> None:
    network = nn.Flatten()
    one = Classifier(network, nn.Identity(), CLASSES, 4, (0.0,) * 3, (1.0,) * 3)
    other = Classifier(network, nn.Identity(), CLASSES, 4, (0.5, 0.25, 0.0), (0.5, 1.0, 2.0))
    given = images(1, 4)
    rows = other(given).reshape(1, 3, 4, 4)
    assert torch.allclose(rows[:, 0], (given[:, 0] - 0.5) / 0.5)
    assert torch.allclose(rows[:, 2], given[:, 2] / 2)
    assert torch.equal(one(given).reshape(1, 3, 4, 4), given)


def test_gradients_reach_the_pixels_and_agree_with_finite_differences(classifier_of: Make) -> None:
    made = classifier_of(0).frozen().double()
    given = images(1, 24).double().requires_grad_(True)  # resized on the way
    value = made(given).log_softmax(1)[0, 1]
    (gradient,) = torch.autograd.grad(value, given)
    g = torch.Generator().manual_seed(1)
    way = torch.randn(given.shape, generator=g, dtype=torch.float64)
    with torch.no_grad():
        up, down = (made(given + s * 1e-6 * way).log_softmax(1)[0, 1] for s in (1, -1))
    assert float((gradient * way).sum()) == pytest.approx(float(up - down) / 2e-6, rel=1e-6)


def test_a_folder_gives_the_same_classifier_back(tmp_path: Path) -> None:
    made = of_timm(MODEL, CLASSES, 48, seed=3).eval()
    save_classifier(made, tmp_path, note="kept")
    found, form = load_classifier(tmp_path)
    assert form["note"] == "kept"
    assert found.classes == CLASSES
    assert torch.equal(found(images()), made(images()))
    assert found.sha256 == made.sha256
    # And timm itself reads the weights.
    path = str(tmp_path / "model.safetensors")
    again = timm.create_model(MODEL, num_classes=3, checkpoint_path=path)
    assert torch.equal(again.eval()(found.prepared(images())), made(images()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 9}, "version 9, this is 1"),
        ({"model": "no_such"}, "timm has no model 'no_such'"),
        ({"mean": [1, 2]}, "damaged"),
        ({"sha256": "0"}, r"not the weights that model\.json speaks of"),
        ({"classes": ["a"]}, "is of another architecture"),
    ],
)
def test_a_damaged_folder_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    save_classifier(of_timm(MODEL, CLASSES, 32), tmp_path)
    form = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**form, **change}))
    with pytest.raises(UserError, match=said):
        load_classifier(tmp_path)


def test_weights_of_other_classes_need_a_new_head(tmp_path: Path) -> None:
    other = of_timm(MODEL, ("a", "b"), 32, seed=7)
    save_weights(other.network, tmp_path / "w.safetensors")
    made = of_timm(MODEL, CLASSES, 32)
    with pytest.raises(UserError, match="for another number of classes than the 3 here"):
        load_timm(made, tmp_path / "w.safetensors")
    head = made.head.weight.clone()  # type: ignore[union-attr]
    load_timm(made, tmp_path / "w.safetensors", new_head=True)
    assert torch.equal(made.head.weight, head)  # type: ignore[union-attr]
    own, theirs = made.network.state_dict(), other.network.state_dict()
    assert all(torch.equal(own[k], v) for k, v in theirs.items() if not k.startswith("fc."))
    with pytest.raises(UserError, match="is of another architecture"):
        load_timm(of_timm("test_vit", CLASSES), tmp_path / "w.safetensors", new_head=True)


def test_classes_in_another_order_and_left_out() -> None:
    made = of_timm(MODEL, CLASSES, 32).eval()
    want = made(images())
    found = reordered(made, ("cat", "ape"), "the pictures")
    assert torch.equal(found(images()), want[:, [2, 0]])
    with pytest.raises(UserError, match=r"timm:test_resnet does not know dog of the pictures"):
        reordered(made, ("dog", "ape"), "the pictures")


def test_a_transformer_is_made_for_the_size() -> None:
    made = of_timm("test_vit", CLASSES, 64)
    assert made(images(1, 64)).shape == (1, 3)
