"""Weights of other libraries' models, from a folder or their cache: nothing is downloaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file

T = TypeVar("T")
READ = (".json", ".txt", ".model", ".safetensors")
PICKLED = (".bin", ".pt", ".pth")  # read without running what they hold, and only where need be
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Machine:
    """Where and how exactly a model runs.

    Attributes:
        device: cpu, cuda or cuda:N.
        dtype: of matrix products and convolutions (torch's autocast); weights stay float32.
    """

    device: str = "cpu"
    dtype: str = "float32"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Without gradients, in this precision; UserError where the device's memory is full."""
        kind = torch.device(self.device).type
        half = self.dtype != "float32"
        try:
            with torch.inference_mode(), torch.autocast(kind, DTYPES[self.dtype], enabled=half):
                yield
        except torch.cuda.OutOfMemoryError:
            raise UserError("the device's memory is full: give a smaller --batch") from None

    def numpy(self, tensor: torch.Tensor) -> NDArray[np.float32]:
        """A model's numbers; ValueError where they are not finite, as may be in half precision."""
        found = tensor.float().cpu().numpy()
        if not np.isfinite(found).all():
            raise ValueError(f"numbers that are not finite, in {self.dtype}")
        return np.asarray(found, np.float32)


def folder_of(name: str, option: str) -> Path:
    """A folder with a model: itself, or what the hub library's cache has of that name.

    Raises:
        UserError: neither.
    """
    path = Path(name)
    if path.is_dir():
        return path
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError, ValueError):
        raise UserError(
            f"{option} {name}: neither a folder nor in the hub library's cache "
            f"({constants.HF_HUB_CACHE}); nothing is downloaded here: fetch it first "
            f"(`hf download {name}`), or give a folder"
        ) from None


def fingerprint(folder: Path) -> str:
    """SHA-256 over names and contents of all files that a model is loaded from."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [path for path in files if not path.relative_to(folder).as_posix().startswith(".")]
    used = [path for path in files if path.suffix in READ]
    if not any(path.suffix == ".safetensors" for path in used):
        used += [path for path in files if path.suffix in PICKLED]
    digest = hashlib.sha256()
    for path in used:
        digest.update(f"{path.relative_to(folder).as_posix()} {sha256_file(path)}\n".encode())
    return digest.hexdigest()


def config_of(folder: Path) -> Mapping[str, Any]:
    """A model's config.json; UserError where there is none."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{folder}: no model of transformers (config.json is missing or damaged)")
    return content


def loaded(source: str | Path, make: Callable[[], T]) -> T:
    """What `make` gives; UserError for whatever a library says of weights that it cannot load."""
    try:
        return make()
    except UserError:
        raise
    except Exception as error:  # every library has its own way of refusing a folder
        raise UserError(f"{source}: cannot be loaded ({type(error).__name__}: {error})") from error


def pretrained(kind: Any, folder: Path, machine: Machine) -> Any:
    """A model of transformers with all of its weights, in evaluation mode.

    Raises:
        UserError: damaged, or weights are missing, which the library would draw at random.
    """

    def make() -> Any:
        return kind.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )

    from transformers.utils import logging

    logging.disable_progress_bar()
    model, info = loaded(folder, make)
    if missing := sorted(info["missing_keys"]):
        raise UserError(f"{folder}: {len(missing)} weights are missing, such as {missing[0]}")
    return model.to(machine.device).eval()


def processor(kind: Any, folder: Path) -> Any:
    """What prepares the input of a model of transformers."""
    return loaded(folder, lambda: kind.from_pretrained(folder, local_files_only=True))


def prepared(image_processor: Any) -> Any:
    """An image processor's settings, for the manifest."""
    return json.loads(json.dumps(image_processor.to_dict(), default=str, sort_keys=True))
