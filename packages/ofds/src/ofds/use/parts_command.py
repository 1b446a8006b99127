"""`ofds parts`: a pool of the parts of label maps that somebody's segmenter has predicted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

import ofds
from ofds.use.coco import dataset_of
from ofds.use.dataset import Dataset
from ofds.use.folders import check_empty, new_folder
from ofds.use.pool_files import NAMES
from ofds.use.repairs import Repairs
from ofds.use.stuff import SMALLEST, FromLabelMaps, described, proposals_from_label_maps
from ofds.use.table import write_table
from repro_shared.datasets.label_values import IGNORED
from repro_shared.evidence.tables import Column, Table
from repro_shared.runtime.checks import check_device, require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, sha256_file
from repro_shared.runtime.images import open_image, read_label_map, read_rgb
from repro_shared.runtime.progress import Progress


@dataclass(frozen=True)
class Request:
    """Which label maps of which images.

    Attributes:
        folder: of the images, with the folders below it.
        label_maps: folder with a PNG for each image, of the same name; the value of a pixel is the
            place of its class in the list, from 0; 255 is none.
        classes: a text with a class a line, or a COCO file whose categories keep their ids.
        out: a new folder for the pool.
        smallest: pixels of a part; smaller ones are dropped, and counted.
        side: pixels of the square that a part is stretched to for its features.
        device: cpu, cuda or cuda:N.
    """

    folder: str = ""
    label_maps: str = ""
    classes: str = ""
    out: str = ""
    smallest: int = SMALLEST
    side: int = 96
    device: str = "cpu"


NOTHING = Request()


def parts(request: Annotated[Request, tyro.conf.OmitArgPrefixes] = NOTHING) -> None:
    """Make a pool of predicted label maps, for classes that cannot be counted, such as road.

    An object is a connected part of a class; what it costs is its pixels (`ofds select --unit
    pixels`). Its features are those of what is seen in it.

    Args:
        request: which label maps of which images.
    """
    for flag in ("folder", "label_maps", "classes", "out"):
        if not getattr(request, flag):
            name = flag.replace("_", "-")
            raise UserError(f"--{name} is missing; see `ofds parts --help`")
    require(request.smallest >= 1, "--smallest", "at least 1 pixel", request.smallest)
    require(request.side >= 16, "--side", "at least 16 pixels", request.side)
    check_device(request.device)
    check_empty(request.out)
    from ofds.use.proposers.classes import read_classes
    from ofds.use.proposers.pictures import listed

    repairs = Repairs()
    names, _ = listed(request.folder)
    maps = [label_map_of(Path(request.label_maps), name) for name in names]
    if lost := [name for name, path in zip(names, maps, strict=True) if not path.is_file()]:
        many = f"{len(lost)} of {len(names)} images have no label map"
        raise UserError(f"{request.label_maps}: {many}, such as {lost[0]!r}")
    dataset = listing(request, names, read_classes(request.classes).categories)
    found = proposals_from_label_maps(dataset, _labels(maps, dataset), repairs, request.smallest)
    if not len(found.objects):
        raise UserError(f"{request.label_maps}: no part has {request.smallest} pixels or more")
    crops = _crops(request, dataset, found)
    features = described(crops, len(found.objects), request.side, request.device)
    write(request, dataset, found, features)
    print(report(request, dataset, found, repairs), end="")


def label_map_of(folder: Path, name: str) -> Path:
    """Where the label map of an image lies."""
    return folder / PurePosixPath(name).with_suffix(".png")


def listing(request: Request, names: list[str], categories: Any) -> Dataset:
    """The images, by name, with their sizes."""
    images = list[dict[str, Any]]()
    for number, name in enumerate(names, start=1):
        width, height = open_image(Path(request.folder) / name).size
        images.append({"id": number, "file_name": name, "width": width, "height": height})
    content = {"images": images, "categories": [each.entry for each in categories]}
    return dataset_of(content, request.out, Repairs())


def _labels(
    maps: list[Path], dataset: Dataset
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.floating[Any]] | None]]:
    """Each image's labels; UserError for a value that is no class."""
    with Progress(len(maps), "label maps read") as progress:
        for place, path in enumerate(maps):
            labels = read_label_map(path).astype(np.int64)
            values = np.unique(labels)
            wrong = values[(values >= len(dataset.categories)) & (values != IGNORED)]
            if len(wrong):
                known = f"they are 0 to {len(dataset.categories) - 1}, and 255 is none"
                raise UserError(f"{path}: value {wrong[0]} is no class; {known}")
            yield place, labels, None
            progress.update(place + 1)


def _crops(request: Request, dataset: Dataset, found: FromLabelMaps) -> Iterator[NDArray[np.uint8]]:
    place, image = -1, np.zeros((0, 0, 3), np.uint8)
    for owner, part in zip(found.objects.image.tolist(), found.parts, strict=True):
        if owner != place:
            place, image = owner, read_rgb(Path(request.folder) / dataset.images[owner].name)
        yield part.crop(image)


def write(
    request: Request, dataset: Dataset, found: FromLabelMaps, features: NDArray[np.float16]
) -> None:
    """The pool as a new folder, as `ofds propose` writes it."""
    with new_folder(request.out) as out:
        images = [image.entry for image in dataset.images]
        categories = [each.entry for each in dataset.categories]
        atomic_write_json(out / NAMES["images"], {"images": images, "categories": categories})
        write_table(out / NAMES["proposals"], found.objects, found.masks)
        np.save(out / NAMES["features"], features)
        manifest = {
            "ofds": ofds.__version__,
            "models": {"label maps": "given", "features": "lite0 on parts, the rest gray"},
            "smallest": request.smallest,
            "side": request.side,
            "pool": {
                "images": len(images),
                "proposals": len(found.objects),
                "sha256": {name: sha256_file(out / name) for name in NAMES.values()},
            },
        }
        atomic_write_json(out / "manifest.json", manifest)


def report(request: Request, dataset: Dataset, found: FromLabelMaps, repairs: Repairs) -> str:
    """What is printed: parts and pixels of each class."""
    objects, rows = found.objects, list[tuple[Any, ...]]()
    for label, each in enumerate(dataset.categories):
        own = objects.label == label
        why = f"dropped: {each.name}, a component of fewer than {request.smallest} pixels"
        rows.append((each.name, int(own.sum()), objects.area[own].sum() / 1000, repairs.count(why)))
    columns = (
        Column("class"), Column("parts"), Column("pixels", "thousands", 0),
        Column("smaller parts, dropped"),
    )  # fmt: skip
    title = f"{len(objects)} parts on {len(dataset.images)} images"
    table = Table("parts", title, columns, tuple(rows))
    return f"{table.to_terminal()}\nwritten: {Path(request.out)}\n"
