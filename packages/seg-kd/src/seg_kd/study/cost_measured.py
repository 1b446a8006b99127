"""`seg-kd cost --measure`: time and memory of whole training steps, with random weights and images.

Teacher forward, student step, losses and optimiser, in turns: nothing is learned, and no data are
needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from mmengine.optim import build_optim_wrapper

from repro_shared.evidence.cells import slug
from repro_shared.evidence.provenance import provenance
from repro_shared.evidence.tables import Cell, Column, Table
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import isolated_rng
from repro_shared.timing.bench import Bench, bench_of, conditions
from repro_shared.timing.calibrate import calibrate
from seg_kd.method.objectives import LOGIT, Objective
from seg_kd.train import Distiller, Optimiser
from seg_kd.use import adapter
from seg_kd.use.models import BUILT_IN, Model
from seg_kd.use.optimiser import CONSTRUCTOR

NAME = "step cost"


@dataclass(frozen=True)
class Shape:
    """What is timed.

    Attributes:
        crop: height and width of the images.
        images: in a batch, at least 2.
        classes: that both networks score.
        amp: mixed precision (CUDA only).
        student, teacher: networks.
    """

    crop: tuple[int, int] = (512, 1024)
    images: int = 8
    classes: int = 19
    amp: bool = False
    student: Model = field(default=BUILT_IN["pspnet_r18"])
    teacher: Model = field(default=BUILT_IN["pspnet_r101"])

    def __post_init__(self) -> None:
        require(self.images >= 2, "--images", "at least 2 (batch norm)", self.images)
        require(min(self.crop) >= 32, "--crop", "at least 32 x 32 pixels", self.crop)
        require(2 <= self.classes <= 254, "--classes", "2 to 254", self.classes)


def measure(shape: Shape, objectives: Sequence[Objective], device: str, rounds: int) -> Bench:
    """Time a step of each objective in turns; logit distillation is timed in any case.

    On CUDA `settings["peak_mb"]` has the largest memory of a step of each.

    Raises:
        UserError: no such device, or mixed precision without one.
    """
    check_device(device)
    if shape.amp and device == "cpu":
        raise UserError("--amp needs --device cuda")
    adapter.set_device(device)
    adapter.framework()
    chosen = {each.name: each for each in (LOGIT, *objectives)}
    origin = provenance(("seg-kd", "mmengine", "onedl-mmsegmentation"), __file__)
    with isolated_rng(0):
        batch = random_batch(shape)
        config = shape.teacher.config(shape.classes, shape.crop)
        teacher = adapter.build_model(config).eval().to(device)
        steps = {
            name: whole_step(shape, each, teacher, batch, device) for name, each in chosen.items()
        }
        timed = calibrate(steps, warmup=3, rounds=rounds)
        peaks = {name: peak_mb(step) for name, step in steps.items()} if device != "cpu" else {}
    where = f"{timed.machine.get('gpu', device)}{' amp' * shape.amp}" if device != "cpu" else "cpu"
    size = f"{shape.images}x{shape.crop[0]}x{shape.crop[1]}"
    settings = {**asdict(shape), "peak_mb": peaks}
    return bench_of(slug(f"{NAME} {size} {where}"), timed, origin, device=device, **settings)


def random_batch(shape: Shape) -> Any:
    """Images and label maps as a loader gives them."""
    size = (*shape.crop, 3)
    images = torch.randint(256, (shape.images, *size), dtype=torch.uint8).numpy()
    coarse = torch.randint(shape.classes, (shape.images, -(-size[0] // 32), -(-size[1] // 32)))
    labels = coarse.repeat_interleave(32, 1).repeat_interleave(32, 2)[:, : size[0], : size[1]]
    pairs = zip(images, labels.to(torch.uint8).numpy(), strict=True)
    return adapter.training_batch(edges=False)([*pairs])


def whole_step(
    shape: Shape, objective: Objective, teacher: Any, batch: Any, device: str
) -> Callable[[], None]:
    """A training step of one objective, with a student and an optimiser of its own."""
    student = adapter.build_model(shape.student.config(shape.classes, shape.crop))
    model = Distiller(student, teacher if objective.needs_teacher else None, objective)
    model = model.to(device).train()
    config = {**Optimiser(amp=shape.amp).wrapper_config(), "constructor": CONSTRUCTOR}
    wrapper = build_optim_wrapper(model, config)

    def step() -> None:
        model.train_step(batch, wrapper)

    return step


def peak_mb(step: Callable[[], None]) -> int:
    """Largest memory of a step on the CUDA device, without what was there before, in MB."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / 1e6)


def table(made: Bench) -> Table:
    """Time of a step of each objective, relative to logit distillation, and its memory."""
    found, peaks, rows = made.settings, made.settings["peak_mb"], list[tuple[Cell, ...]]()
    for name, seconds in made.seconds.items():
        middle = sorted(seconds)[len(seconds) // 2]
        ratio = made.ratio(name, LOGIT.name)
        rows.append((name, 1000 * middle, ratio, peaks.get(name)))
    precision = "mixed precision" if found["amp"] else "float32"
    return Table(
        f"bench-{made.name}",
        "Time of a whole training step by objective",
        (
            Column("objective"),
            Column("median", "ms", 1),
            Column("step", "x logit", 3),
            Column("memory of a step", "MB", 0),
        ),
        tuple(rows),
        (
            conditions(made),
            f"{found['images']} images of {found['crop'][0]} x {found['crop'][1]}, "
            f"{found['classes']} classes, {precision}, random weights and images.",
        ),
    )
