"""`ofds split`: parts of a data set, of which no two share a group or nearly the same image."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

import ofds
from ofds.method.duplicates import components, image_vectors
from ofds.method.objects import Ints, make_pool
from ofds.method.splits import split as parts_of
from ofds.use.coco import read_dataset
from ofds.use.dataset import Dataset
from ofds.use.features import read_features
from ofds.use.folders import check_empty, new_folder
from ofds.use.formats.coco import content
from ofds.use.limits import metadata, numbered, read_vectors
from ofds.use.lists import Names
from ofds.use.photos import contents
from ofds.use.pool_files import PoolFiles
from ofds.use.repairs import Repairs
from repro_shared.evidence.tables import Column, Table
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_json, atomic_write_text, sha256_file

RESERVED = ("split",)


@dataclass(frozen=True)
class Request:
    """What to split, and what must stay together.

    Attributes:
        files: images, with their annotations if there are any; proposals and features are read
            where near duplicates are looked for by them.
        out: a new folder for NAME.json (COCO, all classes) and NAME.txt of each part, and
            split.json.
        parts: names and shares of the images, as train=0.8,val=0.2; the shares add up to 1.
        metadata: CSV with a header, see `ofds select`; by default the images' entries are read.
        group: column of what must not be in two parts, such as a video or a patient.
        near_duplicates: images of this cosine or more stay together, and what is like them; 0 for
            none.
        image_features: .npy with a row for each image, to compare images by; else the mean of their
            objects' features.
        folder: of the image files: those that are the same to the byte stay together.
        seed: of the order of groups of equal size.
    """

    files: Annotated[PoolFiles, tyro.conf.OmitArgPrefixes] = field(default_factory=PoolFiles)
    out: str = ""
    parts: str = "train=0.8,val=0.2"
    metadata: str | None = None
    group: str | None = None
    near_duplicates: float = 0.0
    image_features: str | None = None
    folder: str | None = None
    seed: int = 0


NOTHING = Request()


def split(request: Annotated[Request, tyro.conf.OmitArgPrefixes] = NOTHING) -> None:
    """Split a data set so that no two parts share a group or nearly the same image.

    Args:
        request: what to split, and what must stay together.
    """
    files = request.files.found("images")
    if not request.out:
        raise UserError("--out is missing: name a new folder for the parts")
    check_empty(request.out)
    require(0 <= request.near_duplicates <= 1, "--near-duplicates", "0 to 1",
            request.near_duplicates)  # fmt: skip
    require(request.seed >= 0, "--seed", "0 or more", request.seed)
    if request.image_features and not request.near_duplicates:
        raise UserError("--image-features has a use with --near-duplicates COSINE alone")
    shares, repairs = shares_of(request.parts), Repairs()
    dataset = read_dataset(files.images, repairs)
    names = sorted(image.name for image in dataset.images)
    together = groups_of(request, dataset, names, repairs)
    if len(np.unique(together)) < len(shares):
        raise UserError(f"all images are in {len(np.unique(together))} groups, too few for parts")
    part = parts_of(together, names, list(shares.values()), request.seed)
    whole, rows = content(dataset), list[tuple[str, int, int, int, float]]()
    with new_folder(request.out) as folder:
        for number, name in enumerate(shares):
            own = {names[place] for place in np.flatnonzero(part == number)}
            images = [image for image in whole["images"] if image["file_name"] in own]
            ids = {image["id"] for image in images}
            notes = [note for note in whole["annotations"] if note["image_id"] in ids]
            made = {"images": images, "categories": whole["categories"], "annotations": notes}
            atomic_write_json(folder / f"{name}.json", made)
            listed = (f"{image['file_name']}\n" for image in images)
            atomic_write_text(folder / f"{name}.txt", "".join(listed))
            groups = len(np.unique(together[part == number]))
            rows.append((name, len(images), groups, len(notes), 100 * len(images) / len(names)))
        atomic_write_json(folder / "split.json", _header(request, files, shares, rows, repairs))
    columns = (Column("part"), Column("images"), Column("groups"), Column("objects"),
               Column("share", "%", 1))  # fmt: skip
    title = f"{len(names)} images in {len(np.unique(together))} groups that stay together"
    print(Table("split", title, columns, tuple(rows)).to_terminal())
    for line in repairs.lines():
        print(f"put right: {line}")
    print(f"written: {Path(request.out)}")


def shares_of(text: str) -> dict[str, float]:
    """Share of each part; UserError for what names none, or shares that are not 1 together."""
    found = dict[str, float]()
    for each in text.split(","):
        name, _, number = (side.strip() for side in each.partition("="))
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        plain = name.replace("-", "").replace("_", "").isalnum() and name not in RESERVED
        if not plain or not 0 < share <= 1 or name in found:
            raise UserError(f"--parts {text!r}: give names and shares, as train=0.8,val=0.2")
        found[name] = share
    if abs(sum(found.values()) - 1) > 1e-6:
        raise UserError(f"--parts {text!r}: the shares add up to {sum(found.values()):g}, not to 1")
    return found


def groups_of(request: Request, dataset: Dataset, names: list[str], repairs: Repairs) -> Ints:
    """Numbers of what must stay together, (images,) in the order of the names."""
    keys = [np.arange(len(names))]
    if request.group:
        texts = metadata(dataset, request.metadata, request.group, Names(names), repairs)
        keys.append(numbered(texts))
    if request.folder:
        keys.append(numbered(contents(request.folder, names, repairs)[0]))
    vectors = None
    if request.near_duplicates and request.image_features:
        vectors = read_vectors(request.image_features, dataset, names, repairs)
    elif request.near_duplicates:
        vectors = _of_objects(request, dataset, names, repairs)
    return components(keys, vectors, request.near_duplicates or 1.0)


def _of_objects(
    request: Request, dataset: Dataset, names: list[str], repairs: Repairs
) -> NDArray[np.float16]:
    files = request.files.found()
    objects, total = files.objects(dataset, repairs)
    features = read_features(files.features, total)
    kept = ~np.isin(objects.row, features.damaged)
    pool = make_pool(
        [image.name for image in dataset.images], [each.name for each in dataset.categories],
        objects.image[kept], objects.label[kept], objects.score[kept], objects.box[kept],
        features=features, row=objects.row[kept],
    )  # fmt: skip
    assert list(pool.images) == names
    return image_vectors(pool)


def _header(
    request: Request, files: PoolFiles, shares: dict[str, float], rows: list[Any], repairs: Repairs
) -> dict[str, Any]:
    return {
        "ofds": ofds.__version__,
        "method_version": ofds.METHOD_VERSION,
        "settings": {
            "group": request.group,
            "near_duplicates": request.near_duplicates,
            "exact_copies": bool(request.folder),
            "seed": request.seed,
        },
        "parts": [
            {"name": name, "share": shares[name], "images": images, "groups": groups,
             "objects": objects} for name, images, groups, objects, _ in rows
        ],
        "repairs": repairs.rows(),
        "fingerprints": {"images": sha256_file(files.images)},
    }  # fmt: skip
