"""`cg-augment bench`: a guided over an unguided image by engine, batches, decoders, memory.

What is compared takes turns in one process. Classifiers and decoders have random weights, which
does not change how long a pass takes; nothing stops early.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from cg_augment.method import cost
from cg_augment.method.chain import Chain
from cg_augment.method.guided import Task
from cg_augment.method.noise import Noise
from cg_augment.method.objectives import Objective
from cg_augment.method.sampler import Sampler
from cg_augment.method.scoring import Score
from cg_augment.method.select import Select
from cg_augment.method.stepwise import Stepwise
from cg_augment.method.views import Views
from cg_augment.rivals.generating import Order
from cg_augment.study.bench_tables import FULL, ONE, PLAIN, TINY, TOGETHER, table
from cg_augment.study.committed import sampler_of
from cg_augment.study.generator import Network, scheduler
from cg_augment.study.image_worlds import CHANNELS, WIDE
from cg_augment.study.nets import STUDENT, TEACHER
from cg_augment.use.networks import by_class, decoder
from cg_augment.use.schedules import read_schedule
from repro_shared.evidence.cells import slug
from repro_shared.evidence.provenance import provenance
from repro_shared.evidence.tables import write_tables
from repro_shared.runtime.checks import require
from repro_shared.runtime.progress import say
from repro_shared.runtime.rng import isolated_rng
from repro_shared.timing.bench import Bench, add_bench, bench_of, place_of
from repro_shared.timing.calibrate import calibrate

Name = Literal["engines", "wide", "batches", "decoders"]
ALL: tuple[Name, ...] = ("engines", "wide", "batches", "decoders")
PACKAGES = ("cg-augment", "torch", "diffusers", "numpy")
CLASSES = ("one", "other")


@dataclass(frozen=True)
class Sizes:
    """How large the benches are.

    Attributes:
        batch: images at once.
        steps: of the sampler.
        candidates: of `select`.
        rounds: of `chain`.
        side: of the latents that decoders are given; images are eight times as large.
        channels: of the full decoder's levels.
    """

    batch: int = 16
    steps: int = 12
    candidates: int = 8
    rounds: int = 10
    side: int = 8
    channels: tuple[int, ...] = (32, 64, 128, 128)


USUAL = Sizes()


def command(
    *,
    only: tuple[Name, ...] = ALL,
    rounds: int = 15,
    threads: int = 2,
    out: str | None = None,
    device: Literal["cpu"] = "cpu",
) -> None:
    """A guided over an unguided image, batches of chains, decoders, and memory, interleaved.

    Args:
        only: some of engines, wide (the same with a larger network), batches, decoders.
        rounds: timed rounds.
        threads: of everything.
        out: keep the times of all rounds below this folder, and the tables.
        device: cpu.
    """
    require(rounds >= 1, "--rounds", "at least 1", rounds)
    require(threads >= 1, "--threads", "at least 1", threads)
    run(USUAL, only, rounds, threads, out)


def run(
    sizes: Sizes, only: Sequence[Name], rounds: int, threads: int, out: str | None = None
) -> list[Bench]:
    """`command`, of other sizes if wanted."""
    kinds: dict[Name, Callable[[], Bench]] = {
        "engines": lambda: engines(sizes, rounds, "engines", CHANNELS),
        "wide": lambda: engines(sizes, rounds, "wide", WIDE),
        "batches": lambda: batches(sizes, rounds),
        "decoders": lambda: decoders(sizes, rounds),
    }
    if out:
        for name in only:
            place_of(out, slug(name))
    made, usual = list[Bench](), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for name in only:
            say(f"bench {name}")
            with isolated_rng(0):
                made.append(kinds[name]())
            print(table(made[-1]).to_terminal())
            if out:
                add_bench(out, made[-1])
                write_tables(Path(out) / "tables", [table(made[-1])])
    finally:
        torch.set_num_threads(usual)
    return made


def engines(sizes: Sizes, rounds: int, kind: str, channels: tuple[int, ...]) -> Bench:
    """Images of each engine, all with the same network, steps and batch."""
    task = task_of(sizes, channels)
    last = Stepwise(unguided=False)
    ways: dict[str, Any] = {
        PLAIN: Select(1),
        f"best of {sizes.candidates}": Select(sizes.candidates),
        "stepwise, last 60 %, one view": replace(last, views=Views(1)),
        "stepwise, last 60 %, four views": replace(last, views=Views(4)),
        "stepwise, last 60 %, not through the network": replace(last, jacobian=False),
        "stepwise, all steps, four views": replace(last, share=1.0, views=Views(4)),
        "chain": Chain(sizes.rounds, enough=None, checkpoints=False),
        "chain, checkpoints": Chain(sizes.rounds, enough=None),
    }
    schedule = task.sampler.schedule
    passes = {n: cost.of_engine(w, len(schedule), schedule.blind) for n, w in ways.items()}
    timed = calibrate({name: lambda w=way: w(task) for name, way in ways.items()}, 1, rounds, 0)  # type: ignore[misc]
    return _bench(
        kind, timed, batch=sizes.batch, steps=sizes.steps, rounds=sizes.rounds,
        channels=list(channels),
        passes={name: [own.forward, own.backward] for name, own in passes.items()},
        arithmetic={name: own.network / len(schedule) for name, own in passes.items()},
    )  # fmt: skip


def batches(sizes: Sizes, rounds: int) -> Bench:
    """Chains of one batch, together and one at a time; memory alive with checkpoints and without.

    The memory is that of live tensors in one round's gradient: a process keeps what it freed.
    """
    task, engine = task_of(sizes, CHANNELS), Chain(1, enough=None, checkpoints=False)
    alone = [task_of(sizes, CHANNELS, (number,)) for number in range(sizes.batch)]

    def one_by_one() -> None:
        for each in alone:
            engine(each)

    timed = calibrate({TOGETHER: lambda: (engine(task), None)[1], ONE: one_by_one}, 1, rounds, 0)
    alive = {
        f"{steps} steps": [
            alive_bytes(task_of(replace(sizes, steps=steps), CHANNELS), checkpoints)
            for checkpoints in (True, False)
        ]
        for steps in (sizes.steps, 2 * sizes.steps)
    }
    latent = 4 * sizes.batch * task.sampler.like.numel()
    return _bench("batches", timed, batch=sizes.batch, steps=sizes.steps, alive=alive,
                  latent=latent)  # fmt: skip


def decoders(sizes: Sizes, rounds: int) -> Bench:
    """`stepwise` on latents, gradients through the full decoder or a tiny one (AutoencoderTiny)."""
    from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DModel

    levels = len(sizes.channels)
    full: Any = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=sizes.channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels, layers_per_block=2, norm_num_groups=8,
    )  # fmt: skip
    width = sizes.channels[0]
    tiny: Any = AutoencoderTiny(
        encoder_block_out_channels=(width,) * 4, decoder_block_out_channels=(width,) * 4
    )  # fmt: skip
    unet: Any = UNet2DModel(
        sample_size=sizes.side, in_channels=4, out_channels=4, layers_per_block=1,
        block_out_channels=(32, 64), down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2, add_attention=False, norm_num_groups=8,
        num_class_embeds=len(CLASSES),
    )  # fmt: skip
    for each in (full, tiny, unet):
        each.eval()
    order = order_of(sizes, tuple(range(sizes.batch)), 8 * sizes.side)
    sampler = Sampler(
        read_schedule(scheduler(), sizes.steps), by_class(unet, order.labels),
        (4, sizes.side, sizes.side), decoder(full), modules=(unet, full, tiny),
    )  # fmt: skip
    engine = Stepwise(unguided=False)
    tasks = {
        FULL: as_task(sampler, order),
        TINY: as_task(replace(sampler, preview=decoder(tiny)), order),
    }
    ways: dict[str, Callable[[], Any]] = {n: lambda t=t: engine(t) for n, t in tasks.items()}  # type: ignore[misc]
    ways[PLAIN] = lambda: Select(1)(tasks[FULL])
    timed = calibrate(ways, 1, rounds, 0)
    return _bench("decoders", timed, batch=sizes.batch, steps=sizes.steps, image=8 * sizes.side,
                  channels=list(sizes.channels))  # fmt: skip


def task_of(sizes: Sizes, channels: tuple[int, ...], numbers: tuple[int, ...] = ()) -> Task:
    """Images of a network like those of the studies; `numbers` chooses some of the batch."""
    with isolated_rng(0):
        network = Network(len(CLASSES), channels, 32).make().eval()
    order = order_of(sizes, numbers or tuple(range(sizes.batch)), 32)
    return as_task(sampler_of(network, sizes.steps)(order), order)


def order_of(sizes: Sizes, seeds: tuple[int, ...], size: int) -> Order:
    """For teacher and student of the studies, untrained."""
    teacher, student = (
        net.make(CLASSES, size, 0, name).frozen()
        for net, name in ((TEACHER, "teacher"), (STUDENT, "student"))
    )
    return Order(torch.tensor(seeds) % len(CLASSES), seeds, teacher, student)


def as_task(sampler: Sampler, order: Order) -> Task:
    """By the logarithm, as in the studies."""
    score = Score(order.labels, order.teacher, order.student, Objective("log"))
    return Task(sampler, score, Noise(order.seeds))


def alive_bytes(task: Task, checkpoints: bool) -> int:
    """Most bytes of tensors that are alive at once in a gradient through the whole sampler."""
    latent = task.noise.start(task.rows, task.sampler.like)
    engine: Any = Chain(scored=1, checkpoints=checkpoints)
    with torch.autograd.profiler.profile(use_kineto=True, profile_memory=True) as seen:
        engine.gradient(task, latent, task.rows)
    assert seen.kineto_results is not None
    events = [e for e in seen.kineto_results.events() if e.name() == "[memory]"]
    return max(itertools.accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())))


def _bench(kind: str, timed: Any, **settings: Any) -> Bench:
    origin = provenance(PACKAGES, __file__)
    return bench_of(slug(kind), timed, origin, bench=kind, device="cpu", **settings)
