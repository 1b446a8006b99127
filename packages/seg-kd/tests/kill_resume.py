"""Kill trainings with SIGKILL, resume them, and compare with the uninterrupted run byte for byte.

    python packages/seg-kd/tests/kill_resume.py --runs 20 --workers 0

Each trial trains in a child process that is killed after a uniformly drawn iteration, every third
one half-way through writing a checkpoint; a second child resumes. Weights, loss curve and
scores of the two must be equal; only the seconds may differ. Prints one line a trial.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import mmap
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import torch

from repro_shared.runtime.checkpoint import CheckpointStore
from repro_shared.runtime.weights import save_weights
from seg_kd import train as training
from seg_kd.method.objectives import FEATURE_LOGIT
from seg_kd.study.arms import students, teacher
from seg_kd.study.recipes import SCENES, equal_time_digits
from seg_kd.study.stages import untrained
from seg_kd.use import adapter, loop
from seg_kd.use.data import Scenes
from seg_kd.use.evaluation import evaluate
from seg_kd.use.loop import ExactLoop


def make_job(directory: Path, iterations: int, interval: int, workers: int) -> Any:
    """A feature + logit distillation at the smoke recipe's size."""
    study = equal_time_digits("smoke")
    student = students(study, "time")[0].config
    view = replace(student.view, crop=(32, 32))
    return training.Job(
        student_config=student.model.config(student.classes, view.crop),
        view=view,
        source=Scenes(SCENES, 16, 8).open(None).train,
        optimiser=student.optimiser,
        iterations=iterations,
        seed=7,
        objective=FEATURE_LOGIT,
        teacher=untrained(teacher(study).config, 0),
        directory=directory,
        checkpoint_interval=interval,
        workers=workers,
        identity="kill-resume",
    )


def run_to_end(job: Any, done: mmap.mmap | None = None) -> None:
    """Train or resume; leave weights, curve and scores in the job's folder.

    `done` is memory shared with the parent that tells it how many iterations were finished.
    """
    step = ExactLoop.step

    def counted(loop: ExactLoop) -> None:
        step(loop)
        if done is not None:
            done[:4] = loop.iter.to_bytes(4, "little")

    ExactLoop.step = counted  # type: ignore[method-assign]
    outcome = training.train(job)
    save_weights(outcome.student, job.directory / "student.safetensors")
    data = Scenes(SCENES, 16, 8).open(None)
    scores = evaluate(outcome.student, data.test, len(data.classes))
    result = {"curve": outcome.curve, "miou": scores.miou, "samples": outcome.samples}
    (job.directory / "result.json").write_text(json.dumps(result))


def killed_in_save(job: Any, nth: int, done: mmap.mmap) -> None:
    """Train, and die half-way through writing the nth checkpoint."""
    saves = 0

    class Dying(CheckpointStore):
        def save(self, step: int, state: dict[str, Any]) -> None:
            nonlocal saves
            saves += 1
            super().save(step, state)

    def write(handle: BinaryIO, piece: bytes) -> None:
        if saves == nth and len(piece) > 1000:
            handle.write(piece[: len(piece) // 2])
            handle.flush()
            (job.directory / "killed-in-save").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        handle.write(piece)

    loop.CheckpointStore = functools.partial(Dying, write=write)  # type: ignore[misc]
    run_to_end(job, done)


def child(task: Callable[[], None]) -> int:
    """Run a task in a forked process; returns its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setpgid(0, 0)  # so that loading processes can be killed with it
            task()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def finish(pid: int) -> None:
    """Wait for a child that must end well."""
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise SystemExit(f"a child ended with status {status}")


def kill_at(pid: int, done: mmap.mmap, step: int) -> None:
    """SIGKILL the child and its loaders once it has finished `step` iterations."""
    while int.from_bytes(done[:4], "little") < step:
        if os.waitpid(pid, os.WNOHANG)[0]:
            raise SystemExit("a child ended before it was to be killed")
        time.sleep(0.001)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def digest(directory: Path) -> str:
    """Of everything that must not depend on the kill."""
    files = [directory / "student.safetensors", directory / "result.json"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def trials(runs: int, workers: int, iterations: int, interval: int, root: Path) -> tuple[int, int]:
    """Number of identical runs, and how many were killed inside a save."""
    torch.set_num_threads(1)  # forked children must not inherit a thread pool
    adapter.framework()
    whole = make_job(root / "whole", iterations, interval, workers)
    whole.directory.mkdir()
    finish(child(lambda: run_to_end(whole)))
    expected = digest(whole.directory)
    rng, same, inside = random.Random(0), 0, 0
    lost: list[int] = []
    for trial in range(runs):
        job = make_job(root / f"trial-{trial}", iterations, interval, workers)
        job.directory.mkdir()
        done = mmap.mmap(-1, 4)
        if trial % 3 == 0:
            nth = 1 + trial // 3 % (iterations // interval)
            os.waitpid(child(functools.partial(killed_in_save, job, nth, done)), 0)
        else:
            pid = child(functools.partial(run_to_end, job, done))
            kill_at(pid, done, rng.randrange(1, iterations))
        latest = CheckpointStore(job.directory / "checkpoints").load_latest()
        resumed = latest[0] if latest else 0
        lost.append(int.from_bytes(done[:4], "little") - resumed)
        finish(child(functools.partial(run_to_end, job)))
        equal = digest(job.directory) == expected
        same += equal
        inside += (job.directory / "killed-in-save").exists()
        where = ", killed inside a save" if (job.directory / "killed-in-save").exists() else ""
        print(
            f"trial {trial}: resumed from {resumed} of {iterations}, {lost[-1]} steps lost{where}: "
            f"{'identical' if equal else 'DIFFERENT'}",
            flush=True,
        )
    print(f"steps lost: {min(lost)} to {max(lost)}, more than none in {sum(n > 0 for n in lost)}")
    return same, inside


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--interval", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        same, inside = trials(
            options.runs, options.workers, options.iterations, options.interval, Path(folder)
        )
    print(f"{same}/{options.runs} identical, {inside} killed inside a save")
    return 0 if same == options.runs else 1


if __name__ == "__main__":
    sys.exit(main())
