"""A training under torchrun: the first process keeps the records, and all of them train."""

from __future__ import annotations

from collections.abc import Callable
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


def together(
    session: Session,
    seed: int,
    alone: Callable[[Session, int], tuple[RunRecord, Path]] = run_alone,
    share: Callable[[Any], Any] = lambda data: data,
) -> tuple[RunRecord, Path] | None:
    """`run_alone` of one process; of several by the first, and the others train with it.

    Args:
        session, seed: of the run.
        alone: `run_alone`, or what checks more before it.
        share: what of the data the other processes get; the first one scores.

    Returns:
        The record and its folder; None in every process but the first.

    Raises:
        UserError: as `alone`, in the first process; a length that has to be measured.
    """
    rank, world = processes(session.device)
    if world == 1:
        return alone(session, seed)
    if session.study.prepare is not None:
        raise UserError("--budget-seconds times steps in one process: under torchrun give a length")
    *starts, arm = session.study.arms
    if rank:
        ctx: Context | None = from_first(lambda: None, session.device)
        if ctx is not None:
            data = share(session.open(session.study.source(arm)))
            with suppress(UserError, DivergedError):  # which the first one reports
                arm.run(arm.config, replace(ctx, data=data))
                dist.barrier()
        return None
    begun: list[Context] = []

    def told(config: Any, ctx: Context) -> Outcome:
        begun.append(ctx)
        from_first(lambda: replace(ctx, data=None), session.device)
        return arm.run(config, ctx)

    session.study = replace(session.study, arms=(*starts, replace(arm, run=told)))
    try:
        made = alone(session, seed)
    finally:
        if not begun:  # finished before, or refused: the others need not wait
            from_first(lambda: None, session.device)
    if begun:
        dist.barrier()  # torchrun ends all processes when one has ended
    return made
