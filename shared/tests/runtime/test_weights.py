"""Weights in files: what is read, what is never run, and that every tensor must fit."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.weights import load_strictly, read_weights, save_weights


def network(width: int = 3, bias: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, width, bias=bias), nn.BatchNorm1d(width))


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("below", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_forms_of_torch_files(below: str | None, prefix: str, tmp_path: Path) -> None:
    state = network().state_dict()
    wrapped = {prefix + name: value for name, value in state.items()}
    beside = {"epoch": 3, "args": Namespace(lr=0.1)}  # as timm's training script writes it
    torch.save({below: wrapped, **beside} if below else wrapped, tmp_path / "w.pth")
    assert equal(read_weights(tmp_path / "w.pth"), dict(state))


@pytest.mark.parametrize("below", ["state_dict_ema", "model_ema"])
def test_averaged_weights_beside_the_last(below: str, tmp_path: Path) -> None:
    last, averaged, path = network().state_dict(), network().state_dict(), tmp_path / "w.pth"
    averaged["0.weight"] = averaged["0.weight"] + 1
    wrapped = {f"module.{name}": value for name, value in averaged.items()}
    torch.save({"state_dict": last, below: wrapped}, path)
    assert equal(read_weights(path), dict(last))
    assert equal(read_weights(path, averaged=True), dict(averaged))
    torch.save(last, path)
    with pytest.raises(UserError, match="holds no averaged weights"):
        read_weights(path, averaged=True)


def test_saved_weights_load_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "w.safetensors"
    assert save_weights(network(), path, metadata={"arm": "dense"}) == sha256_file(path)
    assert equal(read_weights(path), dict(network().state_dict()))
    content = path.read_bytes()
    save_weights(network().state_dict(), path, metadata={"arm": "dense"})
    assert path.read_bytes() == content
    save_weights(network(), path, half=True)
    halves = read_weights(path)
    assert halves["0.weight"].dtype == torch.float16
    assert halves["1.num_batches_tracked"].dtype == torch.int64


def test_weights_that_do_not_fit_say_what_differs() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=r"^x\.pth is of another architecture: "
                       r"0\.weight: 4x2 in the file, 3x2 in the model; 0\.bias: .*; 1\.weight: .* "
                       r"and 3 more$"):  # fmt: skip
        load_strictly(model, network(4).state_dict(), "x.pth")
    with pytest.raises(UserError, match=r"0\.bias: absent in the file, 3 in the model$"):
        load_strictly(model, network(bias=False).state_dict(), "x.pth")
    with pytest.raises(UserError, match=r"extra: scalar in the file, absent in the model$"):
        load_strictly(model, {**before, "extra": torch.tensor(1.0)}, "x.pth")
    assert equal(dict(model.state_dict()), before)


class History:
    """As mmengine keeps the losses beside the weights: arrays, and methods by name."""

    def __init__(self) -> None:
        self.values = np.ones(3)
        self.methods = {"mean": History.mean}

    def mean(self) -> float:
        """Of the values."""
        return float(self.values.mean())


def test_what_is_no_tensor_is_left_out(tmp_path: Path) -> None:
    state = network().state_dict()
    hub = {"log_scalars": {"train/loss": History()}, "runtime_info": {"best": np.float64(1)}}
    torch.save({"state_dict": state, "message_hub": hub, "optimizer": {}}, tmp_path / "w.pth")
    assert equal(read_weights(tmp_path / "w.pth"), dict(state))
    torch.save({"state_dict": {**state, "more": History()}}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="holds no state_dict of tensors"):
        read_weights(tmp_path / "w.pth")


class Harmful:
    """A pickle of this would call a function when loaded."""

    def __reduce__(self) -> Any:
        return print, ("this must never be run",)


def test_files_that_are_not_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Harmful()}, tmp_path / "harmful.pth")
    torch.save(torch.ones(3), tmp_path / "tensor.pth")
    torch.save({"model": {"a": 1}}, tmp_path / "numbers.pth")
    torch.save({}, tmp_path / "empty.pth")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("not weights at all, but a text that is long enough")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(
            UserError, match=r"damaged or holds more than tensors|no state_dict"
        ) as e:
            read_weights(path)
        assert path.name in str(e.value)
    assert "never" not in capsys.readouterr().out
