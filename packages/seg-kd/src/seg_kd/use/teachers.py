"""The teacher: trained by its own recipe, kept in float16 beside the record of its run."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from repro_shared.evidence.records import read_record, recipe_hash
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, sha256_file
from seg_kd.study.recipes.base import Data, Recipe, Teacher
from seg_kd.use import adapter

COMMITTED = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True)
class TeacherKey:
    """What decides a teacher's weights."""

    data: Data
    teacher: Teacher


def weights_path(recipe: Recipe, out: Path, retrain: bool) -> Path:
    """The file below `out` where there is one or `retrain` is on, else the committed one."""
    committed = COMMITTED / recipe.teacher.weights
    own = out / "teachers" / f"{recipe.name}-{recipe.scale}.safetensors"
    if recipe.teacher.weights and committed.is_file() and not (retrain or belongs(recipe, own)):
        return committed
    return own


def belongs(recipe: Recipe, weights: Path) -> bool:
    """Whether weights and the record beside them exist and are of this teacher's recipe."""
    path = weights.with_suffix(".json")
    if not (weights.is_file() and path.is_file()):
        return False
    record = read_record(path)
    return record.recipe_hash == recipe_hash(
        TeacherKey(recipe.data, recipe.teacher)
    ) and record.notes == weights_note(sha256_file(weights))


def weights_note(sha256: str) -> str:
    """What a teacher's record says of the file it belongs to."""
    return f"weights sha256 {sha256}"


def save_half(model: nn.Module, path: Path) -> str:
    """Write a state_dict as float16 (counters stay integers); returns the file's sha256."""
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, save(tensors))
    return sha256_file(path)


def save_plain(model: nn.Module, path: Path) -> str:
    """Write a state_dict as it is (float32 safetensors, mmseg's own names); returns the sha256."""
    tensors = {name: value.contiguous().cpu() for name, value in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, save(tensors))
    return sha256_file(path)


def save_torch(model: nn.Module, path: Path) -> None:
    """Write {"state_dict": ...} as mmseg's `load_checkpoint` reads it; tensors only."""
    buffer = io.BytesIO()
    torch.save({"state_dict": dict(model.state_dict())}, buffer)
    atomic_write_bytes(path, buffer.getvalue())


def load_teacher(recipe: Recipe, path: Path) -> nn.Module:
    """The frozen teacher in float32, evaluation mode.

    Raises:
        UserError: damaged file, or weights of another architecture.
    """
    model = untrained_teacher(recipe)
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}): use --retrain") from error
    load_strictly(model, {name: _float(value) for name, value in state.items()}, str(path))
    return model.eval().requires_grad_(False)


def untrained_teacher(recipe: Recipe) -> nn.Module:
    """The teacher's architecture with its seeded random initialisation."""
    from repro_shared.runtime.rng import isolated_rng

    config = adapter.model_config(recipe.teacher.model, len(recipe.data.classes), recipe.data.crop)
    with isolated_rng(recipe.teacher.seed):
        return adapter.build_model(config).eval().requires_grad_(False)


def load_strictly(model: nn.Module, state: dict[str, Tensor], origin: str) -> None:
    """load_state_dict with one readable line when names or shapes do not fit.

    Raises:
        UserError: names the first key that differs.
    """
    own = model.state_dict()
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shapes = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    if missing or unknown or shapes:
        kind, keys = next(
            (kind, keys)
            for kind, keys in (
                ("lacks", missing),
                ("has an unknown", unknown),
                ("has another shape for", sorted(shapes)),
            )
            if keys
        )
        raise UserError(
            f"{origin} belongs to another architecture: it {kind} {keys[0]} "
            f"({len(missing)} missing, {len(unknown)} unknown, {len(shapes)} of another shape)"
        )
    model.load_state_dict(state)


def read_weights(path: str) -> dict[str, Tensor]:
    """A state_dict from safetensors or a torch file (`state_dict` inside or bare), never pickles.

    Raises:
        UserError: no such file, not loadable with weights_only=True, or no tensors in it.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"no weights at {path}")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # every loader has its own way of refusing a file
        raise UserError(
            f"{path} cannot be loaded safely ({type(error).__name__}): only tensors are read; "
            "save the bare state_dict where you trust the file"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path} holds no state_dict")
    return dict(state)


def _float(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
