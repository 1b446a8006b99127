"""What the user's own trainings take: images in a folder, and a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from repro_shared.runtime.errors import UserError
from seg_kd.study.recipes.base import Data, Optimiser


@dataclass(frozen=True)
class Images:
    """The user's data and how training views are drawn.

    Attributes:
        data: folder with images/<split> and labels/<split>.
        num_classes: number of classes; label values 0 .. num_classes - 1.
        ignore: label values that count as unlabelled besides 255.
        train_split: name of the training split.
        val_split: name of the evaluation split.
        crop: training crop, height and width in pixels.
        flip: probability of a horizontal flip.
        workers: data-loading processes.
    """

    data: str = ""
    num_classes: int = 0
    ignore: tuple[int, ...] = ()
    train_split: str = "train"
    val_split: str = "val"
    crop: tuple[int, int] = (512, 512)
    flip: float = 0.5
    workers: int = 0

    def spec(self) -> Data:
        """The same as a recipe's data.

        Raises:
            UserError: no folder, or a value out of its range.
        """
        if not self.data:
            raise UserError("no data: give the folder with --data DIR")
        if self.num_classes < 2 or self.num_classes > 254:
            raise UserError(f"--num-classes must be 2 to 254, got {self.num_classes}")
        if not 0 <= self.flip <= 1:
            raise UserError(f"--flip must be 0 to 1, got {self.flip:g}")
        if self.workers < 0:
            raise UserError(f"--workers must be 0 or more, got {self.workers}")
        if min(self.crop) < 16:
            raise UserError(f"--crop must be at least 16 x 16 pixels, got {self.crop}")
        return Data(
            name=Path(self.data).name or "data",
            classes=tuple(f"class {index}" for index in range(self.num_classes)),
            ignore_values=(*self.ignore, 255),
            train_split=self.train_split,
            test_split=self.val_split,
            crop=self.crop,
            flip=self.flip,
        )


@dataclass(frozen=True)
class Schedule:
    """Length and optimiser.

    Attributes:
        iterations: of the complete polynomial schedule; or give budget_seconds.
        budget_seconds: wall-clock budget; turned into iterations by timing this machine first.
        batch_size: images per iteration.
        learning_rate: at the first iteration.
        weight_decay: of SGD.
        amp: mixed precision (CUDA).
        seed: initialisation, order, augmentation, dropout.
    """

    iterations: int | None = None
    budget_seconds: float | None = None
    batch_size: int = 8
    learning_rate: float = 0.01
    weight_decay: float = 5e-4
    amp: bool = False
    seed: int = 0

    def optimiser(self) -> Optimiser:
        """The same as a recipe's optimiser."""
        if self.batch_size < 2:
            raise UserError("--batch-size must be at least 2 (batch norm)")
        if self.iterations is not None and self.iterations < 1:
            raise UserError(f"--iterations must be at least 1, got {self.iterations}")
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(f"--learning-rate must be above 0, got {self.learning_rate:g}")
        if not 0 <= self.weight_decay < float("inf"):
            raise UserError(f"--weight-decay must be 0 or more, got {self.weight_decay:g}")
        return Optimiser(
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            amp=self.amp,
        )
