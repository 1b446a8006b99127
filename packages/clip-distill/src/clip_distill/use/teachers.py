"""Teachers: frozen encoders of images, and of texts where they have one, from two libraries.

Nothing is downloaded: weights come from a file, a folder or the library's own cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clip_distill.use.preprocessing import Pixels, Preprocessing
from repro_shared.runtime.errors import UserError
from repro_shared.timing.counts import count_parameters

Compute = Literal["float32", "bfloat16", "float16"]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Texts:
    """A text encoder.

    Attributes:
        encode: texts to features (n, width), cut at the context's end if need be.
        lost: what of a text lies behind the context's end; "" for nothing.
        context: tokens that it takes, special ones included.
    """

    encode: Callable[[list[str]], Tensor]
    lost: Callable[[str], str]
    context: int


@dataclass(frozen=True)
class Teacher:
    """A frozen encoder.

    Attributes:
        name: library and model, for manifests; no path.
        network: with its weights, in evaluation mode.
        preprocessing: of its images.
        width: of its features.
        encode: normalised images (b, 3, s, s) to features (b, width), not normalised.
        texts: None for a teacher without language, such as DINOv3.
        image_tower: whose parameters are counted apart.
        libraries: whose versions are recorded.
        logit_scale: 1 / tau as it was trained; None without language.
    """

    name: str
    network: nn.Module
    preprocessing: Preprocessing
    width: int
    encode: Callable[[Tensor], Tensor]
    texts: Texts | None
    image_tower: nn.Module
    libraries: tuple[str, ...]
    logit_scale: float | None = None
    _digest: list[str] = field(default_factory=list, compare=False)

    @property
    def sha256(self) -> str:
        """Of all weights, by name."""
        if not self._digest:
            self._digest.append(weights_digest(self.network))
        return self._digest[0]

    @property
    def parameters(self) -> tuple[int, int]:
        """Of the whole, and of the image tower."""
        return count_parameters(self.network), count_parameters(self.image_tower)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.network.parameters()).device


def weights_digest(*networks: nn.Module) -> str:
    """SHA-256 of all weights of networks, by name."""
    digest = hashlib.sha256()
    for network in networks:
        for name, value in sorted(network.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            plain = value.detach().cpu().contiguous()
            digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def versions(names: Sequence[str]) -> dict[str, str]:
    """Of installed distributions."""
    found = {}
    for name in ("torch", "numpy", "pillow", *names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def encode_pixels(
    teacher: Teacher, pixels: Pixels, batch: int, compute: Compute = "float32"
) -> Floats:
    """Features (n, width) of views (n, s, s, 3) that are as large as the teacher takes them.

    Every forward pass has the same shape: the last one is filled up with black images, so that a
    view's features do not depend on how many come with it.

    Raises:
        UserError: features that are not finite, or a row of zeros.
    """
    found = np.empty((len(pixels), teacher.width), np.float32)
    size = teacher.preprocessing.size
    for start in range(0, len(pixels), batch):
        part = pixels[start : start + batch]
        padded = np.zeros((batch, size, size, 3), np.uint8)
        padded[: len(part)] = part
        images = torch.from_numpy(padded).to(teacher.device)
        with torch.inference_mode(), _precision(compute, teacher.device.type):
            features = teacher.encode(teacher.preprocessing.normalise(images))
        found[start : start + len(part)] = features[: len(part)].float().cpu().numpy()
    if (bad := damaged_rows(found)) is not None:
        raise UserError(f"{teacher.name} gives {bad[1]} for image {bad[0]}")
    return found


def damaged_rows(rows: NDArray[Any]) -> tuple[int, str] | None:
    """The first row (n, d) that is no direction, and what it is instead."""
    finite, empty = (np.asarray(each) for each in (np.isfinite(rows).all(1), ~rows.any(1)))
    bad = ~finite | empty
    if not bad.any():
        return None
    row = int(bad.argmax())
    return row, "zeros only" if empty[row] else "a value that is not finite"


def _precision(compute: Compute, device: str) -> AbstractContextManager[Any]:
    if compute == "float32":
        return nullcontext()
    return torch.autocast(device, torch.bfloat16 if compute == "bfloat16" else torch.float16)


def load_teacher(specification: str, device: str = "cpu") -> Teacher:
    """A teacher by name.

    Args:
        specification: `open_clip:MODEL:TAG_OR_FILE`, `open_clip:FOLDER` or `transformers:FOLDER`
            (or a hub's name, from the cache).
        device: where it shall be.

    Raises:
        UserError: unknown, not on this machine, or weights that do not fit.
    """
    library, _, rest = specification.partition(":")
    if library == "open_clip" and rest:
        from clip_distill.use import open_clip_teachers

        teacher = open_clip_teachers.load(rest)
    elif library == "transformers" and rest:
        from clip_distill.use import transformers_teachers

        teacher = transformers_teachers.load(rest)
    else:
        forms = "open_clip:MODEL:TAG_OR_FILE, open_clip:FOLDER or transformers:FOLDER"
        raise UserError(f"unknown teacher {specification!r}: give {forms}")
    teacher.network.to(device).eval().requires_grad_(False)
    return teacher
