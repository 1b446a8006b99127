"""`ofds propose`: from a folder of photographs and a list of classes to a pool of proposals."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ofds.use.coco import read_dataset
from ofds.use.repairs import Repairs
from repro_shared.evidence.tables import Column, Table
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.progress import say

if TYPE_CHECKING:
    from ofds.use.proposers.job import Job
    from ofds.use.proposers.run import Done


@dataclass(frozen=True)
class Request:
    """Where to look, for what, and with which models.

    Attributes:
        folder: of the images, with the folders below it; a .tar file in it counts as a folder.
        classes: a text with a class a line (prompts after a tab), or a COCO file whose categories
            keep their ids.
        detector: Grounding DINO, MM-Grounding-DINO, OWLv2 or SAM 3, as a folder or a cached name of
            the hub; torchvision:NAME; digits, the small detector that comes with this package; or a
            file of results that are there already (.json, .npz), to which outlines and features are
            added, every box of them.
        out: the pool's folder; what is there already is not done again.
        images: COCO file that lists the images to take, by name below the folder; ids are kept.
        detector_weights: file with weights of torchvision's detector.
        labels: list of what the outputs of torchvision's detector mean, in order, a name a line;
            COCO's categories if not given.
        query: CLASS=FILE, each a picture of a class, for OWLv2.
        masker: a folder or a cached hub name of SAM 2, for outlines and features.
        features: masker, detector, lite0, none, or timm:MODEL, open_clip:MODEL, torchvision:MODEL;
            masker if there is one, else lite0 (EfficientNet-Lite0 on crops).
        feature_weights: file with weights of timm's or torchvision's MODEL.
        side: pixels of the square that crops or images are stretched to for features; 0: the
            model's own.
        regions: features from a map, from crops, or from a map where the model has one.
        shard: I/N, the I-th of N shares of the images, from 1; under torchrun each process has its
            own.
        threshold: lowest score; the detector's own default if not given.
        quantile: of each class's scores in the pool, below which its proposals go; 0: none go.
        nms: overlap above which the lesser of two boxes of a class goes.
        most: proposals an image.
        batch: images at a time.
        threads: that read images.
        device: cpu, cuda or cuda:N.
        dtype: of the models' arithmetic: float32, float16 or bfloat16.
        missing: images that cannot be read: fail (once all others are done) or skip.
        merge: only write the pool of shards that are done.
        plan: say what is to be done, and stop.
    """

    folder: str = ""
    classes: str = ""
    detector: str = ""
    out: str = ""
    images: str | None = None
    detector_weights: str = ""
    labels: str = ""
    query: tuple[str, ...] = ()
    masker: str = ""
    features: str = ""
    feature_weights: str = ""
    side: int = 0
    regions: Literal["auto", "map", "crops"] = "auto"
    shard: str | None = None
    threshold: float | None = None
    quantile: float = 0.0
    nms: float = 0.7
    most: int = 300
    batch: int = 4
    threads: int = 2
    device: str = "cpu"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    missing: Literal["fail", "skip"] = "fail"
    merge: bool = False
    plan: bool = False


NOTHING = Request()


def propose(request: Annotated[Request, tyro.conf.OmitArgPrefixes] = NOTHING) -> None:
    """Propose objects on images: boxes, classes, outlines and features, in shards that resume.

    Args:
        request: where, for what, and with which models.
    """
    if request.plan:
        print(planned(request), end="")
    else:
        print(report(request, proposed(request)), end="")


def proposed(request: Request) -> Done:
    """Do what a request says, and what was done; see `proposers.run`.

    Raises:
        UserError: whatever is wrong with the request, the images or the models.
    """
    _check(request)
    # Torch and the models' libraries take seconds to import: only where they are needed.
    from ofds.use.proposers.build import Choice, build, is_given
    from ofds.use.proposers.run import Done, merge_alone, run

    if request.merge:
        skip = request.missing == "skip"
        return Done(0, 0, 0, 0.0, merge_alone(Path(request.out), skip, request.quantile))
    job = job_of(request)
    choice = Choice(**{name: getattr(request, name) for name in Choice.__dataclass_fields__})
    models = build(choice, job.classes, job.machine)
    floor = models.detector.threshold if request.threshold is None else request.threshold
    keeping = replace(job.keeping, floor=floor)
    if is_given(request.detector):
        keeping = replace(keeping, overlap=1.0, most=sys.maxsize)
    return run(replace(job, keeping=keeping), models)


def _check(request: Request) -> None:
    needed = ("out",) if request.merge else ("folder", "classes", "detector", "out")
    for flag in needed:
        if not getattr(request, flag):
            raise UserError(f"--{flag} is missing; see `ofds propose --help`")
    chance = "0 to 1"
    if request.threshold is not None:
        require(0 <= request.threshold <= 1, "--threshold", chance, request.threshold)
    require(0 <= request.quantile < 1, "--quantile", "0 or more, below 1", request.quantile)
    require(0 < request.nms <= 1, "--nms", "above 0, at most 1", request.nms)
    for flag in ("most", "batch", "threads"):
        require(getattr(request, flag) >= 1, f"--{flag}", "at least 1", getattr(request, flag))
    require(request.side >= 0, "--side", "0 or more", request.side)


def job_of(request: Request) -> Job:
    """What is to be done; see `proposers.run.Job`."""
    from ofds.use.proposers import pictures
    from ofds.use.proposers.classes import read_classes
    from ofds.use.proposers.hub import Machine
    from ofds.use.proposers.job import Job, of_torchrun
    from ofds.use.proposers.pipeline import Keeping

    check_device(request.device)
    classes = read_classes(request.classes, request.query)
    listed: list[tuple[str, Any]]
    if request.images:
        if not Path(request.folder).is_dir():
            raise UserError(f"--folder {request.folder}: no such folder")
        dataset = read_dataset(request.images, Repairs(), annotations=False)
        listed = [(image.name, image.entry) for image in dataset.images]
    else:
        names, others = pictures.listed(request.folder)
        listed = [(name, None) for name in names]
        if others:
            say(f"passed over: {len(others)} other files, such as {others[0]}")
    shard, machine = of_torchrun(shard_of(request.shard), Machine(request.device, request.dtype))
    keeping = Keeping(request.threshold or 0.0, request.nms, request.most)
    return Job(
        Path(request.folder), listed, Path(request.out), classes, keeping, request.quantile,
        machine, shard, request.batch, request.threads, request.missing == "skip",
    )  # fmt: skip


def shard_of(text: str | None) -> tuple[int, int] | None:
    """I/N as two numbers; UserError if it is none."""
    if text is None:
        return None
    first, slash, last = text.partition("/")
    if not (slash and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
        raise UserError(f"--shard {text}: give I/N, from 1/N to N/N")
    return int(first), int(last)


def planned(request: Request) -> str:
    """What is to be done, as text: images and, from what is done, how many crops to expect."""
    _check(request)
    from ofds.use.proposers import parts
    from ofds.use.proposers.build import is_given
    from ofds.use.proposers.run import left, listing

    job = job_of(request)
    entries = listing(job, is_given(request.detector))
    todo, objects, seen = left(job, entries), 0, 0
    for path in parts.files(job.parts):
        part = parts.read_part(path, features=False)
        objects, seen = objects + len(part.image), seen + len(part.seen)
    bad = sum(bool(each.problem) for each in entries)
    mine, (which, shards) = len(entries), job.shard
    lines = [
        f"images: {len(job.images)}; of shard {which}/{shards}: {mine}, {bad} of them unreadable",
        f"done: {mine - bad - len(todo)}; left: {len(todo)}, in {-(-len(todo) // parts.IMAGES)} "
        f"parts of up to {parts.IMAGES} images, {request.batch} at a time",
    ]
    if seen:
        each = objects / seen
        lines.append(f"objects so far: {objects}, {each:.3g} an image; about "
                     f"{each * len(todo):.0f} more to outline and describe")  # fmt: skip
    return "\n".join(lines) + "\n"


def report(request: Request, done: Done) -> str:
    """What is printed."""
    rate = done.images / done.seconds if done.seconds else 0.0
    lines = [
        f"{done.images} images in {done.seconds:.1f} s ({rate:.3g} images/s), {done.objects} "
        f"proposals on them; {done.before} images were done before, or cannot be read"
    ]
    pool = done.pool
    if pool is None:
        lines.append("other shards are not finished: the pool is written by the last one")
        return "\n".join(lines) + "\n"
    rows = tuple(zip(pool.classes, map(int, pool.objects), map(int, pool.below), strict=True))
    columns = (Column("class"), Column("proposals"), Column("below its quantile"))
    table = Table(
        "proposals", f"{sum(pool.objects)} proposals on {pool.images} images", columns, rows
    )
    if none := [name for name, many in zip(pool.classes, pool.objects, strict=True) if not many]:
        hint = "lower --threshold, give other names after a tab in the list of classes"
        hint += ", or a picture (--query, for OWLv2)"
        lines.append(f"nothing is proposed for {', '.join(none)}: {hint}")
    if pool.unreadable:
        first = min(pool.unreadable)
        lines.append(f"left out: {len(pool.unreadable)} images that cannot be read, such as "
                     f"{first!r} ({pool.unreadable[first]}); see unreadable.txt")  # fmt: skip
    lines.append(f"written: {Path(request.out)}")
    return table.to_terminal() + "\n" + "\n".join(lines) + "\n"
