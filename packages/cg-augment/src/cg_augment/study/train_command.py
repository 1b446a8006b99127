"""`cg-augment train`: distil a student on the user's own pictures, and on generated ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
import torch.distributed as dist

from cg_augment.study.rounds import Place, Plan, distil_balanced
from cg_augment.study.train_setup import (
    MAP,
    Recipe,
    about,
    length_of,
    map_of,
    names_of,
    recipe_of,
    student_of,
)
from cg_augment.train import check_classes, fit
from cg_augment.use.classifiers import CONFIG, save_classifier
from cg_augment.use.datasets.generated import generated as read_generated
from cg_augment.use.distillation import Distillation
from cg_augment.use.pictures import Pictures, Union, check_files
from cg_augment.use.sources import Kind, grouped_source
from cg_augment.use.teachers import load_teacher
from cg_augment.use.zero_shot import TEMPLATE
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.distributed import from_first, processes
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import ensure_output_dir, sha256_bytes
from repro_shared.runtime.progress import say
from repro_shared.runtime.weights import save_weights
from repro_shared.study.alone import flat, occupied


def train(
    data: str,
    *,
    teacher: str = "",
    out: str = "",
    model: str | None = None,
    init: str | None = None,
    generated: tuple[str, ...] = (),
    share: float = 0.5,
    set: Kind = "folders",
    drop: tuple[str, ...] = (),
    recipe: Recipe = "kd",
    template: tuple[str, ...] = (TEMPLATE,),
    teacher_classes: str | None = None,
    image_size: int | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.05,
    optimiser: Literal["AdamW", "SGD"] = "AdamW",
    temperature: float = 1.0,
    labels: float = 0.0,
    amp: bool = False,
    seed: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
) -> None:
    """Distil a student on class folders, and on generated images; torchrun is understood.

    A biased student first, without --generated; then `cg-augment generate` with it; then this again
    with --init and --generated. Interrupted runs go on.

    Args:
        data: class folders, or a folder with train/ in it, or a data set's own layout (--set).
        teacher: a folder that this wrote, timm:MODEL:FILE, open_clip:MODEL:FILE, open_clip:FOLDER
            or transformers:FOLDER.
        out: folder of the student.
        model: timm's name; resnet18 by default.
        init: a student's folder to train further, or timm's weights of the model.
        generated: folders that `generate` wrote.
        share: of each batch that generated images have; 0 for the plain union.
        set: folders, groups (CLASS/GROUP/ folders), celeba, spuco-birds or elpv.
        drop: groups that are left out of training, to make a shift; no other group label is read.
        recipe: kd, or one of the rows that it is compared with; labels needs no teacher and trains
            on the classes alone, as a teacher of one's own is trained.
        template: prompts with {} for the class, for teachers that know classes by name.
        teacher_classes: file with the names of a timm teacher's outputs, a line each.
        image_size: of the student's images; by default the model's.
        steps: length of training.
        epochs: length in passes over all pictures instead; 10 by default.
        batch_size: pictures a step, of all processes together.
        learning_rate: the highest; it rises in the first 5 % of the steps, and falls to 0.
        weight_decay: of weight matrices and filters.
        optimiser: AdamW, or SGD with momentum 0.9.
        temperature: of both softmaxes.
        labels: weight of the cross-entropy with the class, beside the teacher's.
        amp: bfloat16 autocast.
        seed: of weights, order and views.
        device: cpu or cuda.
        workers: decoding processes.
    """
    check_device(device)
    require(workers >= 0, "--workers", "0 or more", workers)
    require(bool(out), "--out", "a folder for the student", "nothing")
    if bool(teacher) == (recipe == "labels"):
        wanted = "no --teacher" if teacher else "--teacher, or --recipe labels without one"
        raise UserError(f"--recipe {recipe} needs {wanted}; see --help")
    rank, world = processes(device)
    pictures = _pictures(set, data, drop)
    extra = [read_generated(folder, pictures.classes) for folder in generated]
    every = Union([pictures, *extra]) if extra else None
    count = length_of(steps, epochs, len(every or pictures), batch_size)
    config = recipe_of(
        Distillation(
            count, batch_size, optimiser, learning_rate, weight_decay, amp=amp,
            temperature=temperature, labels=labels, generated=share if extra else 0.0,
        ),
        recipe, bool(extra),
    )  # fmt: skip
    student, began = student_of(model, init, pictures.classes, image_size, seed)
    taught = None
    if teacher:
        taught = load_teacher(teacher, pictures.classes, template, names_of(teacher_classes))
    check_classes(student, taught, pictures)
    begun_map, map_digest = map_of(init, config, taught)
    if batch_size % world:
        raise UserError(f"a batch of {batch_size} does not divide over {world} processes")
    said = about(config, recipe, pictures, extra, taught, student, began,
                 map_digest, drop, seed)  # fmt: skip
    identity = sha256_bytes(json.dumps(said, sort_keys=True).encode())
    folder = Path(out)

    def make() -> None:
        if rank == 0:
            check_files([pictures, *extra], max(1, workers))
        place = Place(
            device, folder / "checkpoints", identity, f"{student.name}, {recipe}", workers
        )
        if recipe == "tab" and taught is not None:
            helper, _ = student_of(model, init, pictures.classes, image_size, seed)
            plan = Plan(config, config, rounds=0)
            phase = distil_balanced(student, helper, taught, pictures, plan, seed, place).phases[-1]
        else:
            joined = Union(extra) if extra else None
            phase = fit(
                student, taught, pictures, config, seed, joined, **place.phase("first"),
                begun=begun_map,
            )  # fmt: skip
        if rank == 0:
            losses = [round(value, 6) for value in phase.losses]
            if phase.map is not None:
                save_weights(phase.map, ensure_output_dir(folder) / MAP)
            save_classifier(
                student.cpu(), folder, **said, losses=losses, seconds=round(phase.seconds, 3),
                images=phase.images, versions={"torch": torch.__version__},
            )  # fmt: skip

    there = from_first((folder / CONFIG).is_file, device)
    if rank == 0:
        with occupied(folder, identity, flat(said), lambda: _begun(folder)):
            if there:
                say(f"{folder} holds this student already")
            else:
                make()
        print(f"student: {folder}, {student.name}, {len(pictures.classes)} classes, {count} steps")
    elif not there:
        make()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _pictures(kind: Kind, data: str, drop: tuple[str, ...]) -> Pictures:
    """The training set; from here on nobody knows of groups."""
    grouped = grouped_source(kind, data, "train")
    if drop and kind == "folders":
        raise UserError("--drop needs groups: give --set groups, or a data set that has them")
    return (grouped.without(drop) if drop else grouped).pictures


def _begun(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or any(folder.glob("checkpoints/*/*.pt"))
