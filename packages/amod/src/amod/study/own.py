"""`amod train` and `amod transfer`: an arm that the user fills in, on class folders of their own.

The stages and settings are those of the studies at the paper's scale. Under torchrun the first
process keeps the records, and the others train with it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch.distributed as dist
import tyro

from amod.method.model import PRESETS
from amod.study import stages
from amod.study.configs import Crops, Finetuned, Given, Transferred, Variant
from amod.study.data import ImageFolders, RandomWeights, WeightsFile
from amod.study.paper_tables import FINETUNE, TRANSFER
from amod.study.stages import MODEL, with_weights
from amod.use.schedule import Schedule, mixing
from amod.use.weights import check_preset, classes_in, create_model
from repro_shared.evidence.records import RunRecord
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.cli import Command
from repro_shared.runtime.distributed import from_first, processes
from repro_shared.runtime.errors import UserError
from repro_shared.study.alone import run_alone
from repro_shared.study.paper import Arm, Context, Outcome, Paper, Stage, Study
from repro_shared.study.session import Session

Flat = tyro.conf.OmitArgPrefixes
Device = Literal["cpu", "cuda"]
Preset = Literal["paper", "practical"]
HALF, CROPS = Variant(capacity=0.5), Crops()


@dataclass(frozen=True)
class Place:
    """Where a training takes place: nothing here decides its result but the seed.

    Attributes:
        data: folder with train/ and val/ (or test/), class folders in each.
        weights: checkpoint of the dense or routed model; random weights without.
        out: output folder: model.safetensors and the records; a killed run resumes.
        seed: of data order, views and new weights.
        workers: loading processes.
        device: cpu or cuda.
    """

    data: str = ""
    weights: str | None = None
    out: str = "runs/amod-train"
    seed: int = 0
    workers: int = 0
    device: Device = "cpu"

    def check(self) -> None:
        """UserError for what cannot be used."""
        check_device(self.device)
        if not self.data:
            raise UserError("no data: give a folder with train/ and val/ with --data DIR")
        require(self.workers >= 0, "--workers", "0 or more", self.workers)
        require(self.seed >= 0, "--seed", "0 or more", self.seed)


def verb(
    paper: Paper, does: str, name: str, kind: type[Finetuned], stage: Stage, usual: Schedule
) -> Command:
    """A command that runs one arm on the user's own pictures, by default with a schedule."""

    def command(
        place: Annotated[Place, Flat] = Place(),
        variant: Annotated[Variant, Flat] = HALF,
        schedule: Annotated[Schedule, Flat] = usual,
        view: Annotated[Crops, Flat] = CROPS,
        *,
        model: str = "deit_small_patch16_224",
        preset: Preset = "paper",
        evaluations: int = 10,
    ) -> None:
        place.check()
        check_preset(preset)
        if evaluations < 1:
            raise UserError(f"--evaluations must be at least 1, got {evaluations}")
        variant = replace(variant, **PRESETS[preset])
        if variant.layers:
            variant = Variant(layers=variant.layers, keep=variant.keep)
        schedule = one_length(schedule, usual)
        config = kind(variant, schedule, view, evaluations=evaluations, keep=True)
        run(paper, Arm(name, config, stage), place, model)

    command.__doc__ = f"""{does}

    Args:
        place: where.
        variant: what is made of the model; capacity 1 trains it densely.
        schedule: how long and how.
        view: how training sees its pictures.
        model: a timm model name, e.g. deit_small_patch16_224.
        preset: practical sets --first, --protect-prefix and --k-align.
        evaluations: how often accuracy is measured.
    """
    return command


def verbs(paper: Paper) -> dict[str, Command]:
    """`train` and `transfer`."""
    tuning = (
        "Fine-tune a routed model on class folders, as table 1; under torchrun on several GPUs."
    )
    moving = "Transfer a routed model to other classes, as tables 4 and 5, with a new classifier."
    return {
        "train": verb(paper, tuning, "fine-tuned", Finetuned, stages.finetuned, FINETUNE),
        "transfer": verb(paper, moving, "transferred", Transferred, stages.transferred, TRANSFER),
    }


