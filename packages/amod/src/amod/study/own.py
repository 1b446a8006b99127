"""`amod train` and `amod transfer`: an arm that the user fills in, on class folders of their own.

The stages and settings are those of the studies at the paper's scale. Under torchrun the first
process keeps the records, and the others train with it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import torch.distributed as dist
import tyro

from amod.rivals.baselines import Keep
from amod.study import stages
from amod.study.configs import Crops, Finetuned, Given, Transferred, Variant
from amod.study.data import ImageFolders, Pictures, RandomWeights, WeightsFile
from amod.study.paper_tables import FINETUNE, TRANSFER
from amod.study.stages import BEST, MODEL, with_weights
from amod.use.metadata import names_in
from amod.use.options import NO_FLAGS, RANDOM, Checkpoint, RoutingSettings
from amod.use.schedule import Schedule, mixing
from amod.use.weights import classes_in, create_model, file_of, routing_for
from repro_shared.datasets.class_folders import SCORED, TRAIN, check_readable, find_split
from repro_shared.evidence.records import RunRecord
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.cli import Command
from repro_shared.runtime.distributed import processes
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import say
from repro_shared.study.alone import RUN, run_alone
from repro_shared.study.paper import Arm, Paper, Stage, Study
from repro_shared.study.session import Session
from repro_shared.study.together import together

Flat = tyro.conf.OmitArgPrefixes
Device = Literal["cpu", "cuda"]
CROPS = Crops()
FROM_SCRATCH = 1e-4  # AdamW's rate below which random weights hardly move


@dataclass(frozen=True)
class Place:
    """Where a training takes place: nothing here decides its result but the classes and the seed.

    Attributes:
        data: folder with train/ and val/ (or valid/, test/), class folders in each.
        out: output folder: model.safetensors of the last step, best.safetensors of the evaluation
            that scored best on the same pictures, and the records; a killed run resumes.
        class_map: file that numbers the class folders: a name a line in order, or JSON from name to
            number; without it they are numbered in natural order.
        seed: of data order, views and new weights.
        workers: loading processes.
        device: cpu or cuda.
    """

    data: str = ""
    out: str = "runs/amod-train"
    class_map: str | None = None
    seed: int = 0
    workers: int = 0
    device: Device = "cpu"

    def check(self) -> None:
        """UserError for what cannot be used."""
        check_device(self.device)
        if not self.data:
            raise UserError("no data: give a folder with train/ and val/ with --data DIR")
        if not Path(self.data).is_dir():
            raise UserError(f"--data {self.data}: no such folder")
        require(self.workers >= 0, "--workers", "0 or more", self.workers)
        require(self.seed >= 0, "--seed", "0 or more", self.seed)

    def source(self) -> ImageFolders:
        """The user's pictures; UserError where a split is nowhere."""
        train, scored = find_split(self.data, TRAIN), find_split(self.data, SCORED)
        for found, names in ((train, TRAIN), (scored, SCORED)):
            if not found:
                wanted = " or ".join(f"{name}/" for name in names)
                raise UserError(f"{self.data} has no {wanted} with class folders in it")
        return ImageFolders(
            "own pictures", scored=scored, train=train, class_map=self.class_map or ""
        )


