"""Making a teacher cache, and going on with one that was interrupted."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from clip_distill.use.cache import (
    BUILDING,
    CAPTIONS,
    CLASSES,
    FEATURES,
    IDS,
    MANIFEST,
    PIXELS,
    VERSION,
    Cache,
    Rows,
    captions_digest,
    ids_digest,
    open_cache,
    read_manifest,
)
from clip_distill.use.pictures import Pictures
from clip_distill.use.prompts import ClassTexts, captions_of, encode_texts, save_class_texts
from clip_distill.use.teachers import Compute, Teacher, damaged_rows, encode_pixels, versions
from clip_distill.use.views import Views
from repro_shared.datasets.views import readable
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import (
    atomic_write_json,
    atomic_write_text,
    ensure_output_dir,
    sha256_bytes,
)
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import derive_seed, one_thread

CANARIES = 16  # rows that are made again when a cache is opened beside its teacher
SYNC_SECONDS = 30.0
Storage = Literal["float16", "float32"]


@dataclass(frozen=True)
class Plan:
    """What decides the bytes of a cache, besides teacher and data.

    Attributes:
        views: of each picture.
        storage: type of the features on disk.
        compute: precision of the teacher.
        batch: images of every forward pass; the last one is filled up.
        pixels: keep the decoded views, too: decoding costs more than a small student.
    """

    views: Views
    storage: Storage = "float16"
    compute: Compute = "float32"
    batch: int = 64
    pixels: bool = False


def build_cache(
    folder: str | Path,
    teacher: Teacher,
    pictures: Pictures,
    plan: Plan,
    checked: dict[str, Any],
    classes: ClassTexts | None = None,
    captions: bool = False,
    workers: int = 0,
) -> Cache:
    """Make a cache, or go on with one that was interrupted; the bytes are the same either way.

    Args:
        folder: where; a finished cache of the same plan is opened instead.
        teacher, pictures, plan: what decides the bytes.
        checked: what `use.sanity` found of the teacher, for the manifest.
        classes: text vectors of classes to keep beside.
        captions: keep text vectors of the pictures' captions.
        workers: decoding processes.

    Raises:
        UserError: the folder holds another cache, a picture cannot be read, or features that are
            no direction or do not fit into the storage type.
    """
    out = ensure_output_dir(folder)
    rows = Rows(pictures, plan.views, teacher.preprocessing)
    planned = _planned(teacher, pictures, plan, rows.data, checked, classes, captions)
    if (out / MANIFEST).is_file():
        _same(read_manifest(out), planned, out)
        return open_cache(out)
    if any((out / name).exists() for name in (FEATURES, PIXELS)) and not (out / BUILDING).is_file():
        raise UserError(f"{out} holds features without a manifest: give another --out")
    shape = (len(pictures), plan.views.count, teacher.width)
    size = teacher.preprocessing.size
    done = _done(out, planned)
    features = _map(out / FEATURES, plan.storage, shape, new=done is None)
    pixels = None
    if plan.pixels:
        pixels = _map(out / PIXELS, "uint8", (*shape[:2], size, size, 3), new=done is None)
    if done is None:
        atomic_write_text(out / IDS, "".join(f"{name}\n" for name in pictures.ids))
        if classes is not None:
            save_class_texts(out / CLASSES, classes)
        if captions:
            texts = captions_of(list(map(pictures.caption, range(len(pictures)))), teacher)
            np.save(out / CAPTIONS, encode_texts(teacher, texts).astype(plan.storage))
        atomic_write_json(out / BUILDING, {"done": 0, "planned": planned})
    _fill(out, teacher, rows, plan, planned, features, pixels, done or 0, workers)
    atomic_write_json(out / MANIFEST, {**planned, "canaries": _canaries(rows, planned)})
    (out / BUILDING).unlink(missing_ok=True)
    return open_cache(out)


def _fill(
    out: Path,
    teacher: Teacher,
    rows: Rows,
    plan: Plan,
    planned: dict[str, Any],
    features: NDArray[Any],
    pixels: NDArray[np.uint8] | None,
    done: int,
    workers: int,
) -> None:
    flat = features.reshape(len(rows), -1)
    kept = None if pixels is None else pixels.reshape(len(rows), *pixels.shape[2:])
    loader = DataLoader(
        rows, plan.batch, sampler=range(done, len(rows)), num_workers=workers,
        collate_fn=np.stack, worker_init_fn=one_thread, generator=torch.Generator(),
    )  # fmt: skip
    synced = time.monotonic()
    with Progress(len(rows), "views", done) as progress:
        for views in readable(loader):
            found = encode_pixels(teacher, views, plan.batch, plan.compute).astype(plan.storage)
            if (bad := damaged_rows(found)) is not None:
                sample = rows.pictures.ids[(done + bad[0]) // plan.views.count]
                raise UserError(f"{sample}: its features, as {plan.storage}, are {bad[1]}")
            flat[done : done + len(views)] = found
            if kept is not None:
                kept[done : done + len(views)] = views
            done += len(views)
            progress.update(done)
            if time.monotonic() - synced > SYNC_SECONDS or done == len(rows):
                for array in (features, pixels):
                    if isinstance(array, np.memmap):
                        array.flush()
                atomic_write_json(out / BUILDING, {"done": done, "planned": planned})
                synced = time.monotonic()


def _planned(
    teacher: Teacher,
    pictures: Pictures,
    plan: Plan,
    data: str,
    checked: dict[str, Any],
    classes: ClassTexts | None,
    captions: bool,
) -> dict[str, Any]:
    whole, tower = teacher.parameters
    form = {
        "version": VERSION,
        "teacher": {
            "name": teacher.name,
            "sha256": teacher.sha256,
            "width": teacher.width,
            "preprocessing": asdict(teacher.preprocessing),
            "normalised": False,  # the features, as the teacher gives them
            "parameters": {"whole": whole, "image_tower": tower},
            "logit_scale": teacher.logit_scale,
            "check": checked,
        },
        "data": {"fingerprint": data, "samples": len(pictures), "ids": ids_digest(pictures)},
        "views": plan.views.form(),
        "storage": plan.storage,
        "compute": plan.compute,
        "batch": plan.batch,
        "pixels": plan.pixels,
        "classes": None if classes is None else {
            "names": list(classes.names), "templates": list(classes.templates),
            "source": classes.source,
        },
        "captions": captions_digest(pictures) if captions else None,
        "versions": versions(teacher.libraries),
    }  # fmt: skip
    plain: dict[str, Any] = json.loads(json.dumps(form))
    return plain


def _same(kept: dict[str, Any], planned: dict[str, Any], out: Path) -> None:
    """UserError, with the first setting that differs, unless a folder is of this plan."""
    for name, value in planned.items():
        inner = value if isinstance(value, dict) else {"": value}
        before = kept.get(name)
        there = before if isinstance(before, dict) else {"": before}
        for key, wanted in inner.items():
            if there.get(key) != wanted and name != "versions":
                what = f"{name} {key}".strip()
                said = f"{what} is {there.get(key)} there and {wanted} here"
                raise UserError(f"{out} holds another cache ({said[:160]}): give another --out")


def _done(out: Path, planned: dict[str, Any]) -> int | None:
    """Rows that an interrupted build has finished; None for no build."""
    try:
        state = json.loads((out / BUILDING).read_text(encoding="utf-8"))
        done, before = int(state["done"]), state["planned"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{out / BUILDING}: damaged; remove {out}") from None
    _same(before, planned, out)
    if before["versions"] != planned["versions"]:
        raise UserError(f"{out}: begun with other versions of libraries; remove it to begin anew")
    return done - done % int(planned["batch"])


def _map(path: Path, dtype: str, shape: tuple[int, ...], new: bool) -> NDArray[Any]:
    if new:
        made: NDArray[Any] = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
        return made
    try:
        there: NDArray[Any] = np.lib.format.open_memmap(path, mode="r+")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); remove the folder") from None
    if there.shape != shape or there.dtype != np.dtype(dtype):
        raise UserError(f"{path}: damaged (shape {there.shape}); remove the folder")
    return there


def _canaries(rows: Rows, planned: dict[str, Any]) -> list[dict[str, Any]]:
    seed = derive_seed("canaries", planned["data"]["fingerprint"])
    count = min(CANARIES, len(rows))
    places = np.sort(np.random.RandomState(seed).permutation(len(rows))[:count])
    return [{"row": int(row), "sha256": sha256_bytes(rows[int(row)].tobytes())} for row in places]
