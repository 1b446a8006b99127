"""From parts to a pool: images.json, proposals.npz, features.npy, and manifest.json last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofds.use.dataset import Category, Objects
from ofds.use.pool_files import NAMES
from ofds.use.proposers import parts
from ofds.use.proposers.keep import thresholds
from ofds.use.table import write_table
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import (
    atomic_write_json,
    atomic_write_text,
    publish,
    sha256_file,
    temporary_file,
)

MANIFEST = "manifest.json"
UNREADABLE = "unreadable.txt"


@dataclass(frozen=True)
class Merged:
    """A pool that was written.

    Attributes:
        images: how many.
        classes: names of all.
        objects: (classes,) proposals of each.
        below: (classes,) left out because they score below their class's threshold.
        unreadable: names of images that could not be read, and why.
    """

    images: int
    classes: tuple[str, ...]
    objects: NDArray[np.int64]
    below: NDArray[np.int64]
    unreadable: Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """An image of the pool, and where its proposals lie."""

    entry: parts.Entry
    seen: parts.Seen
    part: Path
    place: int


def merge(
    out: Path, shards: int, run: Mapping[str, Any], skip: bool, quantile: float
) -> Merged | None:
    """Write the pool, if all shards are done; None if not.

    Args:
        out: the pool's folder.
        shards: into how many the work was split.
        run: what propose.json says.
        skip: images that cannot be read are left out; else they are refused, once all are known.
        quantile: of each class's scores, see `thresholds`.

    Raises:
        UserError: images that cannot be read, and no `skip`; nothing could be read.
    """
    folder = out / parts.FOLDER
    entries = parts.read_lists(folder, shards)
    if entries is None:
        return None
    known = {
        seen.key: (path, place, seen)
        for path, some in parts.done(folder)
        for place, seen in enumerate(some)
    }
    if any(each.key and each.key not in known for each in entries):
        return None
    rows, bad = list[Row](), dict[str, str]()
    for entry in entries:
        path, place, seen = known.get(entry.key, (Path(), 0, parts.Seen("")))
        if problem := entry.problem or seen.problem:
            bad[entry.name] = problem
        else:
            rows.append(Row(entry, seen, path, place))
    _list_unreadable(out, bad)
    if not rows or (bad and not skip):
        first = min(bad)
        raise UserError(
            f"{len(bad)} of {len(entries)} images cannot be read, such as {first!r} "
            f"({bad[first]}); {out / UNREADABLE} lists them. Nothing else is left to do: "
            + ("give other images" if not rows else "--missing skip makes the pool without them")
        )
    return _write(out, rows, bad, run, quantile)


def _list_unreadable(out: Path, bad: Mapping[str, str]) -> None:
    if bad:
        lines = [f"{name}\t{reason}\n" for name, reason in sorted(bad.items())]
        atomic_write_text(out / UNREADABLE, "".join(lines))
    else:
        with suppress(FileNotFoundError):
            (out / UNREADABLE).unlink()


def _write(
    out: Path, rows: Sequence[Row], bad: Mapping[str, str], run: Mapping[str, Any], quantile: float
) -> Merged:
    categories = [Category(each["id"], each["name"], each) for each in run["categories"]]
    image, columns, masks, sources = _columns(rows)
    label, score = columns["label"], columns["score"]
    least = thresholds(label, score, len(categories), run["config"]["threshold"], quantile)
    kept = score >= least[label]
    below = np.bincount(label[~kept], minlength=len(categories))
    with suppress(FileNotFoundError):
        (out / MANIFEST).unlink()  # it says that all of the others are there
    images = [_image(place, row) for place, row in enumerate(rows, start=1)]
    atomic_write_json(
        out / NAMES["images"],
        {"images": images, "categories": [each.entry for each in categories]},
    )
    places = np.flatnonzero(kept)
    table = Objects(
        image=image[places], label=label[places], score=score[places].astype(np.float64),
        box=columns["box"][places].astype(np.float64),
        area=columns["area"][places].astype(np.float64), crowd=np.zeros(len(places), bool),
        row=np.arange(len(places)), id=(), entries=(),
    )  # fmt: skip
    drawn = None if masks is None else [masks[place] for place in places]
    write_table(out / NAMES["proposals"], table, drawn)
    shape = _write_features(out / NAMES["features"], sources, kept)
    counts = np.bincount(label[kept], minlength=len(categories))
    files = [name for name in NAMES.values() if (out / name).is_file()]
    manifest = {
        **run,
        "pool": {
            "images": len(images),
            "proposals": len(places),
            "features": shape,
            "quantile": quantile,
            "thresholds": [round(float(each), 6) for each in least],
            "turned_upright": sum(row.seen.orientation != 1 for row in rows),
            "sizes_put_right": sum(_other_size(row) for row in rows),
            "unreadable": [{"name": name, "reason": bad[name]} for name in sorted(bad)],
            "sha256": {name: sha256_file(out / name) for name in files},
        },
    }
    atomic_write_json(out / MANIFEST, manifest)
    return Merged(len(images), tuple(each.name for each in categories), counts, below, bad)


def _image(number: int, row: Row) -> dict[str, Any]:
    """A COCO entry: the one that came, or a new one; sizes are those of the upright picture."""
    entry = dict(row.entry.entry or {"id": number, "file_name": row.entry.name})
    entry |= {"width": row.seen.width, "height": row.seen.height, "sha256": row.entry.sha256}
    if row.seen.orientation != 1:
        entry["exif_orientation"] = row.seen.orientation
    return entry


def _other_size(row: Row) -> bool:
    """Does the COCO file say another size than the upright picture has?"""
    said = row.entry.entry or {}
    have = {"width": row.seen.width, "height": row.seen.height}
    return any(side in said and said[side] != value for side, value in have.items())


Sources = list[tuple[Path, NDArray[np.int64], NDArray[np.int64]]]


def _columns(
    rows: Sequence[Row],
) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]], list[str | bytes | None] | None, Sources]:
    """All columns in the order of the images, and for each part which of its rows go where."""
    by_part = dict[Path, list[tuple[int, int]]]()
    for number, row in enumerate(rows):
        by_part.setdefault(row.part, []).append((number, row.place))
    images, taken, texts = [], [], list[Any]()
    columns: dict[str, list[NDArray[Any]]] = {"label": [], "score": [], "box": [], "area": []}
    drawn = False
    for path, own in by_part.items():
        part = parts.read_part(path, features=False)
        starts = np.searchsorted(part.image, np.arange(len(part.seen) + 1))
        for number, place in own:
            span = np.arange(starts[place], starts[place + 1])
            images.append(np.full(len(span), number))
            taken.append((path, span))
            for name, column in columns.items():
                column.append(part.columns[name][span])
            drawn |= part.masks is not None
            texts += [part.masks[row] if part.masks else None for row in span]
    image = np.concatenate([np.zeros(0, np.int64), *images])
    order = np.argsort(image, kind="stable")
    target = np.empty(len(order), np.int64)
    target[order] = np.arange(len(order))
    sources, start = Sources(), 0
    for path, span in taken:
        sources.append((path, span, target[start : start + len(span)]))
        start += len(span)
    joined = {
        name: np.concatenate([_empty(name), *column])[order] for name, column in columns.items()
    }
    return image[order], joined, [texts[row] for row in order] if drawn else None, sources


def _empty(name: str) -> NDArray[Any]:
    if name == "box":
        return np.zeros((0, 4), np.float32)
    return np.zeros(0, np.int64 if name == "label" else np.float32)


def _write_features(path: Path, sources: Sources, kept: NDArray[np.bool_]) -> list[int] | None:
    """Copy the features of the rows that are kept, part by part; None where there are none."""
    row = np.cumsum(kept) - 1
    array, last, features = None, None, None
    with temporary_file(path.parent, path.name) as (temporary, handle):
        for part, span, target in sources:
            if part != last:
                last, features = part, parts.read_part(part).columns.get("features")
            if features is None:
                continue
            if array is None:
                shape = (int(kept.sum()), features.shape[1])
                array = np.lib.format.open_memmap(
                    temporary, mode="w+", dtype=np.float16, shape=shape
                )
            if array.shape[1] != features.shape[1]:
                raise UserError(f"{part}: features of another size than in other parts")
            chosen = kept[target]
            array[row[target[chosen]]] = features[span[chosen]]
        if array is None:
            with suppress(FileNotFoundError):
                path.unlink()
            return None
        array.flush()
        publish(handle, temporary, path)
    return list(array.shape)
