"""A user's weights: whole where they answer, what fits where they are trained further."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from repro_shared.runtime.errors import UserError
from seg_kd.use import adapter
from seg_kd.use.outputs import Models
from seg_kd.use.weights import load_start, load_trained, once


def test_a_trained_network_has_the_auxiliary_head_of_its_file_or_none(
    plain: dict[str, Any],
) -> None:
    trained, model = adapter.build_model(plain), adapter.build_model(plain)
    load_trained(model, trained.state_dict(), "zoo.pth")
    own = trained.auxiliary_head.state_dict()
    assert own.keys() == model.auxiliary_head.state_dict().keys()
    assert all(torch.equal(v, own[k]) for k, v in model.auxiliary_head.state_dict().items())
    state = trained.state_dict()
    lacking = {k: v for k, v in state.items() if not k.startswith("auxiliary_head.")}
    name = "auxiliary_head.conv_seg.bias"
    for file in (lacking, {**state, name: torch.zeros(7)}, {**state, name: state[name] * np.nan}):
        model = adapter.build_model(plain)
        load_trained(model, file, "zoo.pth")
        assert model.auxiliary_head is None
        assert model.state_dict().keys() == lacking.keys()
        Models(adapter.build_model(plain), trained).need_auxiliary()
        with pytest.raises(UserError, match="the teacher has not exactly one"):
            Models(adapter.build_model(plain), model).need_auxiliary()


def test_auxiliary_heads_of_another_network_do_not_matter(plain: dict[str, Any]) -> None:
    with_auxiliary = adapter.build_model(plain)
    without = adapter.build_model({**plain, "auxiliary_head": None})
    load_trained(without, with_auxiliary.state_dict(), "zoo.pth")
    own = without.state_dict()
    assert all(torch.equal(own[name], with_auxiliary.state_dict()[name]) for name in own)
    load_trained(with_auxiliary, without.state_dict(), "zoo.pth")
    fewer = {k: v for k, v in own.items() if k != "decode_head.conv_seg.bias"}
    with pytest.raises(UserError, match=r"zoo\.pth is of another architecture: decode_head\.conv"):
        load_trained(without, fewer, "zoo.pth")


def test_weights_of_nan_are_named(plain: dict[str, Any]) -> None:
    model = adapter.build_model(plain)
    state = copy.deepcopy(model.state_dict())
    state["backbone.layer1.0.bn1.running_var"][0] = float("nan")
    with pytest.raises(UserError, match=r"nan\.pth: backbone\.layer1\.0\.bn1\.running_var holds"):
        load_trained(model, state, "nan.pth")


def test_start_says_what_is_left(plain: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    once.cache_clear()
    trained = adapter.build_model(plain)
    other = copy.deepcopy(plain)
    other["decode_head"]["num_classes"] = other["auxiliary_head"]["num_classes"] = 7
    student = adapter.build_model(other)
    before = student.decode_head.conv_seg.weight.clone()
    load_start(student, trained.state_dict(), "zoo.pth")
    said = capsys.readouterr().err
    total = len(student.state_dict())
    assert said.startswith(f"zoo.pth: {total - 4} of the model's {total} tensors are loaded; ")
    assert "decode_head.conv_seg.weight: 5x16x1x1 in the file, 7x16x1x1 in the model" in said
    assert torch.equal(student.decode_head.conv_seg.weight, before)
    assert torch.equal(student.backbone.layer4[0].conv1.weight,
                       trained.backbone.layer4[0].conv1.weight)  # fmt: skip
    load_start(trained, copy.deepcopy(trained.state_dict()), "whole.pth")
    assert capsys.readouterr().err == ""
    load_start(trained, {**trained.state_dict(), "auxiliary_head.more": torch.ones(2)}, "more.pth")
    more = "auxiliary_head.more: 2 in the file, absent in the model"
    assert capsys.readouterr().err.strip() == f"more.pth: not used: {more}"
    foreign = {f"layers.{name}": value for name, value in trained.state_dict().items()}
    with pytest.raises(UserError, match="another architecture"):
        load_start(student, foreign, "foreign.pth")
