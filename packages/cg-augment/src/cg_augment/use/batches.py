"""Endless batches of pictures, and of generated images beside them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from cg_augment.use.distillation import Distillation
from cg_augment.use.lessons import Batch, Lessons, collate
from cg_augment.use.pictures import Pictures, Union
from repro_shared.datasets.views import readable
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.rng import derive_seed, endless_loader


def batches(
    pictures: Pictures,
    generated: Pictures | None,
    config: Distillation,
    size: int,
    seed: int,
    done: int,
    workers: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """Endless batches behind `done` steps: of the union, or of both in fixed shares.

    Args:
        pictures: the training set.
        generated: of the same classes.
        config: size of the batches, share of generated images, and how all are seen.
        size: of the views, in pixels.
        seed: of order and views.
        done: steps that were made before.
        workers: decoding processes.
        rank, world: of this process.

    Raises:
        UserError: a batch that has no such share, or does not divide over the processes.
    """
    parts: list[tuple[Pictures, int, str]] = [(pictures, config.batch_size, "real")]
    if generated is not None and config.generated:
        share = round(config.generated * config.batch_size)
        if not 0 < share < config.batch_size:
            raise UserError(
                f"a batch of {config.batch_size} has no share of {config.generated:g}: "
                "give a larger --batch-size"
            )
        parts = [(pictures, config.batch_size - share, "real"), (generated, share, "generated")]
    elif generated is not None:
        parts = [(Union([pictures, generated]), config.batch_size, "real")]
    streams = [
        readable(
            endless_loader(
                Lessons(part, config.view, size, derive_seed(seed, name)),
                derive_seed(seed, name), count, done * count, workers, rank, world,
                collate_fn=collate,
            )
        )
        for part, count, name in parts
    ]  # fmt: skip
    for each in zip(*streams, strict=True):
        images, targets, positions, indices = zip(*each, strict=True)
        yield (
            torch.cat(images), torch.cat(targets),
            np.concatenate(positions), np.concatenate(indices),
        )  # fmt: skip
