"""A teacher's features of seeded views, once and for all: a memory map, a manifest, and canaries.

A folder holds `features.npy` (samples, views, width), `ids.txt`, `manifest.json`, and on request
`pixels.npy` (samples, views, s, s, 3), `classes.npz` and `captions.npy`. Any tool can read them.
What decides the bytes stands in the manifest; where anything of it differs, the cache is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from clip_distill.use.pictures import Pictures
from clip_distill.use.preprocessing import Pixels, Preprocessing
from clip_distill.use.teachers import Teacher, encode_pixels, versions
from clip_distill.use.views import Views, shown
from repro_shared.runtime.errors import UserError
from repro_shared.runtime.files import sha256_bytes

VERSION = 1
MANIFEST, BUILDING, FEATURES, IDS = "manifest.json", "building.json", "features.npy", "ids.txt"
PIXELS, CLASSES, CAPTIONS = "pixels.npy", "classes.npz", "captions.npy"
NAMES = (
    "teacher",
    "data",
    "views",
    "storage",
    "compute",
    "batch",
    "pixels",
    "classes",
    "captions",
    "versions",
    "canaries",
)  # of a manifest
ALIKE = 0.999  # least cosine of a canary


@dataclass(frozen=True)
class Cache:
    """An open cache.

    Attributes:
        folder: where it lies.
        features: (samples, views, width), mapped.
        pixels: (samples, views, s, s, 3) uint8, mapped; None where they were not kept.
        manifest: what it was made from.
        views: of each picture.
        preprocessing: size and resizing of the views; the teacher's normalisation.
    """

    folder: Path
    features: NDArray[Any]
    pixels: NDArray[np.uint8] | None
    manifest: dict[str, Any]
    views: Views
    preprocessing: Preprocessing

    @property
    def width(self) -> int:
        """Of the features."""
        return int(self.features.shape[2])


class Rows(Dataset[Pixels]):
    """The views of pictures, a row each: sample * views + view."""

    def __init__(self, pictures: Pictures, views: Views, prepared: Preprocessing) -> None:
        self.pictures, self.views, self.prepared = pictures, views, prepared
        self.data = pictures.fingerprint()
        self._last: tuple[int, Pixels] | None = None

    def __len__(self) -> int:
        return len(self.pictures) * self.views.count

    def __getitem__(self, row: int) -> Pixels:
        sample, view = divmod(row, self.views.count)
        if self._last is None or self._last[0] != sample:
            self._last = (sample, self.pictures.read(sample))
        picture = self._last[1]
        part = self.views.part(picture, self.data, self.pictures.ids[sample], view)
        return np.ascontiguousarray(shown(picture, part, self.prepared))


def open_cache(
    folder: str | Path, pictures: Pictures | None = None, teacher: Teacher | None = None
) -> Cache:
    """Open a finished cache.

    Args:
        folder: where it lies.
        pictures: what it must have been made of.
        teacher: whose features it must hold: its canaries are made again, which needs `pictures`.

    Raises:
        UserError: no cache, an unfinished or damaged one, other pictures, another teacher, or
            canaries that do not reproduce.
    """
    out = Path(folder)
    manifest = read_manifest(out)
    try:
        views = Views.read(manifest["views"])
        prepared = Preprocessing.read(manifest["teacher"]["preprocessing"])
        shape = (manifest["data"]["samples"], views.count, manifest["teacher"]["width"])
        features = np.lib.format.open_memmap(out / FEATURES, mode="r")
        pixels = None
        if manifest["pixels"]:
            pixels = np.lib.format.open_memmap(out / PIXELS, mode="r")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{out}: damaged cache ({type(error).__name__}: {error})") from None
    if features.shape != shape or features.dtype.name != manifest["storage"]:
        found = f"{features.dtype.name} {features.shape}"
        raise UserError(f"{out / FEATURES}: {found}, {manifest['storage']} {shape} were promised")
    cache = Cache(out, features, pixels, manifest, views, prepared)
    if pictures is not None:
        check_pictures(cache, pictures)
        if teacher is not None:
            check_teacher(cache, pictures, teacher)
    return cache


def check_pictures(cache: Cache, pictures: Pictures) -> None:
    """UserError unless the cache was made of these pictures, in this order."""
    data = cache.manifest["data"]
    if len(pictures) != data["samples"]:
        counts = f"{data['samples']} pictures, {pictures.where} has {len(pictures)}"
        raise UserError(f"{cache.folder}: made of {counts}")
    if pictures.fingerprint() != data["fingerprint"] or ids_digest(pictures) != data["ids"]:
        raise UserError(f"{cache.folder}: made of other pictures than those of {pictures.where}")
    captions = cache.manifest["captions"]
    if captions is not None and captions_digest(pictures) != captions:
        raise UserError(f"{cache.folder}: captions of {pictures.where} have changed since")


def check_teacher(cache: Cache, pictures: Pictures, teacher: Teacher) -> None:
    """UserError unless the teacher is the cache's, and gives the canaries again."""
    theirs = cache.manifest["teacher"]
    for what, ours in (
        ("preprocessing", asdict(teacher.preprocessing)),
        ("sha256", teacher.sha256),
    ):
        if json.loads(json.dumps(ours)) != theirs[what]:
            was = f"{theirs['name']} ({cache.preprocessing})"
            now = f"{teacher.name} ({teacher.preprocessing})"
            word = "weights" if what == "sha256" else what
            raise UserError(f"{cache.folder}: another {word}: made with {was}, given is {now}")
    rows = Rows(pictures, cache.views, cache.preprocessing)
    places = [each["row"] for each in cache.manifest["canaries"]]
    views = np.stack([rows[place] for place in places])
    found = encode_pixels(teacher, views, cache.manifest["batch"], cache.manifest["compute"])
    stored = cache.features.reshape(len(rows), -1)[places].astype(np.float32)
    alike = (found * stored).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(stored, axis=1)
    if not (worst := float(alike.min())) > ALIKE:
        drawn = [sha256_bytes(view.tobytes()) for view in views]
        same = drawn == [each["sha256"] for each in cache.manifest["canaries"]]
        why = "the same views" if same else "other pixels: another Pillow, or changed files"
        kept = cache.manifest["versions"]
        differ = ", ".join(
            f"{name} {kept.get(name)} there, {here} here"
            for name, here in versions(teacher.libraries).items()
            if kept.get(name) != here
        )
        raise UserError(
            f"{cache.folder}: features of {len(places)} rows do not reproduce (cosine {worst:.4f} "
            f"from {why}{'; ' + differ if differ else ''}); build the cache anew"
        )


