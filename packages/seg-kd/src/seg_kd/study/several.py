"""A training under torchrun: the first process keeps the records, and all of them train."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from repro_shared.evidence.records import RunRecord
from repro_shared.runtime.distributed import from_first, processes
from repro_shared.runtime.errors import DivergedError, UserError
from repro_shared.study.alone import run_alone
from repro_shared.study.paper import Context, Outcome
from repro_shared.study.session import Session
from seg_kd.use.data import Samples


def together(session: Session, seed: int) -> tuple[RunRecord, Path] | None:
    """`run_alone` of one process; of several by the first, and the others train with it.

    Returns:
        The record and its folder; None in every process but the first.

    Raises:
        UserError: as `run_alone`, in the first process; a length that has to be measured.
    """
    rank, world = processes(session.device)
    if world == 1:
        return run_alone(session, seed)
    if session.study.prepare is not None:
        raise UserError("--budget-seconds times steps in one process: under torchrun give a length")
    *starts, arm = session.study.arms
    if rank:
        ctx: Context | None = from_first(lambda: None, session.device)
        if ctx is not None:
            data = session.open(session.study.source(arm))
            own = replace(ctx, data=replace(data, test=Samples([], "", [])))  # the first one scores
            with suppress(UserError, DivergedError):  # which the first one reports
                arm.run(arm.config, own)
                dist.barrier()
        return None
    begun: list[Context] = []

    def told(config: Any, ctx: Context) -> Outcome:
        begun.append(ctx)
        from_first(lambda: replace(ctx, data=None), session.device)
        made = arm.run(config, ctx)
        dist.barrier()
        return made

    session.study = replace(session.study, arms=(*starts, replace(arm, run=told)))
    try:
        return run_alone(session, seed)
    finally:
        if not begun:  # finished before, or refused: the others need not wait
            from_first(lambda: None, session.device)
