"""What `ofds audit` reads: a selection, its pool, and what is known of the truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from ofds.method.budget import SECONDS_AN_OBJECT
from ofds.method.objects import Ints
from ofds.use.coco import read_json
from ofds.use.dataset import Dataset, Objects
from ofds.use.ingest_results import Empty
from ofds.use.lists import Names
from ofds.use.pool_files import PoolFiles
from ofds.use.repairs import Repairs
from ofds.use.selection_file import Selection, read_whole, same_classes, text_of
from ofds.use.truth import Truth, read_truth
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_bytes, sha256_file


@dataclass(frozen=True)
class Request:
    """A selection, and what to show of it.

    Attributes:
        files: of the pool; features are not read.
        selection: folder that `ofds select` or `ofds sample` wrote.
        folder: of the photographs; without it the sheet shows boxes alone.
        labels: COCO files with annotations of chosen images: true costs are shown beside
            predicted.
        empty: what an image without annotations is where its file does not say: labelled (nothing
            is on it) or unlabelled.
        estimate: what `ofds estimate --out` wrote: corrected costs and coverage are shown.
        out: the page, an .html file.
        limit: how many chosen images the sheet shows, from the first.
        side: longest side of a picture on the page, in pixels.
    """

    files: Annotated[PoolFiles, tyro.conf.OmitArgPrefixes] = field(default_factory=PoolFiles)
    selection: str = ""
    folder: str | None = None
    labels: tuple[str, ...] = ()
    empty: Empty = "ask"
    estimate: str | None = None
    out: str = "audit.html"
    limit: int = 1000
    side: int = 200


@dataclass(frozen=True)
class Inputs:
    """All that was read.

    Attributes:
        request, dataset, proposals, selection, repairs: as given; of the proposals those on chosen
            images, above the threshold.
        places: (chosen,) place of each chosen image in the data set.
        truth: annotations, if given.
        estimate: what `ofds estimate` wrote, if given.
    """

    request: Request
    dataset: Dataset
    proposals: Objects
    selection: Selection
    places: Ints
    truth: Truth | None
    estimate: dict[str, Any] | None
    repairs: Repairs

    @property
    def names(self) -> list[str]:
        """Of the classes."""
        return [each.name for each in self.dataset.categories]

    @property
    def annotated(self) -> NDArray[np.bool_]:
        """(chosen,) which chosen images have annotations here."""
        if self.truth is None:
            return np.zeros(len(self.places), bool)
        return self.truth.labelled[self.places]

    def on_chosen(self, objects: Objects, among: NDArray[np.bool_] | None = None) -> Ints:
        """(classes,) objects on chosen images, or on some of them."""
        places = self.places if among is None else self.places[among]
        kept = ~objects.crowd & np.isin(objects.image, places)
        return np.bincount(objects.label[kept], minlength=len(self.names))

    def costs(self, objects: Objects, unit: str) -> NDArray[np.float64]:
        """(chosen,) cost of each chosen image by its objects, in objects, pixels or seconds."""
        real, size = ~objects.crowd, len(self.dataset.images)
        weights = objects.area[real] if unit == "pixels" else None
        found = np.bincount(objects.image[real], weights, size)[self.places].astype(np.float64)
        if unit == "seconds":
            budget = self.selection.header["budget"]
            found = budget["looking"] + SECONDS_AN_OBJECT[budget["preset"]] * found
        return found


def read(request: Request) -> Inputs:
    """Read and check; UserError for files that do not belong together."""
    if not request.selection:
        raise UserError("--selection is missing; see `ofds audit --help`")
    require(request.limit >= 0, "--limit", "0 or more", request.limit)
    require(16 <= request.side <= 1000, "--side", "16 to 1000", request.side)
    if request.folder and not Path(request.folder).is_dir():
        raise UserError(f"--folder {request.folder}: no such folder")
    if not request.out.lower().endswith((".html", ".htm")):
        raise UserError(f"--out {request.out}: name an .html file")
    repairs, files = Repairs(), request.files.found("images", "proposals")
    selection = read_whole(request.selection)
    if selection.header["fingerprints"].get("proposals") != sha256_file(files.proposals):
        raise UserError(f"{request.selection} was made from other proposals than {files.proposals}")
    dataset = files.dataset(repairs)
    same_classes(selection, request.selection, dataset)
    proposals, _ = files.objects(dataset, repairs)
    names = Names([image.name for image in dataset.images])
    places = [names.find(name, request.selection) for name in selection.names]
    if -1 in places:
        lost = selection.names[places.index(-1)]
        raise UserError(f"{request.selection}: its image {lost!r} is not in {dataset.path}")
    used = (proposals.score >= selection.header["settings"]["threshold"]) & ~proposals.crowd
    used &= np.isin(proposals.image, places)
    # Who selects for some classes has those alone annotated.
    labels = selection.targets([each.name for each in dataset.categories])
    used &= np.isin(proposals.label, labels)
    truth = read_truth(request.labels, dataset, repairs, request.empty) if request.labels else None
    if truth:
        own = np.flatnonzero(np.isin(truth.objects.label, labels))
        truth = replace(truth, objects=truth.objects.take(own))
    estimate = _estimate(request.estimate, selection) if request.estimate else None
    return Inputs(
        request, dataset, proposals.take(np.flatnonzero(used)), selection,
        np.array(places, np.int64), truth, estimate, repairs,
    )  # fmt: skip


def _estimate(path: str, selection: Selection) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("coverage"), list):
        hint = "make one by `ofds estimate --selection DIR --out FILE`"
        raise UserError(f"{path}: no estimate of a selection; {hint}")
    if found.get("selection") != sha256_bytes(text_of(selection).encode()):
        raise UserError(f"{path}: an estimate of another selection")
    return found