def check_together(caches: Sequence[Cache]) -> None:
    """UserError unless the caches can be trained on together."""
    first = caches[0]
    for other in caches[1:]:
        for what in ("storage", "compute", "views"):
            if first.manifest[what] != other.manifest[what]:
                one, two = first.manifest[what], other.manifest[what]
                raise UserError(
                    f"{first.folder} and {other.folder} differ in {what}: {one} and {two}"
                )
        for what in ("sha256", "preprocessing"):
            if first.manifest["teacher"][what] != other.manifest["teacher"][what]:
                raise UserError(f"{first.folder} and {other.folder} have other teachers ({what})")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished cache; UserError for none, or one of another version."""
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if manifest["version"] != VERSION:
            raise UserError(f"{path}: version {manifest['version']}, this is {VERSION}")
        if lacking := [name for name in NAMES if name not in manifest]:
            raise KeyError(lacking[0])
        return manifest
    except FileNotFoundError:
        if (folder / BUILDING).is_file():
            raise UserError(f"{folder}: unfinished; run `cache` again to go on") from None
        raise UserError(f"{folder}: no cache (no {MANIFEST})") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}: {error})") from None


def ids_digest(pictures: Pictures) -> str:
    """Of the samples' ids in their order."""
    return sha256_bytes("\n".join(pictures.ids).encode())


def captions_digest(pictures: Pictures) -> str:
    """Of all captions in their order."""
    return sha256_bytes("\n".join(map(pictures.caption, range(len(pictures)))).encode())
