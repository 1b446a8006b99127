"""What annotators made of the proposals: which of their objects is which proposal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ofds.method.objects import Ints
from ofds.use.coco import dataset_of
from ofds.use.dataset import Dataset, Entry, Objects, key_of
from ofds.use.formats.common import boxed, ofds_id
from ofds.use.formats.reading import LISTED, Format, on_pool, read_content, same_names
from ofds.use.masks import extent, outlines
from ofds.use.matching import IOU, match, overlaps
from ofds.use.repairs import Repairs
from ofds.use.selected import proposal_id
from repro_shared.runtime.errors import UserError

Empty = Literal["ask", "labelled", "unlabelled"]
SAME = 0.99  # overlap from which a box is as it was proposed; formats round


@dataclass(frozen=True)
class Results:
    """Annotations on images of a pool.

    Attributes:
        dataset: with the pool's images and classes, in their places; `labelled` are the images that
            somebody annotated.
        partner: (n,) place among the proposals that each object is, -1 for none.
        as_proposed: names of images on which nothing differs from the proposals, where nothing
            says that somebody looked.
        seconds: by name of an image, what its annotation took, where the format says so.
    """

    dataset: Dataset
    partner: Ints
    as_proposed: tuple[str, ...]
    seconds: dict[str, float]

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """(images,) which are annotated."""
        return np.array([i.name in self.dataset.labelled for i in self.dataset.images], bool)


def results(
    path: str | Path,
    format_: Format,
    pool: Dataset,
    proposals: Objects,
    shown: NDArray[np.bool_],
    sha256: str,
    repairs: Repairs,
    empty: Empty = "ask",
    done: Sequence[str] | None = None,
    earlier: str | Path | None = None,
    least: float = IOU,
) -> Results:
    """Read annotators' results and find the proposals in them.

    Args:
        path: file or folder.
        format_: that it is in.
        pool: images and classes that were exported.
        proposals: on them, all of the file.
        shown: (n,) which of them annotators were shown.
        sha256: of the file of proposals.
        repairs: books what is put right or left out.
        empty: what an image without annotations is where the format does not say.
        done: names of the images that are annotated, whatever the format says.
        earlier: labels.json of an earlier round: images that the results do not have are as there.
        least: intersection over union that makes an object a proposal, where it has no mark.

    Raises:
        UserError: results that cannot be read or are not of this pool, lists of classes that
            differ, and images of which it is not known whether they are annotated.
    """
    content = _listed(path, format_, pool, repairs)
    guessed = decide(content, path, empty, done)
    if earlier:
        _add(content, _listed(earlier, "coco", pool, repairs))
    ids = {key_of(note["image_id"]) for note in content["annotations"]}
    noted = [place for place, image in enumerate(pool.images) if key_of(image.id) in ids]
    on = np.flatnonzero(np.isin(proposals.image, noted))
    rows = {proposal_id(sha256, int(proposals.row[place])): int(place) for place in on}
    content["annotations"] = _whole(content["annotations"], pool, proposals, rows, repairs)
    for note in content["annotations"]:
        note["source"] = "human"
        for key in ("score", "model"):
            note.pop(key, None)
    made = dataset_of(content, path, repairs)
    there = np.array([image.name in made.labelled for image in made.images], bool)
    made = replace(made, objects=made.objects.take(np.flatnonzero(there[made.objects.image])))
    if not made.labelled:
        raise UserError(
            f"{path}: no image is annotated, as far as it says; name those that are with --done"
        )
    seconds = {i.name: float(i.entry["seconds"]) for i in made.images if "seconds" in i.entry}
    partner = partners(made.objects, proposals, rows, repairs, least)
    same = [n for n in _as_proposed(made, proposals, shown, partner) if n in guessed]
    return Results(made, partner, tuple(same), seconds)


def _listed(path: str | Path, format_: Format, pool: Dataset, repairs: Repairs) -> Entry:
    """Results on the pool, whose classes are its own where the format lists all of them."""
    content = read_content(path, format_, repairs, pool)
    found = on_pool(content, path, pool, repairs)
    if format_ in LISTED:
        same_names(content, path, pool)
    return found


def decide(content: Entry, path: str | Path, empty: Empty, done: Sequence[str] | None) -> set[str]:
    """Say of every image whether it is labelled; UserError if nobody knows.

    Returns:
        Names of those that are taken for labelled because there are annotations.
    """
    noted, open_ = {key_of(n["image_id"]) for n in content["annotations"]}, list[str]()
    guessed = set[str]()
    for image in content["images"]:
        if done is not None:
            image["labelled"] = image["file_name"] in done
        elif key_of(image["id"]) in noted and image["labelled"] is None:
            image["labelled"] = True
            guessed.add(image["file_name"])
        elif image["labelled"] is None:
            open_.append(image["file_name"])
            image["labelled"] = empty == "labelled"
    if open_ and empty == "ask":
        raise UserError(
            f"{path}: {len(open_)} images have no annotation, such as {open_[0]!r}: did somebody "
            "look and find nothing (--empty labelled), or nobody look (--empty unlabelled)? Or "
            "name those that are done, with --done FILE of `ofds ingest`"
        )
    return guessed


def _add(content: Entry, earlier: Entry) -> None:
    """Images that are labelled in earlier results alone, and what is on them."""
    added = set[str]()
    for image, before in zip(content["images"], earlier["images"], strict=True):
        if before["labelled"] and not image["labelled"]:
            image["labelled"] = True
            added.add(key_of(image["id"]))
    # What tools left on images that are not done gives way.
    now = [n for n in content["annotations"] if key_of(n["image_id"]) not in added]
    then = [n for n in earlier["annotations"] if key_of(n["image_id"]) in added]
    content["annotations"] = [{**note, "id": n} for n, note in enumerate([*now, *then], start=1)]


def _whole(
    notes: list[Entry], pool: Dataset, proposals: Objects, rows: dict[str, int], repairs: Repairs
) -> list[Entry]:
    """Objects of which tools made several annotations, a polygon each, as one again.

    They are parts of one if they have the mark of one proposal that has several polygons, or,
    without a mark, lie on parts of such a proposal.
    """
    ids = {key_of(image.id): place for place, image in enumerate(pool.images)}
    classes = {key_of(each.id): place for place, each in enumerate(pool.categories)}
    several = dict[tuple[int, int], list[int]]()  # proposals by image and class
    there = {ids[key_of(note["image_id"])] for note in notes}
    for at in np.flatnonzero(np.isin(proposals.image, list(there))).tolist():
        if len(outlines(proposals.entries[at].get("segmentation"))) > 1:
            key = int(proposals.image[at]), int(proposals.label[at])
            several.setdefault(key, []).append(at)
    parts = dict[int, list[Entry]]()
    for note in notes:
        if len(outlines(note.get("segmentation"))) != 1 or not several:
            continue
        key = ids[key_of(note["image_id"])], classes[key_of(note["category_id"])]
        marked = rows.get(ofds_id(note), -1)
        if marked in several.get(key, []):
            parts.setdefault(marked, []).append(note)
        elif marked < 0:
            place = _part_of(note, several.get(key, []), proposals)
            if place >= 0:
                parts.setdefault(place, []).append(note)
    gone = set[int]()
    for own in parts.values():
        if len(own) == 1:
            continue
        name = pool.images[ids[key_of(own[0]["image_id"])]].name
        repairs.add("polygons of one object, joined again", repr(name), len(own))
        polygons = [p for note in own for p in outlines(note["segmentation"])]
        own[0]["segmentation"] = polygons
        for key_ in ("bbox", "area"):  # the mask says
            own[0].pop(key_, None)
        boxed(own[:1])
        gone |= {id(note) for note in own[1:]}
    return [note for note in notes if id(note) not in gone]


def _part_of(note: Entry, places: list[int], proposals: Objects) -> int:
    """The proposal of which a polygon is one of the parts; -1 for none."""
    for place in places:
        segmentation = proposals.entries[place].get("segmentation")
        boxes = [found.box for each in outlines(segmentation) if (found := extent([each]))]
        mine = extent(note["segmentation"])
        if mine and overlaps(np.array([mine.box]), np.array(boxes)).max() >= IOU:
            return place
    return -1


def partners(
    objects: Objects, proposals: Objects, rows: dict[str, int], repairs: Repairs, least: float
) -> Ints:
    """The proposal that each object is, (n,), -1 for none: by its mark, else by overlap.

    A mark that is given twice, as copies have it, is that of the closer one. By overlap, a proposal
    of the same class comes first.
    """
    partner = np.full(len(objects), -1, np.int64)
    claims = dict[int, list[tuple[float, int]]]()
    for place, entry in enumerate(objects.entries):
        marked = rows.get(ofds_id(entry), -1)
        if ofds_id(entry) and (marked < 0 or proposals.image[marked] != objects.image[place]):
            repairs.add("mark of another pool or image: passed over", repr(ofds_id(entry)))
        elif marked >= 0 and not objects.crowd[place]:
            near = overlaps(objects.box[[place]], proposals.box[[marked]])[0, 0]
            claims.setdefault(marked, []).append((-float(near), place))
    for marked, claiming in claims.items():
        partner[min(claiming)[1]] = marked
    for by_class in (True, False):
        mine = np.flatnonzero((partner < 0) & ~objects.crowd)
        near = np.isin(proposals.image, objects.image[mine])
        theirs = np.flatnonzero(near & ~np.isin(np.arange(len(proposals)), partner))
        found, _ = match(_bare(objects, mine), _bare(proposals, theirs), least, by_class)
        partner[mine[found >= 0]] = theirs[found[found >= 0]]
    return partner


def _bare(objects: Objects, places: Ints) -> Objects:
    """Some objects without their entries, which may be slow to make."""
    return replace(objects, id=(), entries=({},) * len(objects)).take(places)


def _as_proposed(
    made: Dataset, proposals: Objects, shown: NDArray[np.bool_], partner: Ints
) -> list[str]:
    """Images with objects that are the proposals that were shown, all of them, where they were."""
    objects, differs = made.objects, np.zeros(len(made.images), bool)
    for place, own in enumerate(partner):
        if objects.crowd[place]:
            continue
        alike = own >= 0 and objects.label[place] == proposals.label[own]
        if not alike or overlaps(objects.box[[place]], proposals.box[[own]])[0, 0] < SAME:
            differs[objects.image[place]] = True
    differs[proposals.image[shown & ~np.isin(np.arange(len(proposals)), partner)]] = True
    holds = np.bincount(objects.image, minlength=len(made.images)) > 0
    return [made.images[int(place)].name for place in np.flatnonzero(holds & ~differs)]
