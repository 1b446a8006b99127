"""What `ofds propose` keeps while it works: parts of some images each, each complete or not there.

In the folder `parts` of the pool's folder lie `NAME.npz`, whose name is a hash of the settings and
of the keys of the images, and `list-I-of-N.json`, which images a shard has to do. An image counts
as done by its content: one that was renamed, or lies there twice, is not done again. (Where
proposals are given by name, by content and name.)
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofds.use.mask_column import Masks
from ofds.use.proposers.pipeline import Proposals
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import atomic_write_bytes, atomic_write_json, sha256_bytes

FOLDER = "parts"
IMAGES = 64  # of a part: what a kill can cost


@dataclass(frozen=True)
class Seen:
    """An image of a part: its key, its size upright, EXIF's orientation, or what is wrong."""

    key: str
    width: int = 0
    height: int = 0
    orientation: int = 1
    problem: str = ""


@dataclass(frozen=True)
class Part:
    """Some images with their proposals.

    Attributes:
        seen: the images.
        image: (n,) place in `seen` of each proposal, ascending.
        columns: label, score, box, area and, if there are any, features (n, d) float16.
        masks: of each, or None.
    """

    seen: tuple[Seen, ...]
    image: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]
    masks: Masks | None


def name_of(fingerprint: str, keys: Sequence[str]) -> str:
    """Of a part's file."""
    return sha256_bytes("\n".join([fingerprint, *keys]).encode())[:24]


def write_part(
    folder: Path, name: str, seen: Sequence[Seen], found: Sequence[Proposals | None]
) -> None:
    """Write a part; images that could not be read have None."""
    some = [each for each in found if each is not None]
    columns: dict[str, NDArray[Any]] = {
        "seen": np.frombuffer(json.dumps([vars(each) for each in seen]).encode(), np.uint8),
        "image": np.repeat(np.arange(len(found)), [len(each or ()) for each in found]),
        "label": _joined([each.label for each in some], np.int64),
        "score": _joined([each.score for each in some], np.float32),
        "box": _joined([each.box for each in some], np.float32, 4),
        "area": _joined([each.area for each in some], np.float32),
    }
    if some and some[0].features is not None:
        columns["features"] = np.concatenate([np.asarray(each.features) for each in some])
    if any(each.masks is not None for each in some):
        masks = Masks.of([mask for each in some for mask in each.masks or (None,) * len(each)])
        columns |= {"mask": masks.text, "mask_end": masks.end}
    data = io.BytesIO()
    np.savez(data, allow_pickle=False, **columns)
    atomic_write_bytes(folder / f"{name}.npz", data.getvalue())


def _joined(parts: list[NDArray[Any]], kind: Any, *shape: int) -> NDArray[Any]:
    return np.concatenate([np.zeros((0, *shape), kind), *parts]).astype(kind)


def read_part(path: Path, features: bool = True) -> Part:
    """A part, with or without features; UserError where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            seen = tuple(Seen(**each) for each in json.loads(file["seen"].tobytes()))
            names = ("label", "score", "box", "area", *(("features",) if features else ()))
            columns = {name: file[name] for name in names if name in file.files}
            masks = Masks(file["mask"], file["mask_end"]) if "mask" in file.files else None
            return Part(seen, file["image"], columns, masks)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(f"{path}: damaged ({error}); remove it and run again") from None


def read_seen(path: Path) -> tuple[Seen, ...]:
    """The images of a part alone."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return tuple(Seen(**each) for each in json.loads(file["seen"].tobytes()))
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise UserError(f"{path}: damaged ({error}); remove it and run again") from None


def files(folder: Path) -> list[Path]:
    """All parts, in a fixed order."""
    return sorted(folder.glob("*.npz"))


def done(folder: Path) -> Iterator[tuple[Path, tuple[Seen, ...]]]:
    """Each part's file and images."""
    for path in files(folder):
        yield path, read_seen(path)


@dataclass(frozen=True)
class Entry:
    """An image that has to be done.

    Attributes:
        place: in the list of all images.
        name: of it.
        sha256: of its file; "" where there is none.
        problem: why not.
        entry: of the COCO file that lists it, if one does.
        key: by which its proposals are known, as a rule the sha256; "" for an image without a file.
    """

    place: int
    name: str
    sha256: str
    problem: str = ""
    entry: Mapping[str, Any] | None = None
    key: str = ""


def write_list(folder: Path, shard: tuple[int, int], total: int, entries: Sequence[Entry]) -> None:
    """Say which images a shard has to do, of how many in all."""
    content = {"images": total, "entries": [vars(each) for each in entries]}
    atomic_write_json(_list(folder, *shard), content)


def read_lists(folder: Path, shards: int) -> list[Entry] | None:
    """The images of all shards in order; None while a list is not there.

    Raises:
        UserError: the lists were made from different sets of images.
    """
    found, totals = list[Entry](), set[int]()
    for shard in range(1, shards + 1):
        path = _list(folder, shard, shards)
        if not path.is_file():
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        totals.add(content["images"])
        found += [Entry(**each) for each in content["entries"]]
    found.sort(key=lambda entry: entry.place)
    if totals != {len(found)} or [each.place for each in found] != list(range(len(found))):
        raise UserError(f"{folder}: the shards saw different images: run each of them again")
    return found


def unfinished(folder: Path, shards: int) -> list[str]:
    """A word for each shard that is not there or has images left."""
    known = {seen.key for _, some in done(folder) for seen in some}
    found = list[str]()
    for shard in range(1, shards + 1):
        if not (path := _list(folder, shard, shards)).is_file():
            found.append(f"{shard}/{shards} was not run")
            continue
        keys = [each["key"] for each in json.loads(path.read_text(encoding="utf-8"))["entries"]]
        if left := sum(bool(key) and key not in known for key in keys):
            found.append(f"{shard}/{shards} has {left} of {len(keys)} images left")
    return found


def counts_of_shards(folder: Path) -> list[int]:
    """Into how many shards the work was split, each count that occurs, the latest first."""
    lists = sorted(folder.glob("list-*-of-*.json"), key=lambda path: -path.stat().st_mtime_ns)
    return list(dict.fromkeys(int(path.stem.rpartition("-")[2]) for path in lists))


def _list(folder: Path, shard: int, shards: int) -> Path:
    return folder / f"list-{shard}-of-{shards}.json"
