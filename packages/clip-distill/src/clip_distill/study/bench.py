"""`clip-distill bench`: cached against online distillation, and what caching and scoring cost.

What is compared takes turns in one process. Weights are random and pictures are drawn: neither
changes how long a step takes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from clip_distill.study.bench_arms import (
    CACHED,
    LABELS,
    ONLINE,
    OPEN_CLIP,
    labels_step,
    lessons_of,
    online,
    open_clip_step,
    our_step,
    pictures,
    teacher_of,
)
from clip_distill.study.bench_tables import BUILD, CLASSIFIED, ENCODED, TEACHER, table
from clip_distill.use.build_cache import Plan, build_cache
from clip_distill.use.cache import Rows
from clip_distill.use.students import Student, StudentConfig
from clip_distill.use.teachers import encode_pixels
from clip_distill.use.views import Views
from clip_distill.use.zero_shot import similarities
from repro_shared.evidence.cells import slug
from repro_shared.evidence.provenance import provenance
from repro_shared.evidence.tables import write_tables
from repro_shared.runtime.checks import require
from repro_shared.runtime.progress import say
from repro_shared.runtime.rng import isolated_rng
from repro_shared.timing.bench import Bench, add_bench, bench_of, place_of
from repro_shared.timing.calibrate import Calibration, calibrate
from repro_shared.timing.counts import count_operations

Name = Literal["distillation", "scoring", "caching"]
ALL: tuple[Name, ...] = ("distillation", "scoring", "caching")
PACKAGES = ("clip-distill", "torch", "timm", "open_clip_torch", "numpy", "pillow")
RATE = 1e-4


@dataclass(frozen=True)
class Sizes:
    """How large the benches are.

    Attributes:
        backbone: of the student, by timm's name.
        image: pixels of a side, for student and teacher.
        pictures: that the steps draw from, each in two views.
        batch: images of a training step.
        classes: of training with labels alone, and of scoring.
        scored: images that are classified.
        encoded: images of a forward pass there and of the cache.
    """

    backbone: str = "tiny_vit_11m_224"
    image: int = 224
    pictures: int = 32
    batch: int = 8
    classes: int = 1000
    scored: int = 10_000
    encoded: int = 32


USUAL = Sizes()


def command(
    *,
    only: tuple[Name, ...] = ALL,
    teachers: tuple[str, ...] = ("ViT-B-32", "ViT-L-14"),
    rounds: int = 15,
    threads: int = 2,
    out: str | None = None,
    device: Literal["cpu"] = "cpu",
) -> None:
    """Cached against online distillation, and what caching and scoring cost, interleaved.

    Args:
        only: some of distillation, scoring, caching.
        teachers: models of open_clip, with random weights; the first one is that of caching.
        rounds: timed rounds.
        threads: of everything.
        out: keep the times of all rounds below this folder, and the tables.
        device: cpu.
    """
    require(rounds >= 1, "--rounds", "at least 1", rounds)
    require(threads >= 1, "--threads", "at least 1", threads)
    require(len(teachers) >= 1, "--teachers", "one or more", teachers)
    run(USUAL, only, teachers, rounds, threads, out)


def run(
    sizes: Sizes,
    only: Sequence[Name],
    teachers: Sequence[str],
    rounds: int,
    threads: int,
    out: str | None = None,
) -> list[Bench]:
    """`command`, of other sizes if wanted."""
    todo: list[tuple[str, Callable[[Path], Bench]]] = []
    if "distillation" in only:
        for name in teachers:
            here = f"distillation {name}"
            todo.append((here, lambda f, n=name: distillation(sizes, n, rounds, f)))  # type: ignore[misc]
    if "scoring" in only:
        todo.append(("scoring", lambda _: scoring(sizes, rounds)))
    if "caching" in only:
        todo.append((f"caching {teachers[0]}", lambda f: caching(sizes, teachers[0], rounds, f)))
    if out:
        for name, _ in todo:
            place_of(out, slug(name))
    made, usual = list[Bench](), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for name, measure in todo:
            say(f"bench {name}")
            with tempfile.TemporaryDirectory() as folder, isolated_rng(0):
                made.append(measure(Path(folder)))
            print(table(made[-1]).to_terminal())
            if out:
                add_bench(out, made[-1])
                write_tables(Path(out) / "tables", [table(made[-1])])
    finally:
        torch.set_num_threads(usual)
    return made


def distillation(sizes: Sizes, model: str, rounds: int, folder: Path) -> Bench:
    """A training step of one student: with labels alone, with a cache, with an online teacher, and
    in the loop of `open_clip --distill`, which trains a text tower, too."""
    shown = pictures(sizes.pictures, sizes.image)
    teacher = teacher_of(model)
    plan = Plan(Views(2, "random-crop"), batch=sizes.batch, pixels=True)
    cache = build_cache(folder / "cache", teacher, shown, plan, checked={})
    lessons = lessons_of(shown, cache)
    config = StudentConfig(sizes.backbone, teacher.width, teacher.preprocessing)
    steps = {
        LABELS: labels_step(sizes.backbone, sizes.classes, lessons, sizes.batch, RATE),
        CACHED: our_step(Student(config), lessons, sizes.batch, RATE),
        ONLINE: our_step(Student(config), online(lessons, teacher), sizes.batch, RATE),
        OPEN_CLIP: open_clip_step(sizes.backbone, model, teacher, lessons, sizes.batch, RATE),
    }
    timed = calibrate(steps, warmup=1, rounds=rounds, lead_in=0)
    macs = {name: count_operations(step).macs // sizes.batch for name, step in steps.items()}
    return _bench("distillation", model, timed, macs, backbone=sizes.backbone,
                  image=sizes.image, batch=sizes.batch)  # fmt: skip


def scoring(sizes: Sizes, rounds: int) -> Bench:
    """The student's forward pass of a batch, and naming the nearest class of many images."""
    teacher_width, g = 512, np.random.default_rng(0)
    shown = pictures(sizes.encoded, sizes.image)
    prepared = teacher_of("ViT-B-32").preprocessing
    student = Student(StudentConfig(sizes.backbone, teacher_width, prepared)).eval()
    seen = torch.from_numpy(np.stack([prepared.centre(each) for each in shown.pixels]))
    features = g.standard_normal((sizes.scored, teacher_width), np.float32)
    vectors = g.standard_normal((sizes.classes, teacher_width), np.float32)

    @torch.inference_mode()
    def encode() -> None:
        student(prepared.normalise(seen)).numpy()

    def classify() -> None:
        similarities(features, vectors).argmax(1)

    timed = calibrate({ENCODED: encode, CLASSIFIED: classify}, 1, rounds, 0)
    return _bench("scoring", None, timed, backbone=sizes.backbone, image=sizes.image,
                  encoded=sizes.encoded, scored=sizes.scored, classes=sizes.classes,
                  width=teacher_width)  # fmt: skip


