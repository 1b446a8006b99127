"""Several processes under torchrun: who is who, and what the first one finds."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist

from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError

T = TypeVar("T")


def processes(device: str = "cpu") -> tuple[int, int]:
    """Rank and number of processes; joins torchrun's group where there is one."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not dist.is_initialized():
        # The first process reads the whole data set for its fingerprint; the others wait for it.
        backend, patience = "nccl" if device == "cuda" else "gloo", timedelta(hours=4)
        dist.init_process_group(backend, timeout=patience)
        if device == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return (dist.get_rank(), world) if world > 1 else (0, 1)


def from_first(find: Callable[[], T], device: str) -> T:
    """What the first process finds, told to all: a data set is read once, not once a process."""
    rank, world = processes(device)
    box = [find() if rank == 0 else None]
    if world > 1:
        dist.broadcast_object_list(box)
    return cast(T, box[0])


def part_of(shard: str) -> tuple[int, int]:
    """Which of how many parts this process makes: of `--shard i/n`, else of torchrun's variables.

    For work whose processes need nothing of each other: none waits, and no group is joined.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if not shard:
        return (int(os.environ["RANK"]), world) if world > 1 else (0, 1)
    if world > 1:
        raise UserError("--shard and torchrun both part the work: take one")
    first, slash, last = shard.partition("/")
    fits = bool(slash) and first.isdecimal() and last.isdecimal() and int(first) < int(last)
    require(fits, "--shard", "i/n with i from 0 to n - 1", shard)
    return int(first), int(last)