def one_length(schedule: Schedule, usual: Schedule) -> Schedule:
    """The usual epochs give way to steps; UserError where a user gives steps and other epochs."""
    if not schedule.steps:
        return schedule
    if schedule.epochs not in (0, usual.epochs):
        raise UserError(
            f"--steps {schedule.steps} and --epochs {schedule.epochs:g} are two lengths: give one"
        )
    return replace(schedule, epochs=0.0)


def run(paper: Paper, arm: Arm, place: Place, model: str) -> None:
    """Run the arm from the user's weights, and put what it leaves where the user wants it."""
    folder, out = Path(place.data), Path(place.out)
    source = ImageFolders("own pictures", scored="val" if (folder / "val").is_dir() else "test")
    classes = len(source.open(folder).classes)
    check_start(arm.config, model, place.weights, classes)
    start = Arm("given", Given(model, 0 if place.weights else classes), stages.given)
    if place.weights:
        start = replace(start, data=WeightsFile(model, place.weights), seed=0)
    else:
        start = replace(start, data=RandomWeights())
    arm = replace(arm, starts_from=(start,))
    study = Study("own", "paper", source, (start, arm), (place.seed,))
    session = Session(paper, study, out, folder, place.device, place.workers)
    made = together(session, place.seed)
    if made is not None:
        record, work = made
        _publish(work, out)
        steps = record.samples // arm.config.schedule.batch_size
        accuracy = record.metrics["accuracy"]
        print(f"{model}: accuracy {accuracy:.2f} % after {steps} steps, in {out}")
    if dist.is_initialized():
        dist.destroy_process_group()


def check_start(config: Finetuned, model: str, weights: str | None, classes: int) -> None:
    """UserError for what would be refused once training begins, before anything is written."""
    network = create_model(model, classes_in(weights) if weights else classes)
    if weights:
        with_weights(config.variant, network, weights, 0)
    else:
        stages.build(config.variant, network, 0)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if config.schedule.batch_size % world:
        problem = f"does not divide over {world} processes"
        raise UserError(f"--batch-size {config.schedule.batch_size} {problem}")
    mixing(config.schedule, classes, world)


def together(session: Session, seed: int) -> tuple[RunRecord, Path] | None:
    """`run_alone`; under torchrun by the first process, and the others train with it.

    Returns:
        The record and its folder, or None in other processes than the first.
    """
    rank, world = processes(session.device)
    if world == 1:
        return run_alone(session, seed)
    *starts, arm = session.study.arms
    if rank:
        ctx: Context | None = from_first(lambda: None, session.device)
        if ctx is not None:
            data = session.open(session.study.source(arm))
            arm.run(arm.config, replace(ctx, data=data))
            dist.barrier()
        return None
    called: list[Context] = []

    def told(config: Any, ctx: Context) -> Outcome:
        called.append(ctx)
        from_first(lambda: replace(ctx, data=None), session.device)
        return arm.run(config, ctx)

    session.study = replace(session.study, arms=(*starts, replace(arm, run=told)))
    try:
        made = run_alone(session, seed)
    finally:
        if not called:  # finished before, or refused: the others need not wait
            from_first(lambda: None, session.device)
    if called:
        dist.barrier()  # torchrun ends all processes when one has ended
    return made


def _publish(work: Path, out: Path) -> None:
    """Move the trained weights to the output folder; UserError if they are nowhere."""
    if (work / MODEL).is_file():
        (work / MODEL).replace(out / MODEL)
        shutil.rmtree(out / "work", ignore_errors=True)
    elif not (out / MODEL).is_file():
        raise UserError(f"{out / MODEL} is gone: remove {out} to train again")
