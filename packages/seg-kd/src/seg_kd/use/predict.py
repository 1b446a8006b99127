"""Answers of a segmentor as files: label maps, and the same laid over the images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from repro_shared.datasets.label_values import Colour
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, ensure_output_dir
from repro_shared.runtime.images import SUFFIXES, read_rgb
from repro_shared.runtime.progress import Progress
from seg_kd.use import adapter
from seg_kd.use.data import as_results

LABELS, OVERLAYS = "labels", "overlays"


@dataclass(frozen=True)
class Picture:
    """An image file, and the name of what is written for it, below the output folder."""

    path: Path
    name: Path


def pictures(source: Path, out: Path) -> list[Picture]:
    """All images of a folder, however deep, or one file; by name.

    Raises:
        UserError: none there, two that would be written to one file, or an output folder inside.
    """
    if source.is_file():
        return [Picture(source, Path(f"{source.stem}.png"))]
    if not source.is_dir():
        raise UserError(f"{source}: no such folder or image")
    if out.resolve().is_relative_to(source.resolve()):
        raise UserError(f"--out {out} lies in the folder of the images: give another")
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{source} holds no images ({' '.join(SUFFIXES)})")
    found = dict[Path, Path]()
    for path in files:
        name = path.relative_to(source).with_suffix(".png")
        if name in found:
            raise UserError(f"{found[name]} and {path} would both be written to {name}")
        found[name] = path
    return [Picture(path, name) for name, path in found.items()]


def predict(
    model: Any,
    images: Sequence[Picture],
    out: Path,
    colours: Sequence[Colour],
    opacity: float = 0.5,
) -> None:
    """Write `labels/<name>` (8-bit class indices with a palette) and `overlays/<name>`.

    Args:
        model: mmseg segmentor in evaluation mode.
        images: what is answered, one at a time.
        out: output folder.
        colours: of each class.
        opacity: of the classes over the images, 0 to 1.

    Raises:
        UserError: an image that cannot be read or predicted; those before it are written.
    """
    transform, palette = adapter.test_transform(), np.array(colours, np.uint8)
    with torch.inference_mode(), Progress(len(images), "images predicted") as progress:
        for done, each in enumerate(images, start=1):
            image = read_rgb(each.path)
            batch = [transform(as_results(image, np.zeros(image.shape[:2], np.uint8)))]
            try:
                (answer,) = model.test_step(adapter.collate(batch))
            except Exception as error:  # the user's config decides what runs here
                raise UserError(
                    f"{each.path}: the model cannot predict it: {adapter.reason(error)}"
                ) from error
            label = answer.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8)
            shown = (1 - opacity) * image + opacity * palette[label]
            _write(Image.fromarray(np.rint(shown).astype(np.uint8)), out / OVERLAYS / each.name)
            indices = Image.fromarray(label)
            indices.putpalette(palette.tobytes())
            _write(indices, out / LABELS / each.name)
            progress.update(done)


def class_colours(count: int) -> tuple[Colour, ...]:
    """Distinct colours, Pascal VOC's: bit i of a class's number, by threes, is a high bit of it."""

    def channel(number: int, first: int) -> int:
        return sum(((number >> (3 * bit + first)) & 1) << (7 - bit) for bit in range(8))

    return tuple((channel(n, 0), channel(n, 1), channel(n, 2)) for n in range(count))


def _write(image: Image.Image, path: Path) -> None:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    ensure_output_dir(path.parent)
    atomic_write_bytes(path, buffer.getvalue())
