"""How long a set takes: from what was made already, from measured steps, or from arithmetic."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from cg_augment.method.cost import Passes
from cg_augment.method.guided import Task
from cg_augment.method.sampler import frozen
from cg_augment.method.stepwise import Stepwise
from repro_shared.timing.counts import count_operations


def macs_of(task: Task) -> tuple[int, int]:
    """Multiply-accumulates of a network evaluation and of a decode with both classifiers.

    Of one image, by shapes alone: nothing is computed. An evaluation with guidance without a
    classifier counts both of its halves.
    """
    sampler, rows = task.sampler, task.rows
    found = list[int]()
    modules = (*sampler.modules, task.score.teacher, task.score.student)
    with frozen(*modules), torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        x = torch.empty((len(rows), *sampler.shape), dtype=sampler.dtype, device=sampler.device)

        def judged() -> None:
            images = sampler.decode(x)
            for each in (task.score.teacher, task.score.student):
                if each is not None:
                    each(images)

        for call in (lambda: sampler.predict(x, 0, rows), judged):
            found.append(count_operations(call).macs // len(rows))
    return found[0], found[1]


def estimated(passes: Passes, macs: tuple[int, int], tflops: float, images: int) -> float:
    """Hours by arithmetic: two operations a MAC; a pass backward costs what one forward does."""
    network, decode = macs
    each = passes.network * network + (passes.decodes + passes.decodes_backward) * decode
    return images * 2 * each / (tflops * 1e12) / 3600


def measured(
    passes: Passes, task: Task, images: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Hours from an unguided and a guided step of a batch, each the second of two.

    What the guided step takes longer is the decode and the passes backward; it is charged for
    every pass backward, which is too much for steps of `chain` that are not scored.
    """
    sampler, rows = task.sampler, task.rows
    middle = len(sampler.schedule) // 2
    x = sampler.begin(task.noise.start(rows, sampler.like), rows)
    modules = (*sampler.modules, task.score.teacher, task.score.student)

    def decode() -> Any:
        return task.final(x, rows)

    def plain() -> Any:
        with torch.no_grad():
            return sampler.predict(x, middle, rows)

    def guided() -> Any:
        return Stepwise(jacobian=passes.backward > 0).gradient(task, x, middle, rows)

    count = max(passes.backward, passes.decodes_backward)
    with frozen(*modules):
        took = [_second(call, clock) for call in ((plain, decode, guided)[: 3 if count else 2])]
    extra = max(took[2] - took[0] - took[1], 0.0) if count else 0.0
    batch = passes.forward * took[0] + passes.decodes * took[1] + count * extra
    return images * batch / len(rows) / 3600


def _second(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    for _ in range(2):
        began = clock()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took = clock() - began
    return took
