"""`clip-distill cache`: a teacher's features of a folder or of shards, once and for all."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from clip_distill.use.build_cache import Plan, Storage, build_cache
from clip_distill.use.cache import open_cache
from clip_distill.use.class_names import names_of, numbered
from clip_distill.use.pictures import Pictures
from clip_distill.use.prompts import ClassTexts, class_texts, templates_of
from clip_distill.use.sanity import teacher_check
from clip_distill.use.sources import pictures_of
from clip_distill.use.teachers import Compute, Teacher, load_teacher
from clip_distill.use.views import Views
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.errors import UserError


def cache(
    data: str,
    *,
    out: str = "",
    teacher: str = "",
    views: int = 10,
    storage: Storage = "float16",
    compute: Compute = "float32",
    batch: int = 64,
    pixels: bool = False,
    template: tuple[str, ...] = ("photo",),
    classes: str | None = None,
    captions: bool = False,
    no_teacher_check: bool = False,
    skip_bad: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
) -> None:
    """Compute a teacher's features of seeded views, once; goes on where it was interrupted.

    Args:
        data: class folders, a folder of pictures, or WebDataset shards (folder, file or pattern).
        out: folder of the cache.
        teacher: open_clip:MODEL:TAG_OR_FILE, open_clip:FOLDER or transformers:FOLDER.
        views: random crops of each picture; 1 is its centre.
        storage: type on disk.
        compute: precision of the teacher.
        batch: images of a forward pass.
        pixels: keep the decoded views, too.
        template: prompts of the classes: photo, pets, food, ..., a text with {}, or @FILE.
        classes: file of class names: a line each, or folder, tab and name; shards number them.
        captions: keep text vectors of the captions (.txt beside pictures, or in shards).
        no_teacher_check: take a teacher that does no better than guessing.
        skip_bad: leave out what truncated shards have lost.
        device: cpu or cuda.
        workers: decoding processes.
    """
    check_device(device)
    require(workers >= 0, "--workers", "0 or more", workers)
    require(bool(out), "--out", "a folder for the cache", "nothing")
    require(views >= 1, "--views", "at least 1", views)
    require(batch >= 1, "--batch", "at least 1", batch)
    pictures = pictures_of(data, skip_bad, numbered(classes))
    frozen = load_teacher(teacher, device)
    print(f"teacher: {frozen.name}, {frozen.preprocessing}")
    texts = _texts(frozen, pictures, template, classes)
    if captions and frozen.texts is None:
        raise UserError(f"{frozen.name} has no text encoder: leave --captions out")
    checked = teacher_check(frozen, pictures, texts, batch, refuse=not no_teacher_check)
    seen = Views() if views == 1 else Views(views, "random-crop")
    plan = Plan(seen, storage, compute, batch, pixels)
    made = build_cache(out, frozen, pictures, plan, checked, texts, captions, workers)
    open_cache(out, pictures, frozen)
    size = sum(path.stat().st_size for path in Path(out).iterdir()) / 2**20
    samples, count, width = made.features.shape
    print(
        f"written: {out}, {samples} pictures x {count} views x {width}, {size:.1f} MiB; "
        f"teacher check: {checked}"
    )


def _texts(
    teacher: Teacher, pictures: Pictures, template: tuple[str, ...], file: str | None
) -> ClassTexts | None:
    """Text vectors of the classes, where teacher and pictures have such."""
    if teacher.texts is None or not pictures.classes:
        if file is not None:
            lacks = teacher.name if teacher.texts is None else pictures.where
            what = "text encoder" if teacher.texts is None else "class folders"
            raise UserError(f"--classes {file}: {lacks} has no {what}; leave it out")
        return None
    names, source = names_of(pictures.classes, file, pictures.where)
    return class_texts(teacher, names, templates_of(template), source)
