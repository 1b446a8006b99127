"""Weights in files: tensors only, never another pickle, and only where all of them fit."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, sha256_file

_BELOW = ("state_dict", "model")  # where torch files keep a state_dict, if not bare
_AVERAGED = ("state_dict_ema", "model_ema")  # where timm's and DeiT's scripts keep averaged weights
_WRAPPERS = ("_orig_mod.", "module.", "_orig_mod.")  # torch.compile around or inside DDP
_NAMED = 3  # tensors that an error names; it only counts the others


def read_weights(path: str | os.PathLike[str], averaged: bool = False) -> dict[str, Tensor]:
    """A state_dict from safetensors or a torch file (bare, or below `state_dict` or `model`).

    Only tensors are made; what else a checkpoint holds is passed over, and none of it is run.

    Args:
        path: the file.
        averaged: the averaged weights (EMA) that a training script has kept beside the last ones.

    Raises:
        UserError: no such file, a damaged one, or one that holds more than tensors; no averaged
            weights in it.
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
            with torch.serialization.safe_globals(_left_out(file)):
                content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # every loader has its own way of refusing a file
        raise UserError(
            f"{path} is damaged or holds more than tensors, which is not loaded because it could "
            f"run code ({type(error).__name__}); save the bare state_dict where you trust the file"
        ) from error
    if averaged:
        if not isinstance(content, dict) or not any(name in content for name in _AVERAGED):
            raise UserError(f"{path} holds no averaged weights ({' or '.join(_AVERAGED)})")
        content = next(content[name] for name in _AVERAGED if name in content)
    for name in _BELOW:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds no state_dict of tensors")
    if not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} holds no state_dict of tensors")
    return {_unwrapped(name): value for name, value in content.items()}


class _LeftOut:
    """Stands for any object that is no tensor; nothing of it is run or kept."""

    def __new__(cls, *_: Any) -> "_LeftOut":
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        """Whatever it was made from."""

    def __setstate__(self, _: Any) -> None:
        """Whatever its state was."""


def _left_out(file: Path) -> list[Any]:
    """What a torch file names besides tensors and plain values, each as a `_LeftOut`.

    Training frameworks keep more beside the weights: timm its arguments, mmengine the history of
    its losses. torch's own list of what may be made says what is read; the rest is left out.
    """
    if not zipfile.is_zipfile(file):  # torch's old form: only what its own list allows
        return []
    names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    return [(_LeftOut, name) for name in names]


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """load_state_dict, every tensor of it.

    Raises:
        UserError: names or shapes that do not fit: what differs first, and how many do.
    """
    wrong = misfits(model, state)
    if wrong:
        raise UserError(f"{origin} is of another architecture: {listed(wrong)}")
    model.load_state_dict(state)


def misfits(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, str]:
    """By name of a tensor that does not fit: its shape in the file and in the model."""
    own = model.state_dict()
    return {
        key: f"{_shape(state.get(key))} in the file, {_shape(own.get(key))} in the model"
        for key in dict.fromkeys([*own, *state])
        if _shape(state.get(key)) != _shape(own.get(key))
    }


def listed(wrong: Mapping[str, str]) -> str:
    """The first of `misfits`, and how many more there are."""
    more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
    return "; ".join(f"{key}: {what}" for key, what in list(wrong.items())[:_NAMED]) + more


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else "x".join(map(str, tensor.shape)) or "scalar"


def _unwrapped(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def save_weights(
    weights: nn.Module | Mapping[str, Tensor],
    path: str | os.PathLike[str],
    half: bool = False,
    metadata: dict[str, str] | None = None,
) -> str:
    """Write a model's state_dict, or one, as safetensors, atomically; returns the file's sha256.

    With `half`, floating-point tensors become float16 (counters stay integers).
    """
    from safetensors.torch import save

    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    tensors = {
        name: (value.half() if half and value.is_floating_point() else value).contiguous().cpu()
        for name, value in state.items()
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, save(tensors, metadata))
    return sha256_file(path)
