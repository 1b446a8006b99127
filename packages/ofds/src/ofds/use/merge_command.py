"""`ofds merge`: human labels where there are some, proposals elsewhere, and back again."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from ofds.use.coco import read_json
from ofds.use.dataset import Dataset, Entry
from ofds.use.export_command import model_of, predictions
from ofds.use.formats.coco import content
from ofds.use.formats.common import by_image
from ofds.use.ingest_results import Empty
from ofds.use.pool_files import PoolFiles
from ofds.use.repairs import Repairs
from ofds.use.truth import Truth, read_truth
from repro_shared.runtime.checks import require
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import (
    atomic_write_bytes,
    atomic_write_json,
    sha256_bytes,
    sha256_file,
)

KEY = "ofds_merge"


@dataclass(frozen=True)
class Request:
    """What to put together, or to take apart.

    Attributes:
        files: the pool with the proposals; features are not read.
        human: COCO file with annotations on some of its images: labels.json of `ofds ingest`, say.
        empty: whether images without annotations are labelled there, where it does not say.
        threshold: proposals of a lower score are left out.
        ignore_below: of the others, those of a lower score are regions to ignore (`iscrowd` and
            `ignore`), neither objects nor background.
        undo: a file that was merged: gives back the human labels alone.
        out: a new file.
    """

    files: Annotated[PoolFiles, tyro.conf.OmitArgPrefixes] = field(default_factory=PoolFiles)
    human: str = ""
    empty: Empty = "ask"
    threshold: float = 0.3
    ignore_below: float = 0.5
    undo: str | None = None
    out: str = ""


NOTHING = Request()


def merge(request: Annotated[Request, tyro.conf.OmitArgPrefixes] = NOTHING) -> None:
    """Put human labels and proposals together, each annotation with its source; or undo it.

    Args:
        request: what to put together.
    """
    if not request.out:
        raise UserError("--out is missing; see `ofds merge --help`")
    if Path(request.out).exists():
        raise UserError(f"{request.out} exists: name a new file")
    Path(request.out).absolute().parent.mkdir(parents=True, exist_ok=True)
    lines = _undo(request) if request.undo else _merge(request)
    print("\n".join([*lines, f"written: {Path(request.out)}"]))


def _merge(request: Request) -> list[str]:
    if not request.human:
        raise UserError("--human is missing: a COCO file of human labels; or --undo a merged one")
    require(0 <= request.threshold <= 1, "--threshold", "0 to 1", request.threshold)
    most = request.ignore_below
    require(request.threshold <= most <= 1, "--ignore-below", "--threshold to 1", most)
    repairs = Repairs()
    files = request.files.found("images", "proposals")
    dataset = files.dataset(repairs)
    truth = read_truth([request.human], dataset, repairs, request.empty)
    proposals, _ = files.objects(dataset, repairs)
    kept = (proposals.score >= request.threshold) & ~proposals.crowd
    kept &= ~truth.labelled[proposals.image]
    sha256, model = sha256_file(files.proposals), model_of(files)
    every = range(len(dataset.images))
    automatic = predictions(dataset, proposals, every, kept, sha256, model)
    made, people = merged(dataset, truth, automatic, most)
    original = Path(request.human).read_bytes()
    made[KEY] = {
        "human": Path(request.human).name,
        "sha256": sha256_bytes(original),
        "original": base64.b64encode(zlib.compress(original, 9)).decode(),
        "annotations": _hash(people),
        "threshold": request.threshold,
        "ignore_below": most,
        "proposals": sha256,
        "model": model,
    }
    atomic_write_json(request.out, made)
    ignored = int((automatic.objects.score < most).sum())
    return [
        f"human: {len(people)} annotations on {int(truth.labelled.sum())} images",
        f"automatic: {len(automatic.objects) - ignored} annotations and {ignored} regions to "
        f"ignore on the other {int((~truth.labelled).sum())}",
        *(f"put right: {line}" for line in repairs.lines()),
    ]


def merged(
    dataset: Dataset, truth: Truth, automatic: Dataset, ignore_below: float
) -> tuple[Entry, list[Entry]]:
    """A COCO file of both, and the human annotations in it.

    Args:
        dataset: images and classes of the pool.
        truth: human labels; an image that is labelled and empty stays so.
        automatic: proposals on the other images.
        ignore_below: of a lower score are regions to ignore.

    Returns:
        Images have `labelled`; annotations have `source` human or auto, the automatic ones `score`
        and `model`, too.
    """
    labelled = frozenset(
        image.name for image, own in zip(dataset.images, truth.labelled, strict=True) if own
    )
    people = Dataset(dataset.path, dataset.images, dataset.categories, truth.objects, labelled)
    made = content(people)
    for entry in made["annotations"]:
        entry["source"] = "human"
    used = {entry["id"] for entry in made["annotations"]}
    free = 1 + max((each for each in used if isinstance(each, int)), default=0)
    added = list[Entry]()
    for own in by_image(automatic):
        for _, entry in own:
            entry["id"] = free + len(added)
            if entry["score"] < ignore_below:
                entry |= {"iscrowd": 1, "ignore": 1}
            added.append(entry)
    human = list(made["annotations"])
    return {**made, "annotations": [*human, *added]}, human


def _undo(request: Request) -> list[str]:
    """Write the human labels of a merged file, to the byte as they were if nobody changed them."""
    made = read_json(request.undo or "")
    entries = made.get("annotations") if isinstance(made, dict) else None
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise UserError(f"{request.undo}: no COCO file with `annotations`")
    if lost := [each for each in entries if each.get("source") not in ("human", "auto")]:
        raise UserError(
            f"{request.undo}: {len(lost)} annotations have no `source` human or auto, such as id "
            f"{lost[0].get('id')!r}; it was not merged by ofds"
        )
    people, head = [each for each in entries if each["source"] == "human"], made.pop(KEY, None)
    if head is None and len(people) == len(entries):
        raise UserError(
            f"{request.undo}: no annotation is automatic, and no record of a merge is there; it "
            "was not merged by ofds"
        )
    if isinstance(head, dict) and head.get("annotations") == _hash(people):
        try:
            original = zlib.decompress(base64.b64decode(head["original"], validate=True))
        except (KeyError, TypeError, ValueError, binascii.Error, zlib.error):
            original = b""
        if sha256_bytes(original) == head.get("sha256"):
            atomic_write_bytes(request.out, original)
            return [f"{len(people)} human annotations, the file as it was"]
    images = [each for each in made.get("images", []) if each.get("labelled")]
    atomic_write_json(request.out, {**made, "images": images, "annotations": people})
    why = "changed since the merge, or its record is gone"
    return [f"{len(people)} human annotations, as they are now: {why}"]


def _hash(entries: list[Any]) -> str:
    text = json.dumps(sorted(entries, key=lambda each: str(each.get("id"))), sort_keys=True)
    return sha256_bytes(text.encode())
