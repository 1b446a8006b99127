"""Models come from folders and from the hub library's cache, and from nowhere else."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ofds.use.proposers.hub import Machine, config_of, fingerprint, folder_of, loaded
from repro_shared.runtime.errors import UserError


def test_the_cache_is_read_and_the_network_is_not(
    tmp_path: Path, pretrained: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    def refused(*given: Any, **named: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / "models--somebody--owl"
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text("0" * 40)
    shutil.copytree(pretrained("owl"), home / "snapshots" / ("0" * 40))
    found = folder_of("somebody/owl", "--detector")
    assert config_of(found)["model_type"] == "owlv2"
    assert fingerprint(found) == fingerprint(pretrained("owl"))
    with pytest.raises(UserError, match=r"nothing is downloaded here: fetch it first \(`hf down"):
        folder_of("somebody/else", "--detector")
    with pytest.raises(UserError, match="neither a folder nor in the hub"):
        folder_of("no such / name", "--detector")


def test_a_fingerprint_is_of_what_is_loaded(
    tmp_path: Path, pretrained: Callable[[str], Path]
) -> None:
    folder = shutil.copytree(pretrained("owl"), tmp_path / "model")
    before = fingerprint(folder)
    (folder / "README.md").write_text("a card")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"not read, because there are safetensors")
    assert fingerprint(folder) == before
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    assert fingerprint(folder) != before


def test_what_a_library_says_becomes_a_line() -> None:
    def broken() -> None:
        raise KeyError("shape\nmismatch")

    with pytest.raises(UserError, match="model: cannot be loaded"):
        loaded("model", broken)


def test_memory_that_is_full_and_numbers_that_are_none() -> None:
    machine = Machine()
    with pytest.raises(UserError, match="give a smaller --batch"), machine.running():
        raise torch.cuda.OutOfMemoryError
    with pytest.raises(ValueError, match="not finite"):
        machine.numpy(torch.tensor([1.0, float("inf")]))