def verb(
    paper: Paper, does: str, name: str, kind: type[Finetuned], stage: Stage, usual: Schedule
) -> Command:
    """A command that runs one arm on the user's own pictures, by default with a schedule."""

    def command(
        place: Annotated[Place, Flat] = Place(),
        checkpoint: Annotated[Checkpoint, Flat] = RANDOM,
        routing: Annotated[RoutingSettings, Flat] = NO_FLAGS,
        schedule: Annotated[Schedule, Flat] = usual,
        view: Annotated[Crops, Flat] = CROPS,
        *,
        model: str = "deit_small_patch16_224",
        capacity: float | None = None,
        layers: int = 0,
        keep: Keep = "first",
        evaluations: int = 10,
    ) -> None:
        place.check()
        require(evaluations >= 1, "--evaluations", "at least 1", evaluations)
        if layers:
            routes = capacity is not None or routing != NO_FLAGS
            require(not routes, "--layers", "given without the flags of routing", layers)
            variant = Variant(layers=layers, keep=keep)
        else:
            given = () if capacity is None else (capacity,)
            arguments, (share,) = routing_for(checkpoint.weights, routing, given)
            variant = Variant(capacity=share, **arguments)
        schedule = one_length(schedule, usual)
        config = kind(variant, schedule, view, evaluations=evaluations, keep=True)
        run(paper, Arm(name, config, stage), place, model, checkpoint)

    command.__doc__ = f"""{does}

    Args:
        place: where.
        checkpoint: what it begins with.
        routing: how the model is routed; what is not given is as stored with the weights.
        schedule: how long and how.
        view: how training sees its pictures.
        model: a timm model name, e.g. deit_small_patch16_224.
        capacity: share of the tokens that a routed block processes, usually 0.5; 1 trains
            the dense model.
        layers: keep so many blocks of the dense model instead of routing it; 0 routes.
        keep: which ones: the first, or evenly spaced.
        evaluations: how often accuracy is measured, at least once, at the end.
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


def run(paper: Paper, arm: Arm, place: Place, model: str, checkpoint: Checkpoint) -> None:
    """Run the arm from the user's weights, and put what it leaves where the user wants it."""
    folder, out, source = Path(place.data), Path(place.out), place.source()
    weights, pictures = file_of(checkpoint, model), source.open(folder)
    classes = len(pictures.classes)
    check_classes(arm.config, pictures, weights)
    check_start(arm.config, model, weights, classes, checkpoint.settings)
    settings = tuple(checkpoint.settings.items())
    start = Arm("given", Given(model, 0 if weights else classes, settings), stages.given)
    if weights:
        start = replace(start, data=WeightsFile(model, weights), seed=0)
    else:
        start = replace(start, data=RandomWeights())
    arm = replace(arm, starts_from=(start,))
    study = Study("own", "paper", source, (start, arm), (place.seed,))
    session = Session(paper, study, out, folder, place.device, place.workers, {source: pictures})
    if processes(place.device)[0] == 0:
        tell(arm.config, pictures, weights)
    made = together(session, place.seed, checked)
    if made is not None:
        record, work = made
        _publish(work, out)
        steps = record.samples // arm.config.schedule.batch_size
        accuracy = record.metrics["accuracy"]
        print(f"{model}: accuracy {accuracy:.2f} % after {steps} steps, in {out}")
    if dist.is_initialized():
        dist.destroy_process_group()


def tell(config: Finetuned, pictures: Pictures, weights: str | None) -> None:
    """Say what was found, and what to expect of random weights."""
    for part in (pictures.train, pictures.test):
        say(part.counts())
    say(f"classes: {pictures.test.order()}")
    if weights is None:
        schedule, hint = config.schedule, "give --weights or --pretrained"
        if schedule.optimiser == "adamw" and schedule.learning_rate < FROM_SCRATCH:
            rate = f"{schedule.learning_rate:g} is a rate for fine-tuning"
            hint = f"{rate}, with which they hardly learn: {hint}, or --learning-rate 1e-3"
        say(f"training starts from random weights; {hint}")


def check_classes(config: Finetuned, pictures: Pictures, weights: str | None) -> None:
    """UserError unless the classes are numbered as training, and a classifier kept, needs them."""
    classes, numbers, known = pictures.classes, pictures.test.numbers, names_in(weights)
    if numbers != tuple(range(len(classes))):
        raise UserError(
            f"training needs a class map without gaps, 0 to {len(classes) - 1}; this one numbers "
            f"{len(classes)} classes to {numbers[-1]}"
        )
    keeps = not isinstance(config, Transferred)
    if keeps and known and len(known) == len(classes) and known != classes:
        here = next(
            i for i, names in enumerate(zip(known, classes, strict=True)) if len({*names}) > 1
        )
        raise UserError(
            f"{weights} was trained on other classes: number {here} is {known[here]} there and "
            f"{classes[here]} here; give --class-map, or a new classifier with `amod transfer`"
        )


def check_start(
    config: Finetuned, model: str, weights: str | None, classes: int, settings: dict[str, int]
) -> None:
    """UserError for what would be refused once training begins, before anything is written."""
    network = create_model(model, classes_in(weights) if weights else classes, **settings)
    if weights:
        with_weights(config.variant, network, weights, 0)
    else:
        stages.build(config.variant, network, 0)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if config.schedule.batch_size % world:
        problem = f"does not divide over {world} processes"
        raise UserError(f"--batch-size {config.schedule.batch_size} {problem}")
    mixing(config.schedule, classes, world)


def checked(session: Session, seed: int) -> tuple[RunRecord, Path]:
    """`run_alone`; before a run begins, every picture is read once, so that none stops it later."""
    if not (session.out / RUN).exists():
        pictures = session.open(session.study.data)
        check_readable([pictures.train, pictures.test], max(1, session.workers))
    return run_alone(session, seed)


def _publish(work: Path, out: Path) -> None:
    """Move the trained weights to the output folder; UserError if they are nowhere."""
    if (work / MODEL).is_file():
        for name in (BEST, MODEL):
            if (work / name).is_file():
                (work / name).replace(out / name)
        shutil.rmtree(out / "work", ignore_errors=True)
    elif not (out / MODEL).is_file():
        raise UserError(f"{out / MODEL} is gone: remove {out} to train again")
