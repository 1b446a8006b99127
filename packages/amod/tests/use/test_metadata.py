"""What is stored with weights: names of classes, and the routing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

import amod
from amod.use.metadata import names_in, routing_in, stored
from amod.use.options import RoutingSettings
from amod.use.weights import routed_model, routing_for
from repro_shared.runtime.errors import UserError


def test_names_are_stored_with_weights(tmp_path: Path) -> None:
    tensors, path = {"x": torch.zeros(1)}, tmp_path / "model.safetensors"
    names = ("2", "10", "Übung", os.fsdecode(b"caf\xe9"))  # the last in another encoding
    save_file(tensors, path, stored(names))
    assert names_in(path) == names
    save_file(tensors, path)
    assert names_in(path) == ()
    save_file(tensors, path, {"classes": "no JSON"})
    assert names_in(path) == ()
    path.write_bytes(b"damaged")
    assert names_in(path) == names_in(None) == names_in("x.pth") == ()


def saved(path: Path, **settings: object) -> str:
    """Weights of a routed model, with its routing."""
    model = amod.convert(timm.create_model("test_vit", num_classes=2), **settings)  # type: ignore[arg-type]
    save_file(model.state_dict(), path, stored((), model))
    return str(path)


def test_a_routing_is_stored_and_used_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"capacity": 0.25, "first": 2, "every": 3, "router": "linear-unit",
                "protect_prefix": True, "k_align": 8, "score": "patch-rows"}  # fmt: skip
    path = saved(tmp_path / "a.safetensors", **settings)
    again = routed_model("test_vit", path, None, RoutingSettings())
    assert again.routing == amod.Routing(0.25, 2, 3, "patch-rows", True, "auto", 8)
    assert capsys.readouterr().err == ""
    arguments, shares = routing_for(path, RoutingSettings())
    assert {"capacity": shares[0], **arguments} == settings
    # The flags win, one by one, and a preset as a whole, with a line.
    arguments, shares = routing_for(path, RoutingSettings(first=1), (0.5,))
    assert {"capacity": shares[0], **arguments} == settings | {"first": 1, "capacity": 0.5}
    assert capsys.readouterr().err == (
        f"not routed as stored with {path}, but as the flags say: first 1, not 2, "
        "capacity 0.5, not 0.25\n"
    )
    assert routing_for(path, RoutingSettings(preset="paper"))[0] == RoutingSettings().resolved()
    assert "every 2, not 3" in capsys.readouterr().err
    # What was said already is not said to differ.
    assert routing_for(path, RoutingSettings(first=2), (0.5, 0.25))[1] == (0.5, 0.25)
    assert capsys.readouterr().err == ""


def test_weights_without_a_routing_are_routed_as_usual(tmp_path: Path) -> None:
    usual = (RoutingSettings().resolved(), (0.5,))
    dense = tmp_path / "dense.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), dense, stored(("a", "b")))
    paths = [str(dense), saved(tmp_path / "full.safetensors", capacity=1.0), None, "x.pth"]
    for path in paths:
        assert routing_in(path) == {}
        assert routing_for(path, RoutingSettings()) == usual
    save_file({"x": torch.zeros(1)}, dense, {"routing": "[1]"})
    assert routing_in(dense) == {}


def test_a_capacity_for_each_block_is_not_taken_for_one(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.safetensors", capacity=[0.5, 0.25, 0.75])
    with pytest.raises(UserError, match="has a capacity for each routed block: give one with"):
        routing_for(path, RoutingSettings())
    assert routing_for(path, RoutingSettings(), (0.5,))[1] == (0.5,)
