"""What `ofds estimate` reads, and the numbers by image and class that it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from ofds.method.objects import Ints
from ofds.use.dataset import Dataset, Objects
from ofds.use.estimate import Counts
from ofds.use.ingest_results import Empty
from ofds.use.lists import Names
from ofds.use.matching import IOU, match, on_crowd
from ofds.use.pool_files import PoolFiles
from ofds.use.repairs import Repairs
from ofds.use.selection_file import Selection, read_selection, read_whole, same_classes
from ofds.use.truth import Truth, read_truth
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_file

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Request:
    """A pool, a random sample of it, and what was annotated.

    Attributes:
        files: of the pool; features are not read.
        sample: folder that `ofds sample` wrote.
        labels: COCO files with annotations, such as labels.json of `ofds ingest`; the sample's
            images are judged by them, and chosen images that they hold count as they are.
        empty: what an image without annotations is where its file does not say: labelled (nothing
            is on it) or unlabelled.
        selection: a selection, whose cost and coverage are corrected.
        threshold: proposals of a lower score are left out; that of the selection if there is one.
        iou: intersection over union that a right proposal needs with an object of its class.
        seed: of the draws behind the intervals.
        out: file for the numbers, as JSON, that `ofds audit --estimate` shows.
    """

    files: Annotated[PoolFiles, tyro.conf.OmitArgPrefixes] = field(default_factory=PoolFiles)
    sample: str = ""
    labels: tuple[str, ...] = ()
    empty: Empty = "ask"
    selection: str | None = None
    threshold: float | None = None
    iou: float = IOU
    seed: int = 0
    out: str | None = None


@dataclass(frozen=True)
class Inputs:
    """All that was read.

    Attributes:
        request, dataset, selection, repairs: as given.
        threshold: that counts.
        labels: places of the classes that count: those of the selection, or all.
        proposed, right, true: (images, classes) numbers; the last two of annotated images alone.
        pixels: (images, 2) inside proposals and inside true objects.
        labelled: (images,) annotated.
        drawn: (images,) annotated, and of the random sample.
        population: (images,) that the sample stands for.
        chosen: (images,) of the selection.
        before: (images,) annotated before the selection.
        missing: images of the sample that nobody annotated.
    """

    request: Request
    dataset: Dataset
    selection: Selection | None
    threshold: float
    labels: list[int]
    proposed: Ints
    right: Ints
    true: Ints
    pixels: NDArray[np.float64]
    labelled: Flags
    drawn: Flags
    population: Flags
    chosen: Flags
    before: Flags
    missing: int
    repairs: Repairs

    def counts(self, images: Flags, label: int) -> Counts:
        """Of a class on images that are annotated."""
        return Counts(
            self.proposed[images, label], self.right[images, label], self.true[images, label],
            self.room[images],
        )  # fmt: skip

    @property
    def room(self) -> Ints:
        """(images,) see `Counts`."""
        found: Ints = 1 + self.proposed.sum(axis=1)
        return found


def read(request: Request) -> Inputs:
    """Read, check and count; UserError where nothing can be estimated."""
    for flag in ("sample", "labels"):
        if not getattr(request, flag):
            raise UserError(f"--{flag} is missing; see `ofds estimate --help`")
    require(0 < request.iou <= 1, "--iou", "above 0, at most 1", request.iou)
    require(request.seed >= 0, "--seed", "0 or more", request.seed)
    repairs, files = Repairs(), request.files.found("images", "proposals")
    dataset = files.dataset(repairs)
    proposals, _ = files.objects(dataset, repairs)
    sample = read_selection(request.sample)
    if "sample" not in sample.header:
        raise UserError(f"{request.sample}: chosen, not drawn at random; make one by `ofds sample`")
    selection = read_whole(request.selection) if request.selection else None
    if selection and selection.header["fingerprints"]["proposals"] != sha256_file(files.proposals):
        raise UserError(f"{request.selection} was made from other proposals than {files.proposals}")
    if selection:
        same_classes(selection, str(request.selection), dataset)
    threshold = _threshold(request, selection)
    names = [image.name for image in dataset.images]
    population = ~_flags(names, sample.header["sample"]["without"])
    size, now = sample.header["sample"]["population"], int(population.sum())
    if size != now:
        raise UserError(f"{request.sample} was drawn from {size} images; this pool has {now}")
    truth = read_truth(request.labels, dataset, repairs, request.empty)
    asked = _flags(names, sample.names, request.sample)
    drawn = asked & truth.labelled
    if not drawn.any():
        raise UserError(f"{', '.join(request.labels)}: no image of {request.sample} is annotated")
    _check_order(sample, names, drawn, repairs)
    classes = [each.name for each in dataset.categories]
    labels = selection.targets(classes) if selection else [*range(len(classes))]
    counts = _count(dataset, proposals, truth, np.array(labels), threshold, request.iou)
    chosen = _flags(names, selection.names if selection else (), request.selection or "")
    before = _flags(names, selection.header["annotated"] if selection else ())
    return Inputs(
        request, dataset, selection, threshold, labels, *counts, truth.labelled, drawn,
        population, chosen, before & ~chosen, int((asked & ~drawn).sum()), repairs,
    )  # fmt: skip


def _threshold(request: Request, selection: Selection | None) -> float:
    own = selection.header["settings"]["threshold"] if selection else 0.3
    threshold = own if request.threshold is None else request.threshold
    require(0 <= threshold <= 1, "--threshold", "0 to 1", threshold)
    if selection and threshold != own:
        raise UserError(f"--threshold {threshold:g}, but {request.selection} was made with {own:g}")
    return float(threshold)


def _flags(names: Sequence[str], listed: Sequence[str], source: str = "") -> Flags:
    """(images,) which are listed; with a source, all must be there."""
    found, known = np.zeros(len(names), bool), Names(names)
    for name in listed:
        place = known.find(name, source)
        if place < 0 and source:
            raise UserError(f"{source}: its image {name!r} is not in this pool")
        if place >= 0:
            found[place] = True
    return found


def _check_order(sample: Selection, names: Sequence[str], drawn: Flags, repairs: Repairs) -> None:
    """Book annotated images behind one that is not: what was left out may not be at random."""
    places = {name: place for place, name in enumerate(names)}
    done = [bool(drawn[places[name]]) for name in sample.names if name in places]
    first = done.index(False) if False in done else len(done)
    if late := sum(done[first:]):
        repairs.add(
            "annotated image behind one of the sample that is not: this is no random choice",
            repr(sample.names[first]), late,
        )  # fmt: skip


def _count(
    dataset: Dataset, proposals: Objects, truth: Truth, labels: Ints, threshold: float, iou: float
) -> tuple[Ints, Ints, Ints, NDArray[np.float64]]:
    """Proposals, right ones and true objects by image and class, and pixels by image."""
    size, objects = (len(dataset.images), len(dataset.categories)), truth.objects
    used = (proposals.score >= threshold) & ~proposals.crowd & np.isin(proposals.label, labels)
    partner = np.full(len(proposals), -1, np.int64)
    shown = np.flatnonzero(used & truth.labelled[proposals.image])
    judged = proposals.take(shown)
    partner[shown] = match(judged, objects, iou)[0]
    used[shown] = (partner[shown] >= 0) | ~on_crowd(judged, objects, iou)

    def by_class(image: Ints, label: Ints) -> Ints:
        found = np.zeros(size, np.int64)
        np.add.at(found, (image, label), 1)
        return found

    real, hit = ~objects.crowd & np.isin(objects.label, labels), partner >= 0
    pixels = np.zeros((size[0], 2))
    np.add.at(pixels[:, 0], proposals.image[used], proposals.area[used])
    np.add.at(pixels[:, 1], objects.image[real], objects.area[real])
    return (
        by_class(proposals.image[used], proposals.label[used]),
        by_class(proposals.image[hit], proposals.label[hit]),
        by_class(objects.image[real], objects.label[real]),
        pixels,
    )
