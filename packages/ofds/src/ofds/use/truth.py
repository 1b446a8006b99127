"""What somebody annotated, in the places of the pool: classes and images by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ofds.use.coco import dataset_of, read_json
from ofds.use.dataset import Dataset, Entry, Objects, key_of
from ofds.use.formats.reading import on_pool, read_content, same_names
from ofds.use.ingest_results import Empty, decide
from ofds.use.lists import Names, places, read_names
from ofds.use.repairs import Repairs
from repro_shared.runtime.errors import UserError


@dataclass(frozen=True)
class Truth:
    """True objects on images of a pool.

    Attributes:
        objects: `image` and `label` are places in the pool's data set.
        labelled: (images,) which of its images somebody annotated, those without objects too.
    """

    objects: Objects
    labelled: NDArray[np.bool_]


def read_truth(
    paths: Sequence[str | Path], dataset: Dataset, repairs: Repairs, empty: Empty = "ask"
) -> Truth:
    """Read annotations of some images of a data set.

    Args:
        paths: COCO files, such as labels.json of `ofds ingest`; their classes are the data set's by
            name, under any ids. An image that is annotated in several counts as in the first.
        dataset: of the pool.
        repairs: books what is put right, and images that the pool has not.
        empty: what an image without annotations is where its file does not say.

    Raises:
        UserError: classes or sizes of images that disagree, each named; no image annotated; images
            of which it is not known whether they are.
    """
    whole, *others = (_content(path, dataset, repairs, empty) for path in paths)
    for number, other in enumerate(others, start=2):
        done = {key_of(image["id"]) for image in whole["images"] if image["labelled"]}
        for mine, theirs in zip(whole["images"], other["images"], strict=True):
            if mine["labelled"] and theirs["labelled"]:
                name = repr(mine["file_name"])
                repairs.add("image annotated in two files: the first counts", name)
            mine["labelled"] |= theirs["labelled"]
        # Ids tell the annotations of one file apart.
        whole["annotations"] += [
            {**note, "id": f"{key_of(note.get('id'))} of file {number}"} if key_of(note.get("id"))
            else note
            for note in other["annotations"]
            if key_of(note["image_id"]) not in done
        ]  # fmt: skip
    own = dataset_of(whole, ", ".join(map(str, paths)), repairs)
    labelled = np.array([image.name in own.labelled for image in own.images], bool)
    return Truth(own.objects.take(np.flatnonzero(labelled[own.objects.image])), labelled)


def read_annotated(
    path: str | None, dataset: Dataset, names: Names, repairs: Repairs
) -> tuple[list[int], Truth | None]:
    """Places of the images of --annotated, and what is on them if the file says so."""
    if not path:
        return [], None
    listed = read_names(path, annotated=True)
    content = read_json(path) if Path(path).suffix.lower() == ".json" else None
    notes = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(notes, list):
        return places(listed, f"--annotated {path}", names, repairs), None
    truth = read_truth([path], dataset, repairs, "labelled" if notes else "unlabelled")
    found = [names.exact[dataset.images[place].name] for place in np.flatnonzero(truth.labelled)]
    return found, truth


def _content(path: str | Path, dataset: Dataset, repairs: Repairs, empty: Empty) -> Entry:
    """One file, with the pool's images and ids; each image says whether it is labelled."""
    content = read_content(path, "coco", repairs)
    same_names(content, path, dataset)
    found = on_pool(content, path, dataset, repairs)
    decide(found, path, empty, None)
    for image in found["images"]:
        image["labelled"] = bool(image["labelled"])
    if not any(image["labelled"] for image in found["images"]):
        raise UserError(f"{path}: no image of the pool is annotated")
    return found
