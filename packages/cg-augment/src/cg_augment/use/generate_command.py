"""`cg-augment generate`: class folders of images that a teacher is sure of and a student is not."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

from cg_augment import METHOD_VERSION
from cg_augment.method.objectives import Form, Objective, Parts
from cg_augment.use.classifiers import Classifier
from cg_augment.use.generating.finishing import finish
from cg_augment.use.generating.guidance import Name, engine_of, objective_of
from cg_augment.use.generating.items import items_of, places_in, read_names, units_of
from cg_augment.use.generating.judges import Judges, judges_of
from cg_augment.use.generating.likeness import check_readable, images_below
from cg_augment.use.generating.loading import Compute, Loaded, Scheduler, load
from cg_augment.use.generating.making import Maker
from cg_augment.use.generating.planning import print_plan
from cg_augment.use.generating.sifting import Rules
from cg_augment.use.generating.store import LOGS, read_records
from cg_augment.use.generating.tasks import Tasks
from cg_augment.use.pipelines import Sampling
from cg_augment.use.prompts import check_prompts
from cg_augment.use.zero_shot import TEMPLATE
from repro_shared.evidence.hashing import resolved_config
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.distributed import part_of
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import ensure_output_dir, sha256_bytes
from repro_shared.runtime.progress import say
from repro_shared.study.alone import flat, occupied


def generate(
    pipeline: str,
    *,
    out: str = "",
    student: str | None = None,
    teacher: str | None = None,
    template: tuple[str, ...] = (TEMPLATE,),
    teacher_classes: str | None = None,
    classes: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
    diffusion_classes: str | None = None,
    each: int = 100,
    prompt: tuple[str, ...] = (TEMPLATE,),
    engine: Name = "stepwise",
    scale: float | None = None,
    share: float | None = None,
    rounds: int | None = None,
    learning_rate: float | None = None,
    candidates: int | None = None,
    jacobian: bool | None = None,
    views: int | None = None,
    form: Form = "pow",
    gamma: float = 2.0,
    parts: Parts | None = None,
    steps: int = 20,
    guidance_scale: float = 3.0,
    negative_prompt: str = "",
    size: int = 0,
    eta: float = 0.0,
    scheduler: Scheduler = "own",
    preview: str | None = None,
    start: str | None = None,
    strength: float = 0.5,
    least_teacher: float = 0.0,
    alike: float = 4.0,
    train_folder: str | None = None,
    batch: int = 8,
    seed: int = 0,
    shard: str = "",
    plan: bool = False,
    sustained_tflops: float | None = None,
    compute: Compute | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
) -> int | None:
    """Make guided images of each class; goes on where it was interrupted, and grows with --each.

    Args:
        pipeline: folder of a pipeline of diffusers (Stable Diffusion 1.x, XL, XL-Turbo, 3, DDPM,
            DDIM) or of a UNet2DModel with scheduler_config.json, or a name in the hub's cache.
        out: folder of the set: images/ for training, set-apart/ for the rest.
        student: folder that `train` wrote.
        teacher: as of `train`.
        template: prompts with {} for the class, for teachers that know classes by name.
        teacher_classes: file with the names of a timm teacher's outputs, a line each.
        classes: names in order, where there is no student that has them.
        only: classes that images are made of; all by default.
        diffusion_classes: file with the class names of a pixel model, a line each, where they are
            not the student's.
        each: images of each class.
        prompt: for the pipeline, with {} for the class; several take turns.
        engine: stepwise moves predictions, chain optimises the initial noise, select takes the best
            of several.
        scale: of stepwise, weight of the objective; 10 by default, 1 is a log-probability's.
        share: of stepwise, of the steps that are guided, the last ones; all by default.
        rounds: of chain.
        learning_rate: of chain.
        candidates: of select; 1 is no guidance.
        jacobian: whether the gradient goes through the diffusion network.
        views: random views in front of the classifiers, 4 by default with stepwise; 0 for the image
            itself.
        form: of the objective; pow is the paper's.
        gamma: exponent of pow.
        parts: both, teacher or student; what is given by default.
        steps: of the sampler.
        guidance_scale: of guidance without a classifier; 1 or less for none (XL-Turbo: 0).
        negative_prompt: of its pass without.
        size: of the square images in pixels; 0 for the model's own.
        eta: of DDIM.
        scheduler: the pipeline's own, or another one with its settings.
        preview: folder of an AutoencoderTiny, for gradients alone.
        start: class folders of images to begin from, noised.
        strength: share of the steps that those are denoised with.
        least_teacher: confidence in the class below which an image is set apart.
        alike: grey levels (root mean square at 32 x 32 pixels) up to which two images are the same.
        train_folder: images that must not be copied, such as the training set.
        batch: images at a time; halved where memory is short.
        seed: of the set; an image depends on it, its class and its number alone.
        shard: i/n makes the i-th of n parts, from 0; under torchrun every process makes its own.
        plan: print counts and hours, and stop.
        sustained_tflops: what the device really does, for hours by arithmetic; else two steps are
            measured.
        compute: precision of networks; bfloat16 on a GPU and float32 on the CPU unless given.
        device: cpu or cuda.
    """
    for flag, value in (("--each", each), ("--batch", batch), ("--steps", steps)):
        require(value >= 1, flag, "at least 1", value)
    require(size >= 0, "--size", "0 or more", size)
    require(0 <= least_teacher < 1, "--least-teacher", "0 or more and below 1", least_teacher)
    require(0 <= alike < 255, "--alike", "0 or more, in grey levels", alike)
    fine = sustained_tflops is None or sustained_tflops > 0
    require(fine, "--sustained-tflops", "above 0", sustained_tflops)
    require(bool(out), "--out", "a folder for the images", "nothing")
    if least_teacher and teacher is None:
        raise UserError("--least-teacher needs --teacher")
    check_device(device)
    rank, world = part_of(shard)
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    compute = compute or ("bfloat16" if device == "cuda" else "float32")
    guide = engine_of(
        engine, scale=scale, share=share, rounds=rounds, learning_rate=learning_rate,
        candidates=candidates, jacobian=jacobian, views=views,
    )  # fmt: skip
    objective = objective_of(form, gamma, parts, teacher is not None, student is not None)
    judges = judges_of(student, teacher, classes, template, teacher_classes, device)
    loaded = load(pipeline, scheduler, compute, preview, device)
    items = items_of(judges.classes, only, each, prompt if loaded.textual else ())
    names = read_names(diffusion_classes, "--diffusion-classes") or judges.classes
    sides = (size or loaded.side, size or loaded.side)
    sampling = Sampling(steps, eta, guidance_scale, negative_prompt, sides, strength)
    tasks = Tasks(
        loaded, sampling, judges.teacher, judges.student, objective, seed, judges.classes,
        places_in(names, judges.classes, loaded.name), start,
    )  # fmt: skip
    tasks.check(len(names))
    if loaded.textual:
        check_prompts(loaded.source, [*{item.prompt for item in items}, negative_prompt])
    tasks.of(items[:1])  # what does not fit shows here, before the first image
    folder, rules = Path(out), Rules(least_teacher, alike, train_folder)
    mine = units_of(items, batch)[rank::world]
    if plan:
        print_plan(folder, items, mine, world, tasks, guide, sustained_tflops)
        return None
    training = images_below(train_folder) if train_folder else []
    if rank == 0:
        check_readable(training)
        _compare_sizes(loaded, size, judges.student)
    about = _about(loaded, sampling, guide, objective, judges, compute, seed, prompt, tasks)
    asked = sha256_bytes(json.dumps(about, sort_keys=True).encode())
    with occupied(folder, asked, flat(about), lambda: bool(read_records(folder))):
        ensure_output_dir(folder / LOGS)
        known = read_records(folder)
        maker = Maker(folder, lambda some: guide(tasks.of(some)), seed, batch)
        made = maker.run(mine, known, folder / LOGS / f"{rank}-of-{world}.jsonl")
        print(f"{made} images made by this process ({rank + 1} of {world})")
        return finish(folder, items, rules, about)


def _compare_sizes(loaded: Loaded, size: int, student: Classifier | None) -> None:
    side = size or loaded.side
    if student is not None and side < student.size:
        say(f"the images have {side} x {side} pixels, the student takes {student.size} x "
            f"{student.size} and will see them enlarged")  # fmt: skip


def _about(
    loaded: Loaded,
    sampling: Sampling,
    engine: Any,
    objective: Objective,
    judges: Judges,
    compute: str,
    seed: int,
    prompts: Sequence[str],
    tasks: Tasks,
) -> dict[str, Any]:
    """All that decides an image, but for its class and number."""
    told: dict[str, Any] = {
        who: None if each is None else {"name": each.name, "sha256": each.sha256}
        for who, each in (("teacher", judges.teacher), ("student", judges.student))
    }
    plain = asdict(sampling)
    plain["dtype"] = str(sampling.dtype).removeprefix("torch.")
    if not tasks.fingerprint:
        del plain["strength"]  # read by nobody
    return {
        "diffusion": {
            "name": loaded.name, "kind": loaded.kind, "files": loaded.digest,
            "scheduler": loaded.scheduler, "compute": compute,
        },
        "engine": {"name": type(engine).__name__.lower(), **resolved_config(engine)},
        "objective": resolved_config(objective),
        "sampling": plain,
        **told,
        "classes": list(judges.classes),
        "prompts": list(prompts) if loaded.textual else [],
        "start": tasks.fingerprint,
        "seed": seed,
        "method_version": METHOD_VERSION,
    }  # fmt: skip
