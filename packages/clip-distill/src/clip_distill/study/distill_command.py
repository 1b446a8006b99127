"""`clip-distill distill`: train a student on the user's own pictures, in either stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist

from clip_distill.method.objective import Objective
from clip_distill.study.taught import Taught, objective_of, taught_with, varied
from clip_distill.train import fit
from clip_distill.use.cache import CLASSES
from clip_distill.use.lessons import Lessons
from clip_distill.use.overlap import check_overlap
from clip_distill.use.pictures import Pictures
from clip_distill.use.preprocessing import Preprocessing
from clip_distill.use.prompts import save_class_texts
from clip_distill.use.seen import stages_of
from clip_distill.use.sources import pictures_of
from clip_distill.use.steps import STAGES, Training
from clip_distill.use.students import (
    CONFIG,
    Student,
    StudentConfig,
    load_student,
    ratios,
    save_student,
    warm_start,
)
from repro_shared.evidence.hashing import recipe_hash, resolved_config
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.distributed import from_first, processes
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.progress import say
from repro_shared.runtime.rng import derive_seed, isolated_rng
from repro_shared.study.alone import flat, occupied

BACKBONE = "tiny_vit_11m_224"  # as in the authors' examples


@dataclass(frozen=True)
class Run:
    """All that decides the result, besides pictures, features and seed."""

    student: StudentConfig
    objective: Objective
    training: Training


def distill(
    data: tuple[str, ...],
    *,
    out: str = "",
    cache: tuple[str, ...] = (),
    teacher_features: str | None = None,
    backbone: str | None = None,
    objective: str = "feature",
    temperature: float | None = None,
    mix_with: str | None = None,
    alpha: float = 0.0,
    multi_positive: bool = False,
    learn_temperature: bool = False,
    stage: Literal[1, 2] = 2,
    init: str | None = None,
    image_size: int | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    schedule: Literal["constant", "cosine"] | None = None,
    amp: bool = False,
    test: str | None = None,
    allow_overlap: bool = False,
    skip_bad: bool = False,
    seed: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
) -> None:
    """Train a student from a cache of its teacher; interrupted runs go on, torchrun is understood.

    Args:
        data: the pictures that the cache was made of: class folders, a folder, or shards; several
            with as many caches.
        out: folder of the student.
        cache: folder that `cache` wrote, one for each of the data.
        teacher_features: .npy file (pictures, width) or (pictures, views, width) instead.
        backbone: timm's name; tiny_vit_11m_224 by default.
        objective: feature, vision-language, clip-kd-fd, tinyclip-affinity, authors-2025-02, ..., or
            a loss: l2, cosine, mse, image-to-image, class, teacher-logits, affinity, ...
        temperature: of the loss; needed for losses that have one.
        mix_with: a second loss.
        alpha: its share, 0 to 1.
        multi_positive: of vision-language: all pictures of one text are positives.
        learn_temperature: from the given one on, within 0.01 to 100.
        stage: 1 (one pass over web images) or 2 (96 passes over images of the classes).
        init: a student's folder to start from, or timm's weights of the backbone.
        image_size: of the student; by default the cache's.
        epochs: instead of the stage's.
        batch_size: instead of 256, of all processes together.
        learning_rate: instead of 5e-4.
        schedule: instead of a constant rate.
        amp: bfloat16 autocast.
        test: test images: refused if one of them is among the pictures.
        allow_overlap: go on all the same; it is kept in the student's file.
        skip_bad: leave out what truncated shards have lost.
        seed: of weights and order.
        device: cpu or cuda.
        workers: decoding processes.
    """
    check_device(device)
    require(workers >= 0, "--workers", "0 or more", workers)
    require(bool(out), "--out", "a folder for the student", "nothing")
    pictures, taught = taught_with(data, cache, teacher_features, skip_bad)
    usual = STAGES[stage]
    training = replace(
        usual,
        epochs=usual.epochs if epochs is None else epochs,
        batch_size=usual.batch_size if batch_size is None else batch_size,
        learning_rate=usual.learning_rate if learning_rate is None else learning_rate,
        schedule=schedule or usual.schedule,
        amp=amp,
    )
    chosen = objective_of(objective, temperature, mix_with, alpha)
    chosen = varied(chosen, multi_positive, learn_temperature)
    student, before = _student(taught, backbone, init, image_size, seed)
    run = Run(student.config, chosen, training)
    found = None if test is None else check_overlap(pictures, pictures_of(test), allow_overlap)
    captions = chosen.needs_texts and taught.captions is not None
    stages = stages_of(pictures, taught.texts, before, captions)
    lessons = _lessons(pictures, taught, student.config.preprocessing)
    lessons.check(chosen)
    began = "" if init is None else _digest_of(init)
    identity = f"{recipe_hash(run)} {taught.digest} {lessons.data} {began} {seed}"
    settings = {**flat(resolved_config(run)), "features": taught.digest, "data": lessons.data,
                "start": began, "seed": seed}  # fmt: skip
    rank, _ = processes(device)
    folder = Path(out)

    def train() -> None:
        made = fit(
            student, lessons, chosen, training, seed, device, folder / "checkpoints", identity,
            f"{student.config.backbone}, {objective}", workers,
        )  # fmt: skip
        if rank == 0:
            _save(
                folder, made.student, taught, run, made.losses,
                temperature=made.temperature, overlap=found, stages=stages,
            )  # fmt: skip

    there = from_first((folder / CONFIG).is_file, device)
    if rank == 0:
        with occupied(folder, identity, settings, lambda: _begun(folder)):
            if there:
                say(f"{folder} holds this student already")
            else:
                train()
        card = taught.cache.manifest["teacher"]["parameters"] if taught.cache else None
        said = ratios(student, card["whole"], card["image_tower"]) if card else ""
        print(f"student: {folder}" + (f"; {said}" if said else ""))
    elif not there:
        train()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _student(
    taught: Taught, backbone: str | None, init: str | None, size: int | None, seed: int
) -> tuple[Student, dict[str, Any] | None]:
    """The student to be trained, and `student.json` of the one that it comes from, if any."""
    width = int(taught.features.shape[2])
    if init is not None and Path(init).is_dir():
        student, about = load_student(init)
        if student.config.width != width:
            widths = f"{student.config.width} and {width}"
            raise UserError(f"{init}: student and teacher have spaces of other widths: {widths}")
        for flag, given, own in (
            ("--backbone", backbone, student.config.backbone),
            ("--image-size", size, student.config.preprocessing.size),
        ):
            if given not in (None, own):
                raise UserError(f"{flag} {given}: the student of {init} has {own}; leave it out")
        return student, about
    prepared = taught.cache.preprocessing if taught.cache else Preprocessing()
    if size not in (None, prepared.size):
        prepared = replace(prepared, size=size, shorter=None)
    with isolated_rng(derive_seed(seed, "weights")):
        student = Student(StudentConfig(backbone or BACKBONE, width, prepared))
    return (student if init is None else warm_start(student, init)), None


def _lessons(pictures: Pictures, taught: Taught, prepared: Preprocessing) -> Lessons:
    pixels = taught.pixels
    if pixels is not None and taught.cache is not None:
        kept = taught.cache.preprocessing
        same = [
            getattr(kept, n) == getattr(prepared, n)
            for n in ("size", "interpolation", "resize", "shorter")
        ]
        if not all(same):
            say("decoded views are of another size than the student's images: decoding anew")
            pixels = None
    vectors = None if taught.texts is None else taught.texts.vectors
    return Lessons(
        pictures, taught.views, prepared, taught.features, pixels, vectors, taught.captions
    )


def _digest_of(init: str) -> str:
    path = Path(init)
    return sha256_file(path / "student.safetensors" if path.is_dir() else path)


def _save(
    folder: Path,
    student: Student,
    taught: Taught,
    run: Run,
    losses: Sequence[float],
    **more: Any,
) -> None:
    teacher = taught.cache.manifest["teacher"] if taught.cache else {}
    if taught.texts is not None:
        save_class_texts(folder / CLASSES, taught.texts)
    save_student(
        student.cpu(), folder,
        teacher=teacher.get("name", "a file of features"),
        teacher_sha256=teacher.get("sha256"),
        teacher_parameters=teacher.get("parameters"),
        features=taught.digest,
        run=resolved_config(run),
        losses=[round(value, 6) for value in losses],
        versions={"torch": torch.__version__},
        **more,
    )  # fmt: skip


def _begun(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or any(folder.glob("checkpoints/*.pt"))
