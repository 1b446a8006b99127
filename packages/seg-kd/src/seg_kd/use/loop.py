"""mmengine's Runner around a loop that checkpoints and resumes exactly.

mmengine's own save and resume keep neither random states nor the position in the data, and its
checkpoints hold pickled objects; the loop below replaces both and nothing else.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn

from repro_shared.datasets.views import readable
from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.runtime.progress import Progress
from repro_shared.runtime.rng import capture_rng, derive_seed, restore_rng, seed_everything
from seg_kd.use.parallel import WRAPPER, average_buffers, group, is_first, of_all, synchronised

_SERIAL = itertools.count()
READ_EVERY = 20  # iterations, at most, between looks at the losses: a look waits for the device


class NotFiniteError(Exception):
    """A loss is not finite, and no step has been made with it; the names of its bad parts."""


@dataclass(frozen=True)
class Loop:
    """How a loop runs.

    Attributes:
        directory: of checkpoints and of what mmengine writes.
        iterations: length of the complete schedule.
        interval: iterations between checkpoints; 0 for none.
        identity: of the job, kept in each checkpoint.
        label: of the progress line.
        paused: prepare and return; the caller then calls `step` (calibration).
    """

    directory: Path
    iterations: int
    interval: int = 0
    identity: str = ""
    label: str = "train"
    paused: bool = False

    @property
    def store(self) -> CheckpointStore | None:
        """Where checkpoints lie; None for none."""
        return CheckpointStore(self.directory / "checkpoints") if self.interval else None

    def saved_state(self) -> dict[str, Any] | None:
        """The last checkpoint with its `iteration`, None for none.

        Raises:
            UserError: it belongs to another job.
        """
        latest = self.store.load_latest() if self.store else None
        if latest is None:
            return None
        if latest[1]["identity"] != self.identity:
            raise UserError(
                f"{self.directory} holds a checkpoint of another recipe or plan: "
                "give another --out, or remove that folder"
            )
        return {**latest[1], "iteration": latest[0]}


@LOOPS.register_module()
class ExactLoop(IterBasedTrainLoop):
    """IterBasedTrainLoop that checkpoints atomically and resumes to the same bytes (CPU).

    Args:
        runner, dataloader, max_iters: as in mmengine; the loader already starts at the position
            that the checkpoint names.
        settings: of the loop.
        state: what the store held when the job began.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Any,
        max_iters: int,
        settings: Loop,
        state: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(runner, dataloader, max_iters)
        self._batches = readable(self.dataloader_iterator)
        self.settings, self.store, self.state = settings, settings.store, state
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []
        self._names: list[str] = []  # of the loss parts
        self._unread: list[Tensor] = []  # the parts of each iteration, on the device
        self._images: list[list[str]] = []  # that they are of
        self._sums: Tensor | None = None  # of those read since the last point of the curve

    @property
    def bare_model(self) -> Any:
        """The model without a wrapper."""
        model: Any = self.runner.model
        return model.module if hasattr(model, "module") else model

    def run(self) -> nn.Module:
        """Train from the checkpoint, if any, to `max_iters`."""
        self.begin()
        if self.settings.paused:
            return self.runner.model
        shown = Progress(self.max_iters, self.settings.label, start=self.iter)
        with shown if is_first() else nullcontext() as progress:
            while self.iter < self.max_iters:
                self.step()
                if self.store and is_first() and self.iter % self.settings.interval == 0:
                    self.store.save(self.iter, self.snapshot())
                if progress is not None:
                    known = {"loss": self.curve[-1]["loss"]} if self.curve else {}
                    progress.update(self.iter, **known)
        average_buffers(self.bare_model)
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
        """One timed iteration: data, teacher, student, loss, backward, optimiser, schedule.

        A device works on behind it; its time is in that of the iterations that read the losses.

        Raises:
            DivergedError: a loss is not finite. On the CPU no step is made with it. On a device it
                is found at the next look, and is in no checkpoint.
        """
        began = time.perf_counter()
        self.run_iter(next(self._batches))
        saved = self.store is not None and self._iter % self.settings.interval == 0
        if self._ends_point or saved or self._iter % READ_EVERY == 0:
            self._read()
        if self._ends_point:
            self._add_point()
        self.seconds += time.perf_counter() - began

    def run_iter(self, data_batch: Any) -> None:
        """mmengine's iteration, keeping the loss parts for the curve."""
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=data_batch)
        images = [str(getattr(each, "img_path", "?")) for each in data_batch["data_samples"]]
        wrapper = self.runner.optim_wrapper
        try:
            outputs = self.runner.model.train_step(data_batch, optim_wrapper=wrapper)
        except NotFiniteError as error:
            raise DivergedError(_diverged(self._iter + 1, [*error.args], images)) from None
        self.runner.call_hook(
            "after_train_iter", batch_idx=self._iter, data_batch=data_batch, outputs=outputs
        )
        self._iter += 1
        self._names = list(outputs)
        self._unread.append(torch.stack([value.detach().float() for value in outputs.values()]))
        self._images.append(images)

    @property
    def _every(self) -> int:
        """Iterations that a point of the curve is the mean of."""
        return max(1, self.max_iters // 50)

    @property
    def _ends_point(self) -> bool:
        return self._iter % self._every == 0 or self._iter == self.max_iters

    def _read(self) -> None:
        """Add the unread losses to the sums; one wait for the device."""
        if not self._unread:
            return
        rows = torch.stack(self._unread).cpu()
        images, self._unread, self._images = self._images, [], []
        finite = rows.isfinite()
        whole = finite[:, self._names.index("loss")]
        if not whole.all():
            first = int(whole.int().argmin())
            bad = [n for n, good in zip(self._names, finite[first], strict=True) if not good]
            iteration = self._iter - len(rows) + first + 1
            raise DivergedError(_diverged(iteration, bad, images[first]))
        for row in rows:  # one by one: the sum must not depend on when it was read
            self._sums = row if self._sums is None else self._sums + row

    def _add_point(self) -> None:
        assert self._sums is not None
        count = self._iter % self._every or self._every
        means = {n: v / count for n, v in zip(self._names, self._sums.tolist(), strict=True)}
        self.curve.append({"iteration": float(self._iter), **means})
        self._sums = None

    def snapshot(self) -> dict[str, Any]:
        """All that the rest of the run depends on, in types `weights_only` can load."""
        self._read()
        runner = self.runner
        return {
            "identity": self.settings.identity,
            "model": self.bare_model.state_dict(),
            "optimiser": runner.optim_wrapper.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
            "random": capture_rng(),
            "seconds": self.seconds,
            "curve": self.curve,
            "sums": {} if self._sums is None else dict(zip(self._names, self._sums, strict=True)),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `snapshot`."""
        runner = self.runner
        self._iter = int(state["iteration"])
        self.bare_model.load_state_dict(state["model"])
        runner.optim_wrapper.load_state_dict(state["optimiser"])
        for scheduler, saved in zip(runner.param_schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        self.seconds, self.curve = state["seconds"], list(state["curve"])
        sums = state["sums"]
        self._names, self._sums = list(sums), torch.stack(list(sums.values())) if sums else None
        if is_first():
            restore_rng(state["random"])
        else:  # the first process's streams were saved: the others begin new ones
            seed_everything(derive_seed(self.settings.identity, group()[0], self._iter))


def _diverged(iteration: int, bad: list[str], images: list[str]) -> str:
    """What to say of the first loss that is not finite, of its parts that are not, of its batch."""
    parts = [name for name in bad if name != "loss"] or ["their sum"]
    advice = "lower the learning rate"
    if all(name.startswith("distill.") for name in parts):
        advice = "the student's own loss is; check the teacher and the weights of the objective"
    images = of_all(images)
    shown = ", ".join(images[:8]) + (f" and {len(images) - 8} more" if len(images) > 8 else "")
    return (
        f"loss is not finite in iteration {iteration} ({', '.join(parts)}): {advice}; "
        f"its images: {shown}"
    )


def run_loop(
    settings: Loop,
    state: dict[str, Any] | None,
    model: nn.Module,
    loader: Any,
    optimiser: dict[str, Any],
    schedulers: list[dict[str, Any]],
    seed: int,
) -> ExactLoop:
    """Run, or with `settings.paused` prepare, a loop; what mmengine wrote is removed.

    Args:
        settings: of the loop.
        state: of its last checkpoint.
        model: mmengine model; of several processes each has one.
        loader: batches from the checkpoint's position on.
        optimiser, schedulers: mmengine configs.
        seed: of dropout.
    """
    serial = next(_SERIAL)  # mmengine keeps every logger and visualizer by name
    rank, world = group()
    if world > 1:  # as mmengine does, with a warning
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(name, "1")
    work = settings.directory / f"mmengine{rank or ''}"
    runner = Runner(
        model=synchronised(model),
        work_dir=str(work),
        train_dataloader=loader,
        train_cfg={
            "type": ExactLoop,
            "max_iters": settings.iterations,
            "settings": settings,
            "state": state,
        },
        optim_wrapper=optimiser,
        param_scheduler=schedulers,
        default_hooks={
            "timer": None,
            "logger": None,
            "checkpoint": None,
            "sampler_seed": None,
            "runtime_info": None,
            "param_scheduler": {"type": "ParamSchedulerHook"},
        },
        launcher="none" if world == 1 else "pytorch",
        cfg={} if world == 1 else {"model_wrapper_cfg": {**WRAPPER}},
        randomness={"seed": seed},
        log_level="ERROR",
        default_scope="mmseg",
        visualizer={"type": "mmengine.Visualizer", "name": f"quiet-{serial}", "vis_backends": []},
        experiment_name=f"run-{serial}",
    )
    runner.train()
    loop: ExactLoop = runner.train_loop
    if not settings.paused:
        shutil.rmtree(work, ignore_errors=True)
    return loop
