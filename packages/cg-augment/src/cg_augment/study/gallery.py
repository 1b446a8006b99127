"""Generated images to look at: the same noise through several ways, with both confidences.

What a figure shows has to be the same on every machine, so the images that were looked at come
along, as bytes; their record lies beside them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cg_augment.method.guided import Guided
from cg_augment.rivals.generating import Generator, Order
from cg_augment.study.committed import FOLDER, Committed, sampler_of
from cg_augment.study.rows import Row
from cg_augment.study.stages import network_of, student_of, teacher_of
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file
from repro_shared.runtime.rng import derive_seed
from repro_shared.runtime.weights import read_weights, save_weights
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.trip import steps_through

FILE = FOLDER / "shown.safetensors"
RECORD = FILE.with_suffix(".json")
SHA256 = ""
"""Of the images that come along; "" where none do."""
TEACHER = "teacher/"  # before a way's name, in metrics


@dataclass(frozen=True)
class Gallery:
    """Which images.

    Attributes:
        ways: rows whose generator makes them.
        generator: the diffusion model.
        count: images of each way, classes in turn.
    """

    ways: tuple[Row, ...]
    generator: Committed
    count: int = 6

    @property
    def equations(self) -> tuple[Callable[..., Any], ...]:
        """The objectives."""
        return tuple({row.way.objective.equation: None for row in self.ways if row.way is not None})


@dataclass(frozen=True)
class Shown:
    """Images of several ways.

    Attributes:
        ways: their names.
        pixels: uint8 (ways, images, h, w, 3).
        teacher, student: confidences in the image's class (ways, images), 0 to 1.
        seed: of teacher, student and noise.
    """

    ways: tuple[str, ...]
    pixels: NDArray[np.uint8]
    teacher: NDArray[np.float32]
    student: NDArray[np.float32]
    seed: int


def made(generator: Generator, order: Order) -> Guided:
    """Images of one way."""
    return generator(order)


@steps_through(made)
def gallery(config: Gallery, ctx: Context) -> Outcome:
    """Make the images with a seed's teacher and biased student; they are left in a file."""
    scene = ctx.data.scene
    teacher, student = teacher_of(ctx), student_of(ctx)
    network = network_of(config.generator, ctx)
    sampler = sampler_of(network, config.generator.steps, ctx.device)
    labels = torch.arange(config.count) % len(scene.classes)
    seeds = tuple(derive_seed(ctx.seed, "shown", number) for number in range(config.count))
    found, metrics = dict[str, list[Tensor]](pixels=[], teacher=[], student=[]), {}
    for row in config.ways:
        assert row.way is not None
        one = made(row.way.generator(sampler), Order(labels, seeds, teacher, student))
        pixels = (one.images * 255).round().byte().permute(0, 2, 3, 1)
        found["pixels"].append(pixels)
        found["teacher"].append(one.after.teacher.float())
        found["student"].append(one.after.student.float())
        metrics[TEACHER + row.name] = 100 * float(one.after.teacher.mean())
        metrics[f"student/{row.name}"] = 100 * float(one.after.student.mean())
    digest = save_weights({name: torch.stack(each) for name, each in found.items()},
                          ctx.folder / FILE.name)  # fmt: skip
    return Outcome(metrics, notes=f"images sha256 {digest}")


def shown(file: Path = FILE, record: Path = RECORD) -> Shown | None:
    """The images that come along; None while none do.

    Raises:
        UserError: a file that is missing or another one.
    """
    if not SHA256:
        return None
    if not file.is_file() or sha256_file(file) != SHA256:
        raise UserError(f"{file} is missing or damaged: restore it")
    about, found = json.loads(record.read_text()), read_weights(file)
    metrics = about["record"]["metrics"]  # of each way, in the order of the pixels
    ways = tuple(name.removeprefix(TEACHER) for name in metrics if name.startswith(TEACHER))
    return Shown(
        ways, found["pixels"].numpy(), found["teacher"].numpy(), found["student"].numpy(),
        int(about["record"]["seed"]),
    )  # fmt: skip
