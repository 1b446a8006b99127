"""What `generate --plan` prints: counts, passes and hours, without making an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cg_augment.method import cost
from cg_augment.method.chain import Chain
from cg_augment.method.select import Select
from cg_augment.method.stepwise import Stepwise
from cg_augment.use.generating import hours
from cg_augment.use.generating.items import Item
from cg_augment.use.generating.store import missing, read_records, where
from cg_augment.use.generating.tasks import Tasks


def print_plan(
    out: Path, items: Sequence[Item], mine: Sequence[Sequence[Item]], world: int, tasks: Tasks,
    engine: Chain | Stepwise | Select, tflops: float | None,
) -> None:  # fmt: skip
    """Counts of a set and hours of what it lacks: as measured before, by arithmetic, or measured.

    Args:
        out: folder of the set.
        items: all images.
        mine: the batches of this process.
        world: processes.
        tasks: of the images.
        engine: that guides.
        tflops: sustained; None to measure a pair of steps, where no image is there yet.
    """
    records, there = read_records(out), where(out)
    left = sum(len(missing(unit, records, there)) for unit in mine)
    task = tasks.of(list(mine[0][:1]) if mine else list(items[:1]))
    schedule = task.sampler.schedule
    passes = cost.of_engine(engine, len(schedule), schedule.blind)
    part = f"of this process (1 of {world})" if world > 1 else "in all"
    print(f"{len(items)} images of {len({item.name for item in items})} classes")
    print(
        f"each at most: {passes.forward} evaluations of the network forward, {passes.backward} "
        f"backward; {passes.decodes} decodes forward, {passes.decodes_backward} backward"
    )
    print(f"still to make {part}: {left}")
    if seconds := [record.seconds for record in records.values()]:
        mean = sum(seconds) / len(seconds)
        print(f"measured on the {len(seconds)} images there: {left * mean / 3600:.3g} hours")
    elif tflops is not None:
        macs = hours.macs_of(task)
        print(f"multiply-accumulates: {macs[0]:.3g} an evaluation, {macs[1]:.3g} a decode")
        found = hours.estimated(passes, macs, tflops, left)
        print(f"estimate, by arithmetic at {tflops:g} TFLOPS: {found:.3g} hours")
    else:
        found = hours.measured(passes, tasks.of(list(mine[0]) if mine else items[:1]), left)
        print(f"estimate, from a measured pair of steps: {found:.3g} hours")
