"""`ofds export`: chosen images, in order, for an annotation tool or a trainer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from ofds.use.coco import read_json
from ofds.use.dataset import Dataset, Entry, Objects
from ofds.use.folders import check_empty, new_folder
from ofds.use.formats import cvat, label_studio, mmseg, voc, yolo
from ofds.use.formats.coco import content
from ofds.use.formats.common import Files, put_images, sized, without_crowds
from ofds.use.lists import places, read_names
from ofds.use.pool_files import PoolFiles
from ofds.use.repairs import Repairs
from ofds.use.selected import proposal_id, read_selected
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, atomic_write_text

Format = Literal["coco", "voc", "yolo", "list", "label-studio", "cvat", "mmseg"]
IMAGES = {"voc": "JPEGImages", "yolo": "images/{split}", "mmseg": "img_dir"}  # else: images
COCO, NAMES = "annotations.json", "images.txt"


@dataclass(frozen=True)
class Request:
    """What to write, and how.

    Attributes:
        files: the pool that was selected from; features are not read.
        selection: folder or selection.json of `ofds select`.
        format: coco, voc, yolo (Ultralytics), list (names alone), label-studio (tasks), cvat (COCO
            1.0), or mmseg (a split, and label maps where there are masks).
        out: a new folder.
        predictions: write the proposals on the images, to be corrected: yes or no.
        threshold: of the score of proposals; by default what the selection was made with.
        only: list of images, such as `next.txt` of `ofds ingest`: the others are left out.
        folder: of the image files, where sizes are not known, or files are wanted beside.
        image_files: none, link or copy them into the folder.
        split: name of the split, for voc, yolo and mmseg.
        image_prefix: what stands before an image's name in its address in Label Studio.
    """

    files: Annotated[PoolFiles, tyro.conf.OmitArgPrefixes] = field(default_factory=PoolFiles)
    selection: str = ""
    format: Format = "coco"
    out: str = ""
    predictions: Literal["yes", "no"] = "yes"
    threshold: float | None = None
    only: str | None = None
    folder: str | None = None
    image_files: Files = "none"
    split: str = "train"
    image_prefix: str = label_studio.PREFIX


NOTHING = Request()


def export(request: Annotated[Request, tyro.conf.OmitArgPrefixes] = NOTHING) -> None:
    """Write chosen images and what is proposed on them for an annotation tool or a trainer.

    Args:
        request: what to write and how.
    """
    for flag in ("selection", "out"):
        if not getattr(request, flag):
            raise UserError(f"--{flag} is missing; see `ofds export --help`")
    check_empty(request.out)
    if request.folder and not Path(request.folder).is_dir():
        raise UserError(f"--folder {request.folder}: no such folder")
    word = re.fullmatch(r"\w[\w.-]*", request.split) is not None
    require(word, "--split", "a word", repr(request.split))
    repairs = Repairs()
    made = gathered(request, repairs)
    with new_folder(request.out) as folder:
        _write(request, folder, made, repairs)
        below = IMAGES.get(request.format, "images").format(split=request.split)
        put_images(made, request.folder, folder / below, request.image_files)
    crowds = int(made.objects.crowd.sum())
    proposed = f" with {len(made.objects) - crowds} proposals"
    proposed += f" and {crowds} crowds" if crowds else ""
    proposed = proposed if request.predictions == "yes" else ""
    lines = [
        f"{len(made.images)} images{proposed}, {len(made.categories)} classes",
        *(f"put right: {line}" for line in repairs.lines()),
        f"written: {Path(request.out)} ({request.format})",
    ]
    print("\n".join(lines))


def gathered(request: Request, repairs: Repairs) -> Dataset:
    """The images to write, in order, with the proposals that count; UserError if it cannot be."""
    selected = read_selected(request.selection, request.files, repairs, request.threshold)
    wanted = selected.chosen
    if request.only:
        source, listed = f"--only {request.only}", read_names(request.only)
        only = set(places(listed, source, selected.names, repairs, strict=True))
        wanted = [place for place in wanted if place in only]
    if not wanted:
        raise UserError(f"{request.selection}: no image is left to write")
    kept = (selected.shown | selected.crowds) & (request.predictions == "yes")
    model = model_of(request.files.found("images", "proposals"))
    made = predictions(selected.dataset, selected.proposals, wanted, kept, selected.sha256, model)
    needed = request.format not in ("coco", "list") or request.folder
    return sized(made, request.folder) if needed else made


def predictions(
    dataset: Dataset,
    objects: Objects,
    wanted: Sequence[int],
    kept: np.ndarray,
    sha256: str,
    model: str = "",
) -> Dataset:
    """Images in another order, with proposals as annotations of the source `auto`.

    Args:
        dataset: with all images.
        objects: the proposals on them.
        wanted: images to keep, by place.
        kept: (n,) proposals to keep.
        sha256: of the file of proposals.
        model: that made them.

    Returns:
        No image of it is labelled. `attributes.ofds_id` of an annotation is the start of the
        fingerprint and the row in the file: the same in every export, and in no other pool.
    """
    order = np.full(len(dataset.images), -1, np.int64)
    order[list(wanted)] = np.arange(len(wanted))
    rows = np.flatnonzero(kept & (order[objects.image] >= 0))
    rows = rows[np.lexsort((objects.row[rows], order[objects.image[rows]]))]
    entries = list[Entry]()
    for place in rows:
        own, mark = objects.entries[int(place)], proposal_id(sha256, int(objects.row[place]))
        entry: Entry = {"score": float(objects.score[place]), "source": "auto"}
        entry |= {"model": model} if model else {}
        if own.get("segmentation"):
            entry["segmentation"] = own["segmentation"]
        entries.append({**entry, "attributes": {"ofds_id": mark}})
    columns = ("label", "score", "box", "area", "crowd", "row")
    return replace(
        dataset,
        images=tuple(dataset.images[place] for place in wanted),
        objects=Objects(
            image=order[objects.image[rows]],
            **{name: getattr(objects, name)[rows] for name in columns},
            id=tuple(range(1, len(rows) + 1)),
            entries=entries,
        ),
        labelled=frozenset(),
    )


def model_of(files: PoolFiles) -> str:
    """What made the proposals, with the start of its fingerprint; "" if no manifest says so."""
    path = Path(files.proposals).parent / "manifest.json"
    manifest = read_json(path) if path.is_file() else {}
    models = manifest.get("models") if isinstance(manifest, dict) else None
    named = []
    for part in ("detector", "masker"):
        about = models.get(part) if isinstance(models, dict) else None
        if isinstance(about, dict) and about.get("model"):
            mark = f"@{str(about['sha256'])[:8]}" if about.get("sha256") else ""
            named.append(f"{about['model']}{mark}")
    return " + ".join(named)


def _write(request: Request, folder: Path, made: Dataset, repairs: Repairs) -> None:
    match request.format:
        case "coco":
            atomic_write_json(folder / COCO, content(made))
        case "voc":
            voc.write(folder, made, repairs, request.split)
        case "yolo":
            yolo.write(folder, made, repairs, request.split)
        case "mmseg":
            mmseg.write(folder, made, repairs, request.split)
        case "cvat":
            cvat.write(folder, without_crowds(made, "CVAT", repairs), repairs)
        case "label-studio":
            model = model_of(request.files.found("images", "proposals"))
            made = without_crowds(made, "Label Studio", repairs)
            own = request.folder if request.image_files == "none" else None
            label_studio.write(folder, made, request.image_prefix, model or "ofds", own)
    if request.format in ("voc", "yolo", "mmseg") and len(made.objects):
        # What these cannot hold: scores, sources, ids and masks, to look up.
        atomic_write_json(folder / COCO, content(made))
    atomic_write_text(folder / NAMES, "".join(f"{image.name}\n" for image in made.images))