def caching(sizes: Sizes, model: str, rounds: int, folder: Path) -> Bench:
    """A cache made from whole pictures, with crops, hashes and writing, and its teacher alone."""
    shown, teacher = pictures(sizes.pictures, sizes.image), teacher_of(model)
    plan = Plan(Views(2, "random-crop"), batch=sizes.encoded)
    rows = Rows(shown, plan.views, teacher.preprocessing)
    views = np.stack([rows[place] for place in range(len(rows))])
    made: list[int] = []

    def build() -> None:
        build_cache(folder / f"cache {len(made)}", teacher, shown, plan, checked={})
        made.append(len(rows))

    def encode() -> None:
        encode_pixels(teacher, views, plan.batch, plan.compute)

    timed = calibrate({TEACHER: encode, BUILD: build}, 1, rounds, 0)
    size = np.load(folder / "cache 0" / "features.npy", mmap_mode="r").nbytes
    return _bench("caching", model, timed, image=sizes.image, views=len(rows), batch=plan.batch,
                  width=teacher.width, bytes_of_a_view=size / len(rows))  # fmt: skip


def _bench(
    kind: Name, model: str | None, timed: Calibration, macs: dict[str, int] | None = None,
    **settings: Any,
) -> Bench:  # fmt: skip
    name = slug(kind if model is None else f"{kind} {model}")
    origin = provenance(PACKAGES, __file__)
    return bench_of(
        name, timed, origin, macs, bench=kind, device="cpu", teacher=model or "none", **settings
    )
