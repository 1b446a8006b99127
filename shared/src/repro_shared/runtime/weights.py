"""Weights in files: tensors only, never another pickle, and only where all of them fit."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, sha256_file

_BELOW = ("state_dict", "model")  # where torch files keep a state_dict, if not bare


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """A state_dict from safetensors or a torch file (bare, or below `state_dict` or `model`).

    Raises:
        UserError: no such file, a damaged one, or one that holds more than tensors.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"no weights at {path}: give a file of weights (.safetensors, .pth)")
    content: Any
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            content = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # every loader has its own way of refusing a file
        raise UserError(
            f"{path} is damaged or holds more than tensors, which is not loaded because it could "
            f"run code ({type(error).__name__}); save the bare state_dict where you trust the file"
        ) from error
    for name in _BELOW:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds no state_dict of tensors")
    if not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} holds no state_dict of tensors")
    return {name.removeprefix("module."): value for name, value in content.items()}


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """load_state_dict, every tensor of it.

    Raises:
        UserError: names or shapes that do not fit: what differs first, and how many do.
    """
    own = model.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    kinds = {"lacks": missing, "has an unknown": unknown, "has another shape for": shapes}
    for kind, keys in kinds.items():
        if keys:
            raise UserError(
                f"{origin} belongs to another architecture: it {kind} {keys[0]} "
                f"({len(missing)} missing, {len(unknown)} unknown, {len(shapes)} of another shape)"
            )
    model.load_state_dict(state)


def save_weights(
    model: nn.Module,
    path: str | os.PathLike[str],
    half: bool = False,
    metadata: dict[str, str] | None = None,
) -> str:
    """Write a state_dict as safetensors, atomically; returns the file's sha256.

    With `half`, floating-point tensors become float16 (counters stay integers).
    """
    from safetensors.torch import save

    tensors = {
        name: (value.half() if half and value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, save(tensors, metadata))
    return sha256_file(path)
